#!/usr/bin/env bash
# Builds the gateway by what a run of it showed (profile-guided optimization), to target/pgo/release/gateway.
#   scripts/pgo.sh            instrumented build, training by benches/compare, build
# Needs what benches/compare needs, and llvm-profdata: rustup's component llvm-tools, which is added if it is missing, or
# that of a distribution whose LLVM is not older than that of rustc (`rustc -vV`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="$PWD/${PGO_DIR:-target/pgo}"
raw="$out/raw" merged="$out/gateway.profdata"

profdata="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-profdata"
[ -x "$profdata" ] || rustup component add llvm-tools || true
if [ ! -x "$profdata" ]; then
  profdata=$(compgen -c llvm-profdata | sort -uV | tail -n 1)
  [ -n "$profdata" ] || { echo "pgo: no llvm-profdata" >&2; exit 1; }
fi
echo "pgo: $profdata"

# Names are not compressed, as not every distribution's llvm-profdata was built with zlib. The profile of the build must
# be that of the next one, link-time optimization too: the names of all functions depend on it.
rm -rf "$raw"
RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-generate=$raw -Cllvm-args=-enable-name-compression=false" \
  CARGO_TARGET_DIR="$out/train" cargo build --release --locked -p gateway-bin

# What is common and what is not: bodies, policies, tokens that are verified, HTTP/2 on either side, streams.
GATEWAY_BIN="$out/train/release/gateway" benches/compare/run --rounds 1 --seconds "${PGO_SECONDS:-5}" \
  --scenario bare policy jwt-rs256 bare-16k post-16k h2 grpc websocket cache \
  --targets gateway gateway-policy gateway-rs256 gateway-rs256-cached gateway-grpc gateway-cache > "$out/training.txt"
compgen -G "$raw/*.profraw" > /dev/null || { echo "pgo: the training left no profile; see $out/training.txt" >&2; exit 1; }

"$profdata" merge -o "$merged" "$raw"
RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-use=$merged" CARGO_TARGET_DIR="$out" \
  cargo build --release --locked -p gateway-bin
echo "pgo: $out/release/gateway; compare it: GATEWAY_BIN=$out/release/gateway benches/compare/run"
