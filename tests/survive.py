#!/usr/bin/env python3
"""Kills the server of a mount again and again while clients of every kind use it, and tells what they saw.

usage: survive.py MOUNT [--kills N] [--every SECONDS] [--signal NAME] [--vectors N] [--dimension N]

Every client notes what was acknowledged. At the end all of it has to be there, and nothing that was refused. The only errors
that are allowed: EAGAIN on a query's descriptor whose answer was lost, ENODATA of `results`, EAGAIN for a batch of more than a
megabyte. Prints the figures, and exits 1 with the first differences when a sentence did not hold.
"""
import argparse, errno, os, random, signal, sys, time
from multiprocessing import Event, Process, Queue

class Client:
    """What one process saw: calls, allowed errors, other errors, the longest call."""
    def __init__(self, stop):
        self.stop, self.calls, self.allowed, self.wrong, self.longest = stop, 0, 0, [], 0.0
        self.there, self.gone, self.either = set(), set(), []

    def call(self, fn, *args, allow=()):
        start = time.monotonic()
        try:
            return fn(*args)
        except OSError as e:
            if e.errno in allow:
                self.allowed += 1
            else:
                self.wrong.append(f"{fn.__name__}{args[:1]}: {e}")
            return None
        finally:
            self.calls += 1
            self.longest = max(self.longest, time.monotonic() - start)

    def expect(self, ok, what):
        if not ok:
            self.wrong.append(what)

def vector(rng, dim):
    return " ".join(f"{rng.uniform(-1, 1):.4f}" for _ in range(dim))

