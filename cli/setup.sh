#!/bin/sh
# Installs what the lock file names, once: `setup.sh runtime` for running weft, `setup.sh all` for its
# tests as well. Does nothing when node_modules already answers to the lock file.
set -eu
want=${1:-runtime}
cd "$(dirname "$0")/.."
stamp=node_modules/.weft-setup
sum=$(cksum < package-lock.json | tr ' ' '-')
if [ -f "$stamp" ]; then
  case "$(cat "$stamp")" in
    "$sum all") exit 0 ;;
    "$sum runtime") [ "$want" = runtime ] && exit 0 ;;
  esac
fi
command -v npm >/dev/null || { echo "weft: npm is needed to install weft's packages" >&2; exit 1; }
echo "weft: installing packages ($want)" >&2
omit=
[ "$want" = all ] || omit=--omit=dev
# shellcheck disable=SC2086
npm ci --no-audit --no-fund --loglevel=error $omit >&2
echo "$sum $want" > "$stamp"
