# Token verified, limit, request id, JSON log.
ENVOY_REQID=true
ENVOY_FILTERS="$(render envoy-filters.yaml.in JWTCACHE=)"
ENVOY_LOG="$(render envoy-accesslog.yaml.in LOG="$WORK/envoy-access.log")"
. "$HERE/targets/envoy.sh"
