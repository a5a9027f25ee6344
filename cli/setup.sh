#!/bin/sh
# Installs what the lock file names, once: `setup.sh runtime` for running weft, `setup.sh all` for its
# tests as well. Does nothing, and writes nothing, when node_modules already answers to the lock file.
#
# The stamp is written last, so an installation that was interrupted starts anew. Two at once take turns
# through a lock directory, which names its owner; a lock whose owner is gone is taken over.
set -eu
want=${1:-runtime}
cd "$(dirname "$0")/.."
stamp=node_modules/.weft-setup
lock=.weft-setup.lock
log=.weft-setup.log
sum=$(cksum < package-lock.json | tr ' ' '-')

fail() {
  echo "weft: $*" >&2
  exit 1
}

# True when what is installed is enough for $want.
installed() {
  [ -x node_modules/.bin/node ] && [ -f "$stamp" ] || return 1
  case "$(cat "$stamp")" in
    "$sum all") return 0 ;;
    "$sum runtime") [ "$want" = runtime ] ;;
    *) return 1 ;;
  esac
}

installed && exit 0
[ -w . ] || fail "packages are not installed and $(pwd) cannot be written: run 'npm start' there once as its owner"
case "$(uname -sm)" in
  "Linux x86_64" | "Linux aarch64") ;;
  *) fail "this machine is $(uname -sm); weft runs on Linux on x86_64 and aarch64" ;;
esac
command -v npm > /dev/null || fail "npm is needed to install weft's packages (it comes with Node 18 or newer)"

# mkdir is atomic: whoever makes the directory owns the lock. Moving a dead owner's lock aside is atomic
# too, so that only one of several waiting can do it.
waited=0
until mkdir "$lock" 2> /dev/null; do
  owner=$(cat "$lock/pid" 2> /dev/null || true)
  if { [ -n "$owner" ] && ! kill -0 "$owner" 2> /dev/null && [ ! -d "/proc/$owner" ]; } ||
    { [ -z "$owner" ] && [ "$waited" -ge 10 ]; }; then
    mv "$lock" "$lock.$$" 2> /dev/null && rm -rf "$lock.$$"
    continue
  fi
  [ "$waited" -gt 0 ] || echo "weft: another installation is running here (process ${owner:-unknown}); waiting for it" >&2
  [ "$waited" -lt 600 ] || fail "process ${owner:-unknown} has been installing for 10 minutes; end it, or remove $(pwd)/$lock"
  sleep 1
  waited=$((waited + 1))
done
trap 'rm -rf "$lock"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
echo $$ > "$lock/pid"
# The one that was waited for may have done the work.
if installed; then exit 0; fi

rm -f "$stamp"
echo "weft: installing packages ($want)" >&2
omit=
[ "$want" = all ] || omit=--omit=dev
# shellcheck disable=SC2086
if ! npm ci --no-audit --no-fund --no-update-notifier --loglevel=error --fetch-retries=2 \
  --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 $omit > "$log" 2>&1; then
  if grep -Eq 'ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|network' "$log"; then
    fail "packages could not be downloaded: no connection to the npm registry (details in $(pwd)/$log)"
  fi
  if grep -Eq 'EACCES|EPERM|EROFS' "$log"; then
    fail "packages could not be installed: no permission to write in $(pwd) (details in $log)"
  fi
  grep -q ENOSPC "$log" && fail "packages could not be installed: the disk of $(pwd) is full"
  fail "packages could not be installed: $(grep -m 1 -i error "$log" || echo "see $(pwd)/$log")"
fi
[ -x node_modules/.bin/node ] || fail "npm left out the package with Node 24 for $(uname -m); remove node_modules and try again without --omit=optional"
# tap makes its runner for the plugins that package.json asks for at its first run, and that run fails:
# it still starts the test with a plugin that is left out. So the runner is made here. Best effort, for
# `npm test` does without it.
if [ "$want" = all ] && [ -x node_modules/.bin/tap ]; then
  PATH="$(pwd)/node_modules/.bin:$PATH" tap build > "$log" 2>&1 || true
fi
rm -f "$log"
echo "$sum $want" > "$stamp.new"
mv "$stamp.new" "$stamp"
