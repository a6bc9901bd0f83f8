ROUTE='rate_limit = "bench"'
printf '[rate_limits.bench]\nlimit = "100000000/s"\n' > "$WORK/limit-$PORT.toml"; MORE="$WORK/limit-$PORT.toml"
. "$HERE/targets/gateway.sh"
