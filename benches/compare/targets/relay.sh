# The floor: copies bytes and parses nothing.
exec "$WORK/bin/relay" "$PORT" "$UP"
