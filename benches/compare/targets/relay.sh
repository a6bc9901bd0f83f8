# The floor: copies bytes and parses nothing.
launch "$WORK/bin/relay" "$PORT" "$UP"
