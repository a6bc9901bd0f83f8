# S3's whole stack: verified token (remembered), limit, correlation id, CORS, security headers, metrics, access log.
: > "$WORK/gateway-access.log"
render gateway-policy.toml.in > "$WORK/gateway-$PORT.toml"
exec env -u GATEWAY_BIN "$GATEWAY_BIN" run --config "$WORK/gateway-$PORT.toml"
