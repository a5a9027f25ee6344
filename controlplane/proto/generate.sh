#!/bin/sh
# Writes controlplane/proto/generated from the .proto files: types only, no code. Run it after every
# change to a .proto file and commit what it writes; controlplane/proto/load.test.ts fails where the
# two differ. The options are those of load.ts, which reads the same files when weft runs.
# `generate.sh FOLDER` writes elsewhere.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-controlplane/proto/generated}
mkdir -p "$out"
node_modules/.bin/node node_modules/.bin/proto-loader-gen-types --grpcLib=@grpc/grpc-js \
  --longs=Number --enums=String --defaults --oneofs --targetFileExtension=.ts --importFileExtension=.ts \
  -I controlplane/proto -O "$out" $(cd controlplane/proto && ls ./*.proto | sed 's,^\./,,') > /dev/null
