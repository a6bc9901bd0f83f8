#!/usr/bin/env bash
# Counts the instructions of a request through the in-process stack, and fails where they grew by more than 5 %; and of a
# look-up in a table of routes, which may take no more than a fifth more among 10,000 routes than among 10.
#   scripts/instructions.sh            compares with benches/instructions.txt
#   scripts/instructions.sh --update   writes it, after a change that is meant
# Counted by callgrind in two runs of different length; what a start costs is in both and falls out, but for the some
# hundred thousand by which two calibrations of the clock differ: the second run is long.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
baseline=benches/instructions.txt allowed=5 short=500 long=8500

if ! command -v valgrind > /dev/null; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends valgrind libc6-dbg
fi
cargo build --quiet --locked --profile quick -p gateway-benches --bin instructions
program="${CARGO_TARGET_DIR:-target}/quick/instructions"

coproc UPSTREAM { "$program" upstream; }
trap 'exec {UPSTREAM[1]}>&-' EXIT
read -r url <&"${UPSTREAM[0]}"

count() { # count ARGUMENT…: instructions of the whole run
  local said
  said=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1) ||
    { echo "$said" >&2; return 1; }
  sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<< "$said"
}

failed=0 found=""
for kind in bare policies; do
  few=$(count "$kind" "$url" $short)
  many=$(count "$kind" "$url" $long)
  each=$(((many - few) / (long - short)))
  found+="$kind $each"$'\n'
  before=$(sed -n "s/^$kind //p" "$baseline" 2> /dev/null || true)
  if [ "${1:-}" = --update ] || [ -z "$before" ]; then
    echo "$kind: $each instructions per request"
  else
    echo "$kind: $each instructions per request, $before before: $(awk "BEGIN { printf \"%+.1f\", ($each / $before - 1) * 100 }") %"
    ((each * 100 <= before * (100 + allowed))) || failed=1
  fi
done
declare -A look_up
for routes in 10 10000; do
  few=$(count find $routes $short)
  many=$(count find $routes $long)
  look_up[$routes]=$(((many - few) / (long - short)))
done
echo "a look-up: ${look_up[10]} instructions among 10 routes, ${look_up[10000]} among 10,000"
if ((look_up[10000] * 5 > look_up[10] * 6)); then
  echo "More than a fifth more: finding a route has come to depend on how many there are." >&2
  exit 1
fi
if [ "${1:-}" = --update ]; then
  printf '# Instructions per request, by scripts/instructions.sh --update.\n%s' "$found" > "$baseline"
elif ((failed)); then
  cat >&2 << TEXT
A request takes over $allowed % more instructions than $baseline says. To see where:
  valgrind --tool=callgrind $program policies URL 1000 && callgrind_annotate callgrind.out.*
If it is worth it: scripts/instructions.sh --update, and say in the commit what for.
TEXT
  exit 1
fi
