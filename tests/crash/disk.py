#!/usr/bin/env python3
"""A real small filesystem, ext4 on a loop device, that gets full, and then one whose disk fails (root only).

usage: disk.py BIN [-v]

full: files are stored until ENOSPC; what was acknowledged is there, the server lives, and goes on when there is room again.
failing: the device is larger than what lies behind it (a file with holes on a tmpfs that is full), so that writes and syncs
fail with EIO after the filesystem took them. Clients try on. Then the disk is mended, the filesystem mounted anew as after a
crash, and what was acknowledged must be there, no batch half, and a verification finds nothing.
unreadable: the segment of a tenant lies on a device whose second half cannot be read any more (the file behind it is cut), so
that pages of the mapping that searches read are SIGBUS. What is there is served, the rest is EIO, and no server ends.
"""
import argparse, errno, os, pathlib, re, shutil, subprocess, sys, tempfile, time
from collections import Counter

DIM = 64

def sh(*cmd, check=True):
    return subprocess.run(cmd, check=check, capture_output=True, text=True)

class Disk:
    """DISK_MB of ext4 with only BEHIND_MB behind it."""
    def __init__(self, work, disk_mb, behind_mb):
        self.behind, self.dir = work + "/behind", work + "/disk"
        self.image = self.behind + "/image"
        os.mkdir(self.behind)
        os.mkdir(self.dir)
        sh("mount", "-t", "tmpfs", "-o", f"size={behind_mb}m", "tmpfs", self.behind)
        with open(self.image, "w") as f:
            f.truncate(disk_mb << 20)
        sh("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,nodiscard", self.image)
        self.mount()

    def mount(self):
        sh("mount", "-o", "loop", self.image, self.dir)

    def unmount(self):
        deadline = time.monotonic() + 30
        while sh("umount", self.dir, check=False).returncode and time.monotonic() < deadline:
            time.sleep(0.1)

    def mend(self, mb):
        sh("mount", "-o", f"remount,size={mb}m", self.behind)

    def end(self):
        self.unmount()
        sh("umount", "-l", self.behind, check=False)
        os.rmdir(self.dir)
        os.rmdir(self.behind)

class Mount:
    def __init__(self, bin, data, mnt, *options):
        self.bin, self.data, self.mnt = bin, data, mnt
        os.makedirs(mnt, exist_ok=True)
        self.daemon = subprocess.Popen([bin + "/ruvectorfs", "-f", *options, data, mnt], stderr=subprocess.DEVNULL)
        while not os.path.exists(mnt + "/version"):
            assert self.daemon.poll() is None, "the mount ended"
            time.sleep(0.02)

    def end(self):
        sh("umount", self.mnt, check=False)
        return self.daemon.wait(timeout=120)

def vector(n):
    return " ".join(str((n * 7 + i * 13) % 101 / 10 + 1) for i in range(DIM))

class Load:
    """Batches of 1 and of 300 vectors, each with IDs of its own; their answers."""
    def __init__(self, tenant):
        self.tenant, self.n, self.acknowledged, self.refused, self.errors = tenant, 0, [], [], Counter()

    def put(self, size):
        name, self.n = f"b{self.n}", self.n + 1
        text = "".join(f"{name}.{i}\t{vector(self.n * 1000 + i)}\n" for i in range(size)).encode()
        try:
            fd = os.open(f"{self.tenant}/ingest/{name}", os.O_WRONLY | os.O_CREAT)
            try:
                os.write(fd, text)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as e:
            self.errors[errno.errorcode[e.errno]] += 1
            self.refused.append((name, size))
            return False
        self.acknowledged.append((name, size))
        return True

    def run(self, failures):
        """Until so many have failed."""
        while sum(self.errors.values()) < failures and self.n < 5000:
            self.put(300 if self.n % 2 else 1)

    def check(self, tenant):
        """What is wrong with what is stored."""
        have = Counter(i.split(".")[0] for i in os.listdir(tenant + "/vectors"))
        bad = [f"{name}: {have[name]} of {size} acknowledged" for name, size in self.acknowledged if have[name] != size]
        return bad + [f"{name}: {have[name]} of {size}, refused" for name, size in self.refused if have[name] not in (0, size)]

def answers(tenant):
    with open(tenant + "/query", "r+b", buffering=0) as f:
        f.write(b"k=3 " + vector(1000).encode() + b"\n")
        return f.read().count(b"\n")

def verify(bin, data):
    done = sh(bin + "/ruvectorctl", "verify", data, check=False)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]

def full(bin, work):
    disk, bad = Disk(work, 24, 64), []
    try:
        m = Mount(bin, disk.dir + "/data", work + "/mnt")
        tenant = m.mnt + "/tenants/t"
        os.mkdir(tenant)
        with open(disk.dir + "/ballast", "wb") as f:
            f.write(bytes(6 << 20))
        load = Load(tenant)
        load.run(12)
        bad += load.check(tenant)
        bad += ["no answers on a full disk"] * (answers(tenant) != 3)
        os.unlink(disk.dir + "/ballast")
        bad += ["it does not go on when there is room"] * (not load.put(300) or not load.put(1))
        bad += ["errors: %s" % dict(load.errors)] * (set(load.errors) != {"ENOSPC"})
        bad += load.check(tenant)
        bad += ["exit"] * (m.end() != 0) + verify(bin, disk.dir + "/data")
    finally:
        disk.end()
    return load, bad

