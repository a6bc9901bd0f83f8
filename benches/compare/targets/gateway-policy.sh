# S3's whole stack: verified token (remembered), limit, correlation id, CORS, security headers, metrics, access log.
: > "$WORK/gateway-access.log"
render gateway-policy.toml.in JWT="${JWT:-secret_file = \"$WORK/secret\"}" > "$WORK/gateway-$PORT.toml"
launch env -u GATEWAY_BIN "$GATEWAY_BIN" run --config "$WORK/gateway-$PORT.toml"
