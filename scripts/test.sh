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

cargo test --workspace --locked "$@"
