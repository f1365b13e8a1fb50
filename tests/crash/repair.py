#!/usr/bin/env python3
"""Damages a directory of data at random, lets ruvectorctl repair it, and compares what is left with what was stored.

usage: repair.py BIN [--rounds N] [--seed N] [--faults CTL] [-v]

Two directories, one that was unmounted and one whose daemon was killed. A round flips a byte, clears a page or cuts a file of a
copy. Afterwards the data must verify clean and hold nothing but what was acknowledged, byte for byte; what is missing is
counted, and a damage that hits one byte of one file takes no more than the rows of a page. After what a database lost is
guessed from segments, removed vectors may be back, and where commits are lost, what they replaced: those are counted, too.

CTL is a ruvectorctl with named steps (base/fault.h): a repair of two stores and the registry is killed at each. At every moment
what was damaged is there, byte for byte, where no repair removes it; the next repair ends with what one that was not killed has.
"""
import argparse, itertools, json, os, random, re, shutil, struct, subprocess, sys, tempfile, time

DIM = 16

def write(path, text):
    with open(path, "w") as f:
        f.write(text)

def vector(rng):
    return [struct.unpack("<f", struct.pack("<f", rng.gauss(0, 1)))[0] for _ in range(DIM)]

def line(id, v, extra={}):
    return json.dumps({"id": id, "vector": v, **extra}) + "\n"

class Base:
    """A directory of data, and what is in it: by collection, then by ID the line that was stored; and what was before."""
    def __init__(self, bin, work, name, kill, rng):
        self.dir, mnt = f"{work}/{name}", f"{work}/{name}.mnt"
        self.stored = {"tenants/a": {}, "tenants/b": {}, "tenants/b/collections/more": {}}
        self.older = {c: {} for c in self.stored}
        os.mkdir(mnt)
        daemon = subprocess.Popen([f"{bin}/ruvectorfs", "-f", "-o", "supervise=off", self.dir, mnt],
                                  stderr=subprocess.DEVNULL)
        while not os.path.exists(mnt + "/version"):
            assert daemon.poll() is None
            time.sleep(0.01)
        for c in self.stored:
            os.mkdir(f"{mnt}/{c}")
        self.put(mnt, "tenants/a", [f"v{i}" for i in range(2500)], rng)
        for i in range(12):
            self.put(mnt, "tenants/b", [f"x{i}"], rng, {"metadata": {"n": i}, "text": "t" * (i * 700)})
            self.put(mnt, "tenants/b/collections/more", [f"y{j}" for j in range(i, i + 3)], rng)
        self.remove(mnt, "tenants/a", [f"v{i}" for i in range(0, 200, 7)])
        self.remove(mnt, "tenants/b", ["x3"])
        self.put(mnt, "tenants/a", [f"v{i}" for i in range(1, 300, 5)] + ["late"], rng)
        if kill:
            daemon.kill()
        subprocess.run(["umount", "-l" if kill else "-i", mnt], check=True)
        daemon.wait()

    def put(self, mnt, c, ids, rng, extra={}):
        rows = {i: line(i, vector(rng), extra) for i in ids}
        write(f"{mnt}/{c}/ingest/f.jsonl", "".join(rows.values()))
        for i in rows:
            self.forget(c, i)
        self.stored[c].update(rows)

    def remove(self, mnt, c, ids):
        write(f"{mnt}/{c}/delete", "".join(i + "\n" for i in ids))
        for i in ids:
            self.forget(c, i)

    def forget(self, c, i):
        if i in self.stored[c]:
            self.older[c].setdefault(i, []).append(self.stored[c].pop(i))