def failing(bin, work):
    disk, bad = Disk(work, 256, 20), []
    try:
        m = Mount(bin, disk.dir + "/data", work + "/mnt")
        tenant = m.mnt + "/tenants/t"
        os.mkdir(tenant)
        load = Load(tenant)
        load.run(40)
        bad += ["no answers on a failing disk"] * (answers(tenant) != 3)
        disk.mend(400)
        m.end()  # cannot write down everything
        disk.unmount()
        sh("e2fsck", "-fy", disk.image, check=False)
        disk.mount()
        m = Mount(bin, disk.dir + "/data", work + "/mnt")
        bad += load.check(tenant)
        bad += ["it does not go on"] * (not load.put(300) or not load.put(1))
        bad += ["errors: %s" % dict(load.errors)] * ("EIO" not in load.errors)
        bad += ["exit"] * (m.end() != 0) + verify(bin, disk.dir + "/data")
    finally:
        disk.end()
    return load, bad

class Part:
    """An ext4 that can be read, of which the blocks behind the middle of a file on it then cannot."""
    def __init__(self, work, source):
        self.image, self.dir = work + "/part", work + "/bad"
        self.file = self.dir + "/segment"
        os.mkdir(self.dir)
        with open(self.image, "w") as f:
            f.truncate(64 << 20)
        sh("mkfs.ext4", "-q", "-O", "^has_journal", self.image)
        sh("mount", "-o", "loop", self.image, self.dir)
        shutil.copyfile(source, self.file)
        os.sync()
        self.cut = self.middle()
        sh("umount", self.dir)
        sh("mount", "-o", "loop,ro", self.image, self.dir)
        os.truncate(self.image, self.cut)

    def middle(self):
        """Of the part of the file that lies behind all others on the device, in its bytes."""
        lines = sh("filefrag", "-e", "-b4096", self.file).stdout.splitlines()
        places = [[int(n) for n in re.findall(r"\d+", line)[3:5]] for line in lines if re.match(r" *\d+:", line)]
        first, last = max(places)
        return (first + last) // 2 * 4096

    def end(self):
        sh("umount", self.dir, check=False)
        os.rmdir(self.dir)

def readable(tenant, ids):
    n = 0
    for i in ids:
        try:
            with open(f"{tenant}/vectors/{i}") as f:
                n += len(f.read()) > 0
        except OSError as e:
            assert e.errno == errno.EIO, e
    return n

def value(file, key):
    with open(file) as f:
        return next(line.split()[1] for line in f if line.startswith(key + " "))

def unreadable(bin, work):
    data, bad = work + "/data", []
    m = Mount(bin, data, work + "/mnt")
    tenant = m.mnt + "/tenants/t"
    os.mkdir(tenant)
    load = Load(tenant)
    for _ in range(40):
        load.put(300)
    m.end()
    segment = next(str(p) for p in pathlib.Path(data).glob("stores/*/*.vectors.*"))
    part = Part(work, segment)
    try:
        os.remove(segment)
        os.symlink(part.file, segment)
        m = Mount(bin, data, work + "/mnt", "-o", "ro")
        server, ids = value(m.mnt + "/stats", "server_pid"), os.listdir(tenant + "/vectors")
        n = readable(tenant, ids)
        load.errors["EIO"] = len(ids) - n
        bad += [f"{n} of {len(ids)} can be read"] * (not len(ids) / 4 < n < len(ids))
        for exact in 0, 1:
            with open(tenant + "/query", "r+b", buffering=0) as f:
                f.write(b"exact=%d k=10000 " % exact + vector(1000).encode() + b"\n")
                got = sum(f.read(1 << 20).count(b"\n") for _ in range(4))
            bad += [f"exact={exact}: {got} answers, expected {min(n, 10000)}"] * (got != min(n, 10000))
        with open(tenant + "/integrity", "w") as f:
            f.write("verify\n")
        while value(tenant + "/integrity", "verifying") != "no":
            time.sleep(0.1)
        bad += ["a verification finds nothing"] * (value(tenant + "/integrity", "state") != "damaged")
        bad += ["a server ended"] * (value(m.mnt + "/stats", "server_pid") != server)
        bad += ["exit"] * (m.end() != 0)
    finally:
        m.end()
        part.end()
    return load, bad

def main():
    p = argparse.ArgumentParser()
    p.add_argument("bin")
    p.add_argument("-v", "--verbose", action="store_true")
    a = p.parse_args()
    failed = 0
    for run in full, failing, unreadable:
        work = tempfile.mkdtemp(prefix="rv-disk-")
        load, bad = run(a.bin, work)
        failed += bool(bad)
        for b in bad[:20]:
            print("  " + b)
        print(f"disk: {run.__name__}: {len(load.acknowledged)} batches acknowledged, "
              f"errors: {', '.join(f'{n} {e}' for e, n in load.errors.items())}: {len(bad)} wrong")
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0

if __name__ == "__main__":
    sys.exit(main())
