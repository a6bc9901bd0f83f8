render envoy.yaml.in FILTERS="${ENVOY_FILTERS:-}" REQID="${ENVOY_REQID:-false}" ACCESSLOG="${ENVOY_LOG:-}" \
  CLUSTER="${ENVOY_CLUSTER:-}" > "$WORK/envoy-$PORT.yaml"
launch "$ENVOY_BIN" --concurrency 1 --base-id "$PORT" --disable-hot-restart -l error -c "$WORK/envoy-$PORT.yaml"