def damage(dir, rng):
    files = [os.path.join(d, f) for d, _, names in os.walk(dir) for f in names
             if f not in ("lock", "format", "figures", "totals") and not f.endswith(("-shm", ".log"))]
    files = [f for f in files if os.path.getsize(f)]
    path = rng.choice(files)
    size = os.path.getsize(path)
    at, how = rng.randrange(size), rng.choice(("flip", "flip", "page", "cut"))
    with open(path, "r+b") as f:
        if how == "flip":
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1 << rng.randrange(8)]))
        elif how == "page":
            f.seek(at // 4096 * 4096)
            f.write(bytes(min(4096, size - at // 4096 * 4096)))
        else:
            f.truncate(at)
    return f"{how} {os.path.relpath(path, dir)} at {at} of {size}"

def export(bin, dir, c, out):
    done = subprocess.run([f"{bin}/ruvectorctl", "export", "-q", f"{dir}/{c}", out], capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr
    with open(out) as f:
        return {o["id"]: o for o in map(json.loads, f)}, ""

def floats(v):
    return struct.pack(f"<{len(v)}f", *v)

def same(have, line):
    want = json.loads(line)
    return floats(have.pop("vector")) == floats(want.pop("vector")) and have == want

def check(bin, base, dir, names, said):
    """(missing, removed or replaced ones back, wrong)"""
    missing = back = 0
    wrong = []
    for c, stored in base.stored.items():
        tenant = c.split("/")[1]
        have, why = export(bin, dir, c.replace("/" + tenant, "/" + names.get(tenant, tenant), 1), dir + ".out.jsonl")
        if have is None:
            if "no tenant" not in why and "no collection" not in why:
                wrong.append(f"{c}: {why}")
            missing += len(stored)
            continue
        missing += sum(i not in have for i in stored)
        for i, o in have.items():
            if i in stored and same(dict(o), stored[i]):
                continue
            if not any(same(dict(o), old) for old in base.older[c].get(i, ())):
                wrong.append(f"{c}: {i} is not what was stored")
            elif i in stored and "has lost" not in said:
                wrong.append(f"{c}: {i} is older than what was stored")
            back += 1
    return missing, back, wrong

def run(bin, base, work, rng, verbose):
    dir = f"{work}/copy"
    shutil.copytree(base.dir, dir, ignore=shutil.ignore_patterns("ctl.sock"))
    what = damage(dir, rng)
    repair = subprocess.run([f"{bin}/ruvectorctl", "repair", dir], capture_output=True, text=True)
    verify = subprocess.run([f"{bin}/ruvectorctl", "verify", dir], capture_output=True, text=True)
    names = {"ab"[int(n) - 1 if int(n) < 3 else 1]: f"recovered-{n}" for n in re.findall(r"tenants/recovered-(\d+)", repair.stdout)}
    missing, back, wrong = check(bin, base, dir, names, repair.stdout)
    if repair.returncode > 1:
        wrong.append("repair: " + repair.stderr.strip())
    elif verify.returncode:
        wrong.append("verify: " + verify.stdout.strip())
    lost = re.search(r"(\d+) are lost", repair.stdout)
    found = repair.stdout.count("\n") > 1
    if missing and not found:
        wrong.append("vectors are missing, and nothing was said")
    if verbose or wrong:
        print(f"  {what}: {missing} missing, {lost.group(1) if lost else 0} told, {back} back", *wrong[:3], sep="\n    ")
        if wrong:
            print(repair.stdout[-800:])
    shutil.rmtree(dir)
    return missing, back, len(wrong), found

STEPS = ("salvaged", "moved", "exchanged", "placed", "registry-kept", "registry-ready", "registry-away", "registry-placed",
         "registry-counted")

def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 4]))

def read(path):
    with open(path, "rb") as f:
        return f.read()

def originals(dir):
    """Beginnings of files that every later repair must leave in DATA. Of store 1 a verification takes the WAL in before."""
    names = [f"stores/2/{f}" for f in os.listdir(f"{dir}/stores/2") if not f.endswith((".graph", "-shm"))]
    names += ["registry.db", "registry.db-wal", "registry.commits"]
    return {"1/1.vectors.1": read(f"{dir}/stores/1/1.vectors.1")[:1 << 16],
            **{n.removeprefix("stores/"): read(f"{dir}/{n}") for n in names}}

def kept(dir, name, bytes):
    kept = os.listdir(f"{dir}/damaged") if os.path.isdir(f"{dir}/damaged") else []
    places = [f"{dir}/stores/{name}", f"{dir}/{name}"] + [f"{dir}/damaged/{k}/{name}" for k in kept]
    return any(read(p).startswith(bytes) for p in places if os.path.isfile(p))

def repair_killed_at(bin, ctl, base, work, step, count):
    """What is wrong with it; None: it does not come to that step so often."""
    dir = f"{work}/steps"
    shutil.copytree(base.dir, dir, ignore=shutil.ignore_patterns("ctl.sock"))
    flip(f"{dir}/stores/1/1.vectors.1", 4096 + 64 + 2 * 4 * DIM)  # the first number of v2
    for wal in ("stores/2/store.db-wal", "registry.db-wal"):  # the checksum of the first frame
        flip(f"{dir}/{wal}", 32 + 16)
    was = originals(dir)
    done = subprocess.run([ctl, "repair", "-q", dir], capture_output=True, env={**os.environ, "RV_FAULT": f"repair.{step}:{count}"})
    wrong = [f"{n} is lost at once" for n, bytes in was.items() if not kept(dir, n, bytes)]
    repair = subprocess.run([f"{bin}/ruvectorctl", "repair", dir], capture_output=True, text=True)
    verify = subprocess.run([f"{bin}/ruvectorctl", "verify", dir], capture_output=True, text=True)
    wrong += [f"{n} is lost by the next repair" for n, bytes in was.items() if not kept(dir, n, bytes)]
    if repair.returncode > 1 or verify.returncode or done.returncode not in (-9, 1):
        wrong.append(f"{done.returncode}, {repair.stderr}, {verify.stdout}")
    if count == 1 and done.returncode != -9:
        wrong.append("it does not come to that step")
    missing, _, more = check(bin, base, dir, {}, repair.stdout)
    if missing > 1 or more:
        wrong.append(f"{missing} missing, {more[:3]}, {repair.stdout}")
    shutil.rmtree(dir)
    return wrong if done.returncode == -9 or count == 1 else None

def check_steps(bin, ctl, base, work):
    killed = bad = 0
    for step in STEPS:
        for count in itertools.count(1):
            wrong = repair_killed_at(bin, ctl, base, work, step, count)
            if wrong is None:
                break
            killed += 1
            bad += len(wrong)
            if wrong:
                print(f"  killed at {step}, {count}:", *wrong, sep="\n    ")
    print(f"repair: killed at {killed} steps, {bad} wrong")
    return bad

def main():
    p = argparse.ArgumentParser()
    p.add_argument("bin")
    p.add_argument("--rounds", type=int, default=16)
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--faults")
    p.add_argument("-v", "--verbose", action="store_true")
    a = p.parse_args()
    rng = random.Random(a.seed)
    print(f"repair: seed {a.seed}")
    work = tempfile.mkdtemp(prefix="rv-repair-")
    try:
        bases = [Base(a.bin, work, "clean", False, rng), Base(a.bin, work, "killed", True, rng)]
        found = missing = back = bad = 0
        for i in range(a.rounds):
            m, b, w, f = run(a.bin, bases[i % 2], work, rng, a.verbose)
            missing, back, bad, found = missing + m, back + b, bad + w, found + f
        if a.faults:
            bad += check_steps(a.bin, a.faults, bases[1], work)
    finally:
        shutil.rmtree(work)
    print(f"repair: {a.rounds} damages, {found} found, {missing} vectors lost, {back} removed or replaced ones back, {bad} wrong")
    return 1 if bad else 0

if __name__ == "__main__":
    sys.exit(main())
