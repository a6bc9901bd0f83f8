render Caddyfile.in > "$WORK/Caddyfile-$PORT"
export XDG_DATA_HOME="$WORK/caddy" XDG_CONFIG_HOME="$WORK/caddy"
export GOMAXPROCS=1
launch "$CADDY_BIN" run --adapter caddyfile --config "$WORK/Caddyfile-$PORT"