def write_all(c, path, data, allow=()):
    """open, write, close, as cp does it; False when one of them was refused."""
    fd = c.call(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if fd is None:
        return False
    ok, at = True, 0
    while ok and at < len(data):
        n = c.call(os.write, fd, data[at:at + 131072], allow=allow)
        ok, at = n is not None, at + (n or 0)
    before = len(c.wrong), c.allowed
    c.call(os.close, fd, allow=allow)
    return ok and before == (len(c.wrong), c.allowed)

def lines(c, t, rng, dim):
    """One descriptor, a line a write: each is a commit."""
    fd, i = c.call(os.open, t + "/ingest/lines", os.O_WRONLY | os.O_CREAT), 0
    while not c.stop.is_set():
        if c.call(os.write, fd, f"line{i}\t{vector(rng, dim)}\n".encode()):
            c.there.add(f"line{i}")
        i += 1
    c.call(os.close, fd)

def appended(c, t, rng, dim):
    """As `>>` in a loop."""
    i = 0
    while not c.stop.is_set():
        fd = c.call(os.open, t + "/ingest/more", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if c.call(os.write, fd, f"more{i}\t{vector(rng, dim)}\n".encode()):
            c.there.add(f"more{i}")
        c.call(os.close, fd)
        i += 1

def files(c, t, rng, dim):
    """A file a vector, half of them removed again."""
    i = 0
    while not c.stop.is_set():
        name = f"file{i}"
        if write_all(c, f"{t}/ingest/{name}", (vector(rng, dim) + "\n").encode()):
            c.there.add(name)
        if i % 2 and c.call(os.unlink, f"{t}/vectors/{name}") is None and not c.wrong:
            c.there.discard(name)
            c.gone.add(name)
        i += 1

def batches(c, t, rng, dim):
    """Fifty lines a file."""
    i = 0
    while not c.stop.is_set():
        names = [f"batch{i}.{j}" for j in range(50)]
        if write_all(c, f"{t}/ingest/batch{i}", "".join(f"{n}\t{vector(rng, dim)}\n" for n in names).encode()):
            c.there.update(names)
        i += 1

def large(c, t, rng, dim):
    """More than is kept across a restart: as a whole or not at all, and never acknowledged and lost."""
    i, v = 0, vector(rng, dim)
    while not c.stop.is_set():
        names = [f"large{i}.{j}" for j in range(2000000 // len(v))]
        data = "".join(f"{n}\t{v} \n" for n in names).encode()
        if write_all(c, f"{t}/ingest/large{i}", data, allow=(errno.EAGAIN,)):
            c.there.update(names)
        else:
            c.either.append(names)
        i += 1
        c.stop.wait(0.3)

def directories(c, t, rng, dim):
    """mkdir and rmdir succeed exactly once."""
    i = 0
    while not c.stop.is_set():
        path = f"{t}/collections/c{i % 5}"
        c.call(os.mkdir, path)
        c.call(os.rmdir, path)
        i += 1

def held(c, t, rng, dim):
    """A conversation on one descriptor; each answer is right or EAGAIN."""
    fd, at = c.call(os.open, t + "/query", os.O_RDWR), 0
    while not c.stop.is_set():
        q = b"k=1 like=anchor%d\n" % rng.randrange(10)
        if c.call(os.pwrite, fd, q, at, allow=(errno.EAGAIN,)) is None:
            continue
        answer = c.call(os.pread, fd, 4096, at + len(q), allow=(errno.EAGAIN,))
        if answer is not None:
            expected = q.split(b"=")[2].strip()
            c.expect(answer.split(b"\t")[0] == expected, f"asked for {expected}, got {answer[:40]}")
        at += len(q) + len(answer or b"")
    c.call(os.close, fd)

def two_files(c, t, rng, dim):
    while not c.stop.is_set():
        name = b"anchor%d" % rng.randrange(10)
        if not write_all(c, t + "/query", b"k=1 like=%s\n" % name):
            continue
        fd = c.call(os.open, t + "/results", os.O_RDONLY, allow=(errno.ENODATA,))
        if fd is not None:
            answer = c.call(os.read, fd, 4096) or b""
            c.expect(answer.split(b"\t")[0] == name, f"asked for {name}, got {answer[:40]}")
            c.call(os.close, fd)

def looks(c, t, rng, dim):
    """What monitors do, a piece at a time."""
    while not c.stop.is_set():
        fd = c.call(os.open, t + "/config", os.O_RDONLY)
        text = b"".join(iter(lambda: c.call(os.read, fd, 16) or b"", b""))
        c.expect(text.startswith(b"dimension ") and text.endswith(b"\n"), f"config is {text}")
        c.call(os.close, fd)
        c.call(os.listdir, t + "/collections")
        c.call(os.stat, t + "/vectors/anchor1")

CLIENTS = [lines, appended, files, batches, large, directories, held, two_files, looks]

def run_client(fn, stop, out, t, seed, dim):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    c = Client(stop)
    try:
        fn(c, t, random.Random(seed), dim)
    except Exception as e:
        c.wrong.append(f"{type(e).__name__}: {e}")
    out.put((fn.__name__, c.calls, c.allowed, c.wrong, c.longest, c.there, c.gone, c.either))

def stat_of(mnt, key):
    with open(mnt + "/stats") as f:
        return int(next(line.split()[1] for line in f if line.startswith(key + " ")))

def prepare(t, n, dim):
    if os.path.isdir(t):  # of an earlier run
        return
    os.mkdir(t)
    rng = random.Random(1)
    with open(t + "/ingest/anchors", "w") as f:
        for i in range(10):
            f.write(f"anchor{i}\t{vector(rng, dim)}\n")
    with open(t + "/ingest/base", "w") as f:
        for i in range(n):
            f.write(f"base{i}\t{vector(rng, dim)}\n")
    while n and stat_of(t, "index_backlog"):
        time.sleep(0.2)

def kill_all_the_time(mnt, kills, every, sig):
    for _ in range(kills):
        time.sleep(every)
        os.kill(stat_of(mnt, "server_pid"), sig)
    time.sleep(every)

def check(t, found, wrong):
    there = {name for f in found for name in f[5]}
    gone = {name for f in found for name in f[6]}
    now = set(os.listdir(t + "/vectors"))
    for what, names in ("acknowledged, lost", there - now), ("removed, there", gone & now):
        if names:
            wrong.append(f"{len(names)} {what}: {sorted(names)[:3]}")
    for names in (names for f in found for names in f[7]):
        if 0 < len(now & set(names)) < len(names):
            wrong.append(f"{names[0]}: {len(now & set(names))} of {len(names)} there")
    return there

def main():
    p = argparse.ArgumentParser()
    p.add_argument("mount")
    p.add_argument("--kills", type=int, default=10)
    p.add_argument("--every", type=float, default=1.0)
    p.add_argument("--signal", default="KILL")
    p.add_argument("--vectors", type=int, default=0)
    p.add_argument("--dimension", type=int, default=8)
    p.add_argument("--clients", default=",".join(f.__name__ for f in CLIENTS))
    a = p.parse_args()
    t = a.mount + "/tenants/survive"
    prepare(t, a.vectors, a.dimension)
    stop, out = Event(), Queue()
    chosen = [f for f in CLIENTS if f.__name__ in a.clients.split(",")]
    clients = [Process(target=run_client, args=(f, stop, out, t, 100 + i, a.dimension), daemon=True) for i, f in enumerate(chosen)]
    for c in clients:
        c.start()
    kill_all_the_time(a.mount, a.kills, a.every, getattr(signal, "SIG" + a.signal))
    stop.set()
    found = [out.get(timeout=120 * int(os.environ.get("RV_SLOWER", 1))) for _ in clients]
    wrong = [f"{f[0]}: {w}" for f in found for w in f[3][:3]]
    there = check(t, found, wrong)
    print(f"restarts {stat_of(a.mount, 'restarts')}\ncalls {sum(f[1] for f in found)}\nacknowledged_vectors {len(there)}")
    print(f"errors_allowed {sum(f[2] for f in found)}\nerrors_other {len(wrong)}")
    for f in sorted(found):
        print(f"longest_call_ms {f[0]} {f[4] * 1000:.0f} of {f[1]} calls")
    for w in wrong[:10]:
        print(w)
    return 1 if wrong else 0

if __name__ == "__main__":
    sys.exit(main())
