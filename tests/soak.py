#!/usr/bin/env python3
"""Mixed load on a mount for some minutes; fails when the server's memory or descriptors grow behind the warm-up.

usage: soak.py MOUNT [--minutes N] [--samples FILE]

Names come from a bounded set, so what is stored stays about as much: writers replace, others remove, collections and tenants
come and go. Memory is what belongs to the process alone (RssAnon and RssShmem); pages of files are the kernel's to drop.
"""
import argparse, errno, os, random, select, signal, sys, time
from multiprocessing import Event, Process, Queue

DIM, NAMES = 32, 3000

def vector(rng):
    return " ".join(f"{rng.uniform(-1, 1):.4f}" for _ in range(DIM))

def put(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)

def get(path):
    with open(path) as f:
        return f.read()

def insert(t, rng):
    n = rng.choice((1, 1, 1, 20, 300))
    text = "".join(f"id{rng.randrange(NAMES)}\t{vector(rng)}\n" for _ in range(n))
    put(f"{t}/ingest/f{rng.randrange(1500)}", text)

def insert_json(t, rng):
    put(f"{t}/vectors/id{rng.randrange(NAMES)}",
        '{"vector": [%s], "metadata": {"k": %d}, "text": "t"}\n' % (vector(rng).replace(" ", ","), rng.randrange(9)))

def remove(t, rng):
    put(t + "/delete", "".join(f"id{rng.randrange(NAMES)}\n" for _ in range(rng.choice((1, 50, 400)))))

def ask(t, rng):
    fd = os.open(t + "/query", os.O_RDWR)
    try:
        for _ in range(20):
            at = os.lseek(fd, 0, os.SEEK_CUR)
            os.write(fd, f"k={rng.randrange(1, 50)} {rng.choice(('', 'exact=1 '))}{vector(rng)}\n".encode())
            while os.read(fd, 1 << 16):
                pass
            assert os.lseek(fd, 0, os.SEEK_CUR) > at
    finally:
        os.close(fd)

def ask_two_files(t, rng):
    put(t + "/query", "\n".join(vector(rng) for _ in range(30)) + "\n")
    get(t + "/results")

def look(t, rng):
    for name in ("stats", "config", "quota", "status", "integrity", "../../stats", "../../metrics/ruvectorfs.prom", "../../audit"):
        get(f"{t}/{name}")
    os.listdir(t + "/ingest")
    for name in os.listdir(t + "/vectors")[:50]:
        try:
            get(f"{t}/vectors/{name}")
            os.listxattr(f"{t}/vectors/{name}")
        except FileNotFoundError:
            pass  # removed meanwhile

def be_wrong(t, rng):
    for path, text in (("ingest/bad", "1 2 3\nnot a number\n"), ("query", "k=999999999 1 2\n"), ("delete", "a/b\n"),
                       ("config", "m 99999\n"), ("ingest/bad.jsonl", '{"vector": [1,\n')):
        try:
            put(f"{t}/{path}", text)
        except OSError:
            get(t + "/error")
        else:
            raise AssertionError(path + " was taken")

def watch(t, rng):
    fd = os.open(t + "/events", os.O_RDONLY | os.O_NONBLOCK)
    signal.setitimer(signal.ITIMER_REAL, 3)  # nothing may have happened when a read waits
    try:
        p = select.poll()
        p.register(fd, select.POLLIN)
        if p.poll(300):
            os.read(fd, 4096)
    except BlockingIOError:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(fd)

def collections(t, rng):
    c = f"{t}/collections/c{os.getpid()}"
    os.mkdir(c)
    for _ in range(5):
        insert(c, rng)
    put(c + "/delete", "*\n")
    os.rmdir(c)

def tenants(t, rng):
    other = f"{t}/../t{os.getpid()}"
    os.mkdir(other)
    for _ in range(5):
        insert(other, rng)
    ask(other, rng)
    put(other + "/status", "pending-deletion\n")
    os.rmdir(other)

def verify(t, rng):
    put(t + "/integrity", rng.choice(("verify\n", "compact\n")))
    time.sleep(1)

CLIENTS = [insert, insert, insert_json, remove, ask, ask_two_files, look, be_wrong, watch, collections, tenants, verify]

def wake(number, frame):
    raise BlockingIOError(errno.EAGAIN, "waited long enough")

def run(fn, stop, out, t, seed):
    signal.signal(signal.SIGALRM, wake)
    rng, n, wrong = random.Random(seed), 0, []
    while not stop.is_set() and len(wrong) < 5:
        try:
            fn(t, rng)
            n += 1
        except OSError as e:
            if e.errno not in (errno.EAGAIN, errno.EBUSY):
                wrong.append(f"{fn.__name__}: {e}")
        except Exception as e:
            wrong.append(f"{fn.__name__}: {type(e).__name__} {e}")
    out.put((fn.__name__, n, wrong))

def server(mnt):
    return int(next(l.split()[1] for l in get(mnt + "/stats").splitlines() if l.startswith("server_pid ")))

def sample(pid):
    status = dict(l.split(":", 1) for l in get(f"/proc/{pid}/status").splitlines())
    kb = sum(int(status[k].split()[0]) for k in ("RssAnon", "RssShmem"))
    return kb, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])

def judge(samples):
    """The second half against the second quarter: what stays flat does not pass these bounds."""
    n, bad = len(samples), []
    for i, (what, more, add) in enumerate((("memory KiB", 1.25, 16384), ("descriptors", 1.0, 24), ("threads", 1.0, 16))):
        warm = max(s[i] for s in samples[n // 4:n // 2])
        late = sorted(s[i] for s in samples[n * 3 // 4:])
        middle = late[len(late) // 2]
        print(f"soak: {what}: at most {warm} after the warm-up, {middle} in the last quarter (median), {late[-1]} at most")
        if middle > warm * more + add:
            bad.append(f"{what} grew from {warm} to {middle}")
    return bad

def main():
    p = argparse.ArgumentParser()
    p.add_argument("mount")
    p.add_argument("--minutes", type=float, default=2)
    p.add_argument("--samples")
    a = p.parse_args()
    t = a.mount + "/tenants/soak"
    os.mkdir(t)
    stop, out, samples = Event(), Queue(), []
    clients = [Process(target=run, args=(f, stop, out, t, i), daemon=True) for i, f in enumerate(CLIENTS)]
    pid = server(a.mount)
    for c in clients:
        c.start()
    end = time.monotonic() + a.minutes * 60
    while time.monotonic() < end:
        time.sleep(min(1, a.minutes * 60 / 60))
        samples.append(sample(pid))
    stop.set()
    if a.samples:
        with open(a.samples, "w") as f:
            f.writelines("\t".join(map(str, s)) + "\n" for s in samples)
    found = [out.get(timeout=120 * int(os.environ.get("RV_SLOWER", 1))) for _ in clients]
    bad = [w for f in found for w in f[2]] + judge(samples)
    if server(a.mount) != pid:
        bad.append("the server is another one")
    for w in bad:
        print(f"soak: {w}")
    print(f"soak: {sum(f[1] for f in found)} rounds of {len(CLIENTS)} clients, {a.minutes:g} minutes: {'not ' if bad else ''}ok")
    return 1 if bad else 0

if __name__ == "__main__":
    sys.exit(main())
