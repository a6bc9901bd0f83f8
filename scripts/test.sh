#!/usr/bin/env bash
# Installs what the tests need and is missing, and runs them all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

need() { # need COMMAND PACKAGE: installs the package if the command is missing
  command -v "$1" > /dev/null && return
  echo "installing $2 for $1"
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "$2"
}
need cc gcc
need curl curl
if ! command -v redis-server > /dev/null; then
  need redis-server redis-server
  # The package starts one; the tests start their own.
  service redis-server stop > /dev/null 2>&1 || true
fi
need node nodejs
need npm npm
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
  # What the distribution has is too old for the OpenID provider of the tests; npm has newer ones.
  tools="${TMPDIR:-/tmp}/gateway-node"
  npm install --silent --no-audit --no-fund --prefix "$tools" node@22
  PATH="$tools/node_modules/.bin:$PATH"
fi
# Debian keeps the server's programs out of PATH.
for dir in /usr/lib/postgresql/*/bin; do
  [ -d "$dir" ] && PATH="$PATH:$dir"
done
if ! command -v initdb > /dev/null; then
  need initdb postgresql
  service postgresql stop > /dev/null 2>&1 || true
  for dir in /usr/lib/postgresql/*/bin; do
    [ -d "$dir" ] && PATH="$PATH:$dir"
  done
fi
export PATH

cargo test --workspace --locked "$@"
# Policies in Cedar are a choice at build time, for their crates take minutes to build; expressions in CEL likewise.
cargo test --locked -p gateway-auth -p gateway-bin -p gateway-routing --features gateway-bin/cedar,gateway-bin/cel \
  --test cedar --test cel "$@"
# Who uses a crate alone may do without Redis, and what that takes to build.
cargo test --locked -p gateway-store --no-default-features --lib "$@"
cargo check --locked -p gateway-auth -p gateway-cache -p gateway-ratelimit --no-default-features
# What the expressions' own crate says of them, beside its sources.
cargo test --locked -p gateway-routing --features cel --lib "$@"
cargo test --locked -p gateway-routing --features cel --doc "$@"
