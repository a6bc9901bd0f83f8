# TOP, SERVICE and ROUTE add lines to their tables, CONNECTION keys to the service's connection; MORE is a file with more tables.
export TOP SERVICE CONNECTION ROUTE
render gateway.toml.in WORKERS="${WORKERS:-1}" ENDPOINTS="${ENDPOINTS:-[\"http://127.0.0.1:$UP\"]}" > "$WORK/gateway-$PORT.toml"
[ -z "${MORE:-}" ] || cat "$MORE" >> "$WORK/gateway-$PORT.toml"
launch env -u GATEWAY_BIN "$GATEWAY_BIN" run --config "$WORK/gateway-$PORT.toml"
