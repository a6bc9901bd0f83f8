render gateway.toml.in > "$WORK/gateway-$PORT.toml"
exec env -u GATEWAY_BIN "$GATEWAY_BIN" run --config "$WORK/gateway-$PORT.toml"
