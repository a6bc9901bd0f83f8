# For targets: `render TEMPLATE KEY=VALUE…` fills the @KEY@ of a template; @WORK@, @PORT@ and @UP@ come by themselves.
render() {
  python3 - "$HERE/configs/$1" "${@:2}" <<'P'
import os, sys
text = open(sys.argv[1]).read()
values = {key: os.environ[key] for key in ("WORK", "PORT", "UP")}
values.update(pair.split("=", 1) for pair in sys.argv[2:])
for key, value in values.items():
    text = text.replace(f"@{key}@", value)
sys.stdout.write(text)
P
}
