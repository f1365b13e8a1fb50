#!/bin/sh
# `make bench-many`: N tenants of 100 vectors each on one mount: how long making one and its first insert take, what an
# idle one has in memory, when a daemon that was just started gives its first answer, and what a tenant's searches take
# beside all others against the same on a mount of its own. Needs python3.
set -eu

n=${1:-10000}
work=$(mktemp -d)
many=$work/many
alone=$work/alone
mkdir "$many" "$alone"

server_of() { # MOUNT
    sed -n 's/^server_pid //p' "$1/stats" 2>/dev/null
}
unmount() { # MOUNT
    server=$(server_of "$1") || :
    umount "$1" 2>/dev/null || fusermount3 -u "$1" 2>/dev/null || :
    tries=0
    while [ -n "$server" ] && [ -d "/proc/$server" ] && [ "$tries" -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}
clean_up() {
    unmount "$many"
    unmount "$alone"
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

"$RV_BIN/ruvectorfs" "$work/data.many" "$many"
"$RV_BIN/ruvectorfs" "$work/data.alone" "$alone"
cat > "$work/client.py" << 'END'
import os, random, statistics, sys, time

DIM = 64
task, mount = sys.argv[1], sys.argv[2]
rnd = random.Random(7)
lines = "".join("v%d\t%s\n" % (i, " ".join("%.4f" % rnd.gauss(0, 1) for _ in range(DIM))) for i in range(100)).encode()

def make(mount, name):
    t0 = time.perf_counter()
    os.mkdir(f"{mount}/tenants/{name}")
    t1 = time.perf_counter()
    fd = os.open(f"{mount}/tenants/{name}/ingest/v", os.O_WRONLY | os.O_CREAT)
    os.write(fd, lines)
    os.close(fd)
    return t1 - t0, time.perf_counter() - t1

def ask(fd):
    q = ("k=10 " + " ".join("%.4f" % rnd.gauss(0, 1) for _ in range(DIM)) + "\n").encode()
    t0 = time.perf_counter()
    os.pwrite(fd, q, 0)
    os.pread(fd, 65536, len(q))
    return time.perf_counter() - t0

def ms(v):
    return "%.2f" % (1e3 * v)

if task == "make":
    times = [make(mount, f"t{i}") for i in range(int(sys.argv[3]))]
    for what, k in ("mkdir", 0), ("first_insert", 1):
        v = sorted(t[k] for t in times)
        print(f"{what}_ms_p50\t{ms(v[len(v) // 2])}\n{what}_ms_p99\t{ms(v[len(v) * 99 // 100])}", flush=True)
elif task == "first":
    fd = os.open(f"{mount}/tenants/t{int(sys.argv[3]) // 2}/query", os.O_RDWR)
    ask(fd)
else:  # beside: rounds in turns, so that what the machine does besides concerns both
    make(sys.argv[3], "t0")
    fds = [os.open(f"{m}/tenants/t0/query", os.O_RDWR) for m in (mount, sys.argv[3])]
    ratios, medians = [], ([], [])
    for _ in range(21):
        m = [statistics.median(ask(fd) for _ in range(500)) for fd in fds]
        ratios.append(m[0] / m[1])
        for k in 0, 1:
            medians[k].append(m[k])
    print("search_us_p50_beside\t%.1f" % (1e6 * statistics.median(medians[0])))
    print("search_us_p50_alone\t%.1f" % (1e6 * statistics.median(medians[1])))
    print("search_beside_to_alone\t%.3f" % statistics.median(ratios))
END
anonymous() { # MOUNT
    awk '/^RssAnon:/ { print $2 * 1024 }' "/proc/$(server_of "$1")/status"
}

printf 'what\tvalue\n'
python3 "$work/client.py" make "$many" "$n"
unmount "$many"
from=$(date +%s%N)
"$RV_BIN/ruvectorfs" "$work/data.many" "$many"
python3 "$work/client.py" first "$many" "$n"
echo "restart_to_first_answer_ms	$((($(date +%s%N) - from) / 1000000))"
echo "idle_bytes_per_tenant	$((($(anonymous "$many") - $(anonymous "$alone")) / n))"
echo "threads	$(find "/proc/$(server_of "$many")/task" -mindepth 1 -maxdepth 1 | wc -l)"
python3 "$work/client.py" beside "$many" "$alone"
