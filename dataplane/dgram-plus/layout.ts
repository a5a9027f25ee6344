// Byte layouts of the kernel's socket structures, little-endian LP64 (x86_64 and arm64 agree).
//
//   struct sockaddr_in6, 28 bytes              struct sockaddr_in, 16 bytes
//    0      2      4           8                0      2      4      8             16
//    |family|port  |flow info  |                |family|port  |addr  |zero         |
//    8                         24   28
//    |address (v4-mapped: ::ffff:a.b.c.d)|scope|
//
//   struct iovec, 16 bytes: base(8) size(8)
//
//   struct mmsghdr, 64 bytes
//    0       8         12   16      24          32       40            48     52   56       60   64
//    |name   |name size|pad |iovecs |iovec count|control |control size |flags |pad |msg_len |pad |
//
//   struct cmsghdr with its data, 24 bytes (CMSG_SPACE of a u16 as of an int)
//    0            8       12     16                 20    24
//    |cmsg_len    |level  |type  |u16 or int        |pad  |
//
// Ports and addresses are big-endian inside a sockaddr. A sockaddr here always takes NAME_STRIDE
// bytes, all beyond its own size zero, so that two of them are compared and copied as NAME_WORDS
// words whatever the family.

export const NAME_SIZE = 28
export const NAME_STRIDE = 32
export const NAME_WORDS = 7
export const NAME_PORT = 2
export const NAME_V4_ADDRESS = 4
export const NAME_V6_ADDRESS = 8
export const NAME_V6_SCOPE = 24

export const IOVEC_SIZE = 16
export const IOVEC_LENGTH = 8

export const MESSAGE_SIZE = 64
export const MESSAGE_NAME = 0
export const MESSAGE_NAME_SIZE = 8
export const MESSAGE_IOVECS = 16
export const MESSAGE_IOVEC_COUNT = 24
export const MESSAGE_CONTROL = 32
export const MESSAGE_CONTROL_SIZE = 40
export const MESSAGE_FLAGS = 48
export const MESSAGE_LENGTH = 56

export const CONTROL_SIZE = 24
export const CONTROL_LENGTH = 0
export const CONTROL_LEVEL = 8
export const CONTROL_TYPE = 12
export const CONTROL_DATA = 16
/** CMSG_LEN(sizeof(u16)) and CMSG_LEN(sizeof(int)). */
export const CONTROL_LENGTH_U16 = 18
export const CONTROL_LENGTH_INT = 20

const WORD = 0x1_0000_0000

/** Writes a machine address (or any whole number below 2^53) as a 64-bit little-endian word. */
export function putPointer(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % WORD, true)
  view.setUint32(at + 4, value / WORD, true)
}
