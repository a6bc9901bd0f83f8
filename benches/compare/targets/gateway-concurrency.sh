# As many at once as the upstream does, and a short line.
ROUTE='concurrency = { max = 24, queue = { length = 24, timeout = "100ms" } }'
. "$HERE/targets/gateway.sh"
