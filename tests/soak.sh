#!/bin/sh
# soak.sh PROGRAM MINUTES: mounts below a directory of its own, runs soak.py there, unmounts; its log must be without reports.
set -u
program=$1
minutes=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/ruvectorfs-soak.XXXXXX") || exit 1
mkdir "$work/mnt"
ASAN_OPTIONS=handle_segv=2 "$program" -f "$work/data" "$work/mnt" > "$work/log" 2>&1 &
daemon=$!
tries=0
until [ -e "$work/mnt/version" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 $daemon 2> /dev/null; then
        cat "$work/log"
        exit 1
    fi
    sleep 0.1
done
status=0
python3 "$(dirname "$0")/soak.py" "$work/mnt" --minutes "$minutes" --samples "$work/samples" || status=1
umount "$work/mnt" 2> /dev/null || fusermount3 -u "$work/mnt" || status=1
wait $daemon || status=1
if grep -qE '(ERROR|WARNING): [A-Za-z]*Sanitizer|: runtime error: ' "$work/log"; then
    status=1
fi
if [ $status -ne 0 ]; then
    tail -n 40 "$work/log"
    echo "soak: samples and log are in $work"
    rm -rf "$work/data"
else
    rm -rf "$work"
fi
exit $status
