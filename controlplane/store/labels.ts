// Labels by which parts of weft recognise each other's work on the local engine.

/** On the engine's twin of an overlay network: the id of the network in the cluster. Lists of
 * networks show the cluster's in its place. */
export const ENGINE_NETWORK_LABEL = 'io.weft.network.id'
