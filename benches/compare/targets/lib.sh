# For targets: `render TEMPLATE KEY=VALUE…` fills the @KEY@ of a template: with these values, else from the
# environment, else with nothing.
render() {
  python3 - "$HERE/configs/$1" "${@:2}" <<'P'
import os, re, sys
text = open(sys.argv[1]).read()
values = {**os.environ, **dict(pair.split("=", 1) for pair in sys.argv[2:])}
for _ in range(3):  # what is filled in may have keys itself
    text = re.sub(r"@([A-Z_0-9]+)@", lambda found: values.get(found[1], ""), text)
sys.stdout.write(text)
P
}
# The last thing a target does; notes when.
launch() {
  echo "$EPOCHREALTIME" > "$WORK/started-$PORT"
  exec "$@"
}
