#!/usr/bin/env python3
"""How long a tenant takes to be there again after its daemon was killed, against rows that came after the latest image.

usage: recovery.py BIN [--rows N] [--dim N] [--later N,N,...]

N rows and an image of them, then some more at once, then SIGKILL, before they are linked. The next mount is asked at once: until
its first answer, which has all that was acknowledged, and until the later rows are in the graph.
"""
import argparse, os, shutil, struct, subprocess, tempfile, time
import random

def fvecs(path, n, dim, seed):
    rng = random.Random(seed)
    with open(path, "wb") as f:
        for _ in range(n):
            f.write(struct.pack(f"<I{dim}f", dim, *(rng.gauss(0, 1) for _ in range(dim))))

class Mount:
    def __init__(self, bin, data, mnt):
        self.mnt = mnt
        self.daemon = subprocess.Popen([bin + "/ruvectorfs", "-f", "-o", "supervise=off", data, mnt], stderr=subprocess.DEVNULL)
        while not os.path.exists(mnt + "/version"):
            time.sleep(0.001)

    def end(self):
        subprocess.run(["umount", self.mnt], check=True)
        self.daemon.wait()

    def kill(self):
        self.daemon.kill()
        self.daemon.wait()
        subprocess.run(["umount", "-l", self.mnt], check=True)

def backlog(t):
    with open(t + "/stats") as f:
        return int(next(l.split()[1] for l in f if l.startswith("index_backlog ")))

def ask(t, dim):
    with open(t + "/query", "r+b", buffering=0) as f:
        f.write(b"k=10 " + b" ".join(b"%d" % (i % 7 + 1) for i in range(dim)) + b"\n")
        assert f.read().count(b"\n") == 10

def main():
    p = argparse.ArgumentParser()
    p.add_argument("bin")
    p.add_argument("--rows", type=int, default=50000)
    p.add_argument("--dim", type=int, default=128)
    p.add_argument("--later", default="0,1000,5000,10000,20000")
    a = p.parse_args()
    work = tempfile.mkdtemp(prefix="rv-recovery-")
    mnt, data, t = work + "/mnt", work + "/data", work + "/mnt/tenants/t"
    os.mkdir(mnt)
    try:
        m = Mount(a.bin, data, mnt)
        os.mkdir(t)
        fvecs(work + "/base.fvecs", a.rows, a.dim, 1)
        shutil.copyfile(work + "/base.fvecs", t + "/ingest/base.fvecs")
        while backlog(t):
            time.sleep(0.05)
        m.end()
        shutil.copytree(data, work + "/kept")
        print("rows since the image   first answer ms   all linked s")
        for later in map(int, a.later.split(",")):
            shutil.rmtree(data)
            shutil.copytree(work + "/kept", data)
            m = Mount(a.bin, data, mnt)
            fvecs(work + "/more.fvecs", later, a.dim, 2)
            ask(t, a.dim)
            if later:
                shutil.copyfile(work + "/more.fvecs", t + "/ingest/more.fvecs")
            m.kill()
            m = Mount(a.bin, data, mnt)
            start = time.monotonic()
            ask(t, a.dim)
            first, waiting = time.monotonic() - start, backlog(t)
            while backlog(t):
                time.sleep(0.02)
            print(f"{waiting:20d} {first * 1e3:17.0f} {time.monotonic() - start:14.2f}", flush=True)
            m.end()
    finally:
        shutil.rmtree(work, ignore_errors=True)

if __name__ == "__main__":
    main()
