// Where an agent keeps what a restart and its tools need, unless told otherwise.

export const RUN_DIRECTORY_DEFAULT: string = '/run/weft'
