// dgram-plus: UDP sockets for Node.js on Linux that move many datagrams per system call.

export {
  BatchSocket,
  type BatchSocketOptions,
  type Features,
} from './batch-socket.ts'
export { errorCode, type PinnedMemory, pin } from './libc.ts'
export * as limits from './limits.ts'
export type { MessageReceiver, ReceiveBuffers, ReceiveCounters } from './message-receiver.ts'
export type { MessageSender, SendCounters } from './message-sender.ts'
export {
  createSocket,
  type Datagram,
  type RemoteInfo,
  type SegmentedData,
  Socket,
  type SocketEvents,
  type SocketOptions,
} from './socket.ts'
