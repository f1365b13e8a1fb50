#!/usr/bin/env bats
# Clients that nobody wrote for it: each language does the same with nothing but its own file functions. It
#
#   writes four vectors, asks with query and results, asks on one descriptor, gets an error and the sentence,
#   removes a vector, renames another one and reads it,
#
# and prints what it has seen, a line each.

load helper

setup() {
    # Debian's own, where somebody has put others before them
    PATH=/usr/bin:$PATH
    export LC_ALL=C.UTF-8
    mount_fs
    mkdir "$MNT/tenants/t"
    cd "$MNT/tenants/t" || return
    LINES_IN=$'apple\t0.9 0.1 0\npear\t0.8 0.2 0.1\nquince\t0.7 0.3 0\nhammer\t0 0.1 0.9\n'
    export LINES_IN
}

# Runs a client with its program from standard input in a file of that ending.
client() { # ENDING CMD...
    local program=$BATS_TEST_TMPDIR/client.$1
    shift
    cat > "$program"
    run timeout -k 5 60 "$@" "$program"
    assert_success
    assert_output 'apple
hammer
expected 3 numbers, got 2
{"id":"kiwi","vector":[0.7,0.3,0]}'
    assert_equal "$(LC_ALL=C ls vectors | paste -sd ' ')" "apple hammer kiwi"
    assert_equal "$(sed -n 's/^state //p' ingest/fruit)" committed
}

@test "bash" {
    client bash bash << 'END'
set -e
printf %s "$LINES_IN" > ingest/fruit
echo "k=1 1 0 0" > query
IFS=$'\t' read -r id distance < results
echo "$id"
exec 3<>query
echo "k=1 0 0 1" >&3
IFS=$'\t' read -r id distance <&3
echo "$id"
if echo "1 2" 2> /dev/null >&3; then exit 1; fi
exec 3>&-
cat error
rm vectors/pear
mv vectors/quince vectors/kiwi
cat vectors/kiwi
END
}

@test "dash, busybox sh" {
    for shell in dash "busybox sh"; do
        rm -f ingest/fruit
        echo '*' > delete
        client sh $shell << 'END'
set -e
printf %s "$LINES_IN" > ingest/fruit
echo "k=1 1 0 0" > query
cut -f 1 results
exec 3<>query
echo "k=1 0 0 1" >&3
cut -f 1 <&3
if echo "1 2" 2> /dev/null >&3; then exit 1; fi
exec 3>&-
cat error
rm vectors/pear
mv vectors/quince vectors/kiwi
cat vectors/kiwi
END
    done
}

@test "Python" {
    client py python3 << 'END'
import errno, os, pathlib
with open("ingest/fruit", "w") as f:
    f.write(os.environ["LINES_IN"])
pathlib.Path("query").write_text("k=1 1 0 0\n")
print(pathlib.Path("results").read_text().split("\t")[0])
with open("query", "r+b", buffering=0) as f:
    f.write(b"k=1 0 0 1\n")
    print(f.read().decode().split("\t")[0])
    try:
        f.write(b"1 2\n")
    except OSError as e:
        assert e.errno == errno.EINVAL
        print(open("error").read(), end="")
os.remove("vectors/pear")
os.rename("vectors/quince", "vectors/kiwi")
assert sorted(os.listdir("vectors")) == ["apple", "hammer", "kiwi"]
print(open("vectors/kiwi").read(), end="")
END
}

@test "numpy: save into ingest/ and query, load of what was exported" {
    run python3 - << 'END'
import io
import numpy as np
a = np.arange(12, dtype="float32").reshape(4, 3) + 1
np.save("ingest/rows.npy", a)
assert (np.load("export.npy") == a).all()
assert (np.load("export.npy", mmap_mode=None)[2] == a[2]).all()
for kind in "float16", "float64", "int8", "uint8":
    np.save("ingest/%s.npy" % kind, a.astype(kind))
q = io.BytesIO()
np.save(q, a[[1, 3]])
with open("query", "r+b", buffering=0) as f:
    f.write(q.getvalue())
    print([x.split("\t")[0] for x in f.read().decode().split("\n\n")])
with open("query", "wb") as f:
    f.write(q.getvalue())
distances = np.loadtxt("results", usecols=1, delimiter="\t")
assert distances.shape == (20,) and abs(distances[0]) < 1e-6
END
    assert_success
    assert_output --regexp "^\['[a-z0-9]+:1', '[a-z0-9]+:3'\]$"
    assert_equal "$(ls vectors | wc -l)" 20
}

@test "Perl" {
    client pl perl << 'END'
use strict;
use warnings;
open(my $f, '>', 'ingest/fruit') or die;
print $f $ENV{LINES_IN};
close $f or die "close: $!";
open($f, '>', 'query') or die;
print $f "k=1 1 0 0\n";
close $f or die;
open($f, '<', 'results') or die;
print +(split /\t/, <$f>)[0], "\n";
close $f;
open($f, '+<', 'query') or die;
syswrite($f, "k=1 0 0 1\n") or die;
sysread($f, my $answer, 65536) or die;
print +(split /\t/, $answer)[0], "\n";
die if defined syswrite($f, "1 2\n");
die unless $!{EINVAL};
close $f;
open($f, '<', 'error') or die;
print <$f>;
unlink 'vectors/pear' or die;
rename 'vectors/quince', 'vectors/kiwi' or die;
opendir(my $d, 'vectors') or die;
die unless join(',', sort grep { !/^\./ } readdir $d) eq 'apple,hammer,kiwi';
open($f, '<', 'vectors/kiwi') or die;
print <$f>;
END
}

@test "awk" {
    for awk in mawk "busybox awk"; do
        rm -f ingest/fruit
        echo '*' > delete
        run $awk 'BEGIN {
            printf "%s", ENVIRON["LINES_IN"] > "ingest/fruit"
            if (close("ingest/fruit") != 0) exit 1
            print "k=2 1 0 0" > "query"
            close("query")
            while ((getline line < "results") > 0) { split(line, w, "\t"); print w[1] }
            close("results")
            for (i = 0; i < 5000; i++) print "v" i "\t" i, 1, 1 > "ingest/many"
            close("ingest/many")
            while ((getline line < "ingest/many") > 0) if (line ~ /^vectors/) print line
        }'
        assert_success
        assert_output "$(printf 'apple\npear\nvectors 5000')"
    done
}

@test "Node, and eight promises at once" {
    client js node << 'END'
const fs = require('fs');
fs.writeFileSync('ingest/fruit', process.env.LINES_IN);
fs.writeFileSync('query', 'k=1 1 0 0\n');
console.log(fs.readFileSync('results', 'utf8').split('\t')[0]);
const fd = fs.openSync('query', 'r+');
fs.writeSync(fd, 'k=1 0 0 1\n');
const answer = Buffer.alloc(65536);
console.log(answer.toString('utf8', 0, fs.readSync(fd, answer, 0, answer.length, null)).split('\t')[0]);
try {
    fs.writeSync(fd, '1 2\n');
} catch (e) {
    if (e.code === 'EINVAL') process.stdout.write(fs.readFileSync('error', 'utf8'));
}
fs.closeSync(fd);
fs.unlinkSync('vectors/pear');
fs.renameSync('vectors/quince', 'vectors/kiwi');
process.stdout.write(fs.readFileSync('vectors/kiwi', 'utf8'));
END
    cat > "$BATS_TEST_TMPDIR/promises.js" << 'END'
const { open, writeFile, readdir } = require('fs').promises;
async function ask(i) {
    const [vector, id] = i % 2 ? ['1 0 0', 'apple'] : ['0 0 1', 'hammer'];
    const f = await open('query', 'r+');
    for (let n = 0; n < 40; n++) {
        await f.write(`k=1 ${vector}\n`);
        const { bytesRead, buffer } = await f.read({ buffer: Buffer.alloc(4096), position: null });
        if (buffer.toString('utf8', 0, bytesRead).split('\t')[0] !== id) throw new Error(`${i}: ${buffer}`);
    }
    await f.close();
    await writeFile(`ingest/node${i}`, `${i} 1 1\n`);
}
Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(ask)).then(() => readdir('vectors')).then(l => console.log(l.sort().join(' ')));
END
    # not by io_uring, which Ubuntu's libuv uses: it would need positions (docs/FILES.md)
    UV_USE_IO_URING=0 run timeout -k 5 60 node "$BATS_TEST_TMPDIR/promises.js"
    assert_output "apple hammer kiwi node1 node2 node3 node4 node5 node6 node7 node8"
    cat > "$BATS_TEST_TMPDIR/positions.js" << 'END'
const { open } = require('fs').promises;
open('query', 'r+').then(async f => {
    for (let n = 0; n < 3; n++) {
        const { bytesWritten } = await f.write('k=1 1 0 0\n', 0);
        const { bytesRead, buffer } = await f.read(Buffer.alloc(4096), 0, 4096, bytesWritten);
        console.log(buffer.toString('utf8', 0, bytesRead).split('\t')[0]);
    }
});
END
    UV_USE_IO_URING=1 run timeout -k 5 60 node "$BATS_TEST_TMPDIR/positions.js"
    assert_output $'apple\napple\napple'
}

# Go puts every file into its poller and sets O_NONBLOCK, so that EAGAIN waits for poll. Python does here what its runtime does.
@test "files as Go has them: O_NONBLOCK, in an edge-triggered epoll" {
    client py python3 << 'END'
import errno, os, select
poller = select.epoll()

class File:
    def __init__(self, name, flags):
        self.fd = os.open(name, flags | os.O_CLOEXEC, 0o600)
        poller.register(self.fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
        os.set_blocking(self.fd, False)
        poller.poll(0)

    def call(self, f, *args):
        while True:
            try:
                return f(self.fd, *args)
            except BlockingIOError:
                if not poller.poll(5):
                    raise SystemExit("waits for ever")

    def write(self, text):
        return self.call(os.write, text.encode())

    def read(self):
        whole = b""
        while part := self.call(os.read, 512):
            whole += part
        return whole.decode()

    def close(self):
        poller.unregister(self.fd)
        os.close(self.fd)

def write_file(name, text):
    f = File(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    f.write(text)
    f.close()

def read_file(name):
    f = File(name, os.O_RDONLY)
    text = f.read()
    f.close()
    return text

write_file("ingest/fruit", os.environ["LINES_IN"])
write_file("query", "k=1 1 0 0\n")
print(read_file("results").split("\t")[0])
f = File("query", os.O_RDWR)
f.write("k=1 0 0 1\n")
print(f.read().split("\t")[0])
try:
    f.write("1 2\n")
except OSError as e:
    assert e.errno == errno.EINVAL
    print(read_file("error"), end="")
f.close()
write_file("quota", "max_qps 0\n")
try:
    write_file("query", "k=1 0 0 1\n")
except OSError as e:
    assert e.errno == errno.EBUSY, e
    assert read_file("error").startswith("max_qps is 0"), read_file("error")
write_file("quota", "max_qps max\n")
write_file("quota", "max_write_rate 1\n")
try:
    write_file("ingest/two", "1 1 1\n2 2 2\n")
except OSError as e:
    assert e.errno == errno.EBUSY, e
write_file("quota", "max_write_rate max\n")
# events wait in the poller, as they should
f = File("events", os.O_RDONLY)
if os.fork() == 0:
    for word in "readonly", "active": # without the poller, which is its parent's
        with open("status", "w") as status:
            status.write(word)
    os._exit(0)
assert "status readonly" in f.call(os.read, 512).decode()
os.wait()
os.unlink("vectors/pear")
os.rename("vectors/quince", "vectors/kiwi")
print(read_file("vectors/kiwi"), end="")
END
}

@test "Ruby" {
    client rb ruby << 'END'
File.write('ingest/fruit', ENV['LINES_IN'])
File.write('query', "k=1 1 0 0\n")
puts File.read('results').split("\t").first
File.open('query', 'r+') do |f|
  f.syswrite("k=1 0 0 1\n")
  puts f.sysread(65536).split("\t").first
  begin
    f.syswrite("1 2\n")
  rescue Errno::EINVAL
    print File.read('error')
  end
end
File.delete('vectors/pear')
File.rename('vectors/quince', 'vectors/kiwi')
raise unless Dir.children('vectors').sort == %w[apple hammer kiwi]
raise unless File.size('vectors/kiwi') == File.read('vectors/kiwi').bytesize
IO.copy_stream('vectors/kiwi', $stdout)
END
}

@test "Tcl" {
    client tcl tclsh << 'END'
proc write {name text} { set f [open $name w]; puts -nonewline $f $text; close $f }
proc slurp {name} { set f [open $name]; set text [read $f]; close $f; return $text }
write ingest/fruit $env(LINES_IN)
write query "k=1 1 0 0\n"
puts [lindex [split [slurp results] \t] 0]
set f [open query r+]
fconfigure $f -buffering line
puts $f "k=1 0 0 1"
gets $f line
puts [lindex [split $line \t] 0]
close $f
if {[catch { write query "1 2\n" } message]} { puts -nonewline [slurp error] }
file delete vectors/pear
file rename vectors/quince vectors/kiwi
if {[lsort [glob -tails -directory vectors *]] ne "apple hammer kiwi"} { exit 1 }
puts -nonewline [slurp vectors/kiwi]
END
}

@test "PHP" {
    client php php << 'END'
<?php
file_put_contents('ingest/fruit', getenv('LINES_IN'));
file_put_contents('query', "k=1 1 0 0\n");
echo explode("\t", file_get_contents('results'))[0], "\n";
$f = fopen('query', 'r+');
fwrite($f, "k=1 0 0 1\n");
echo explode("\t", stream_get_contents($f))[0], "\n";
if (@fwrite($f, "1 2\n") !== 4) readfile('error');
fclose($f);
unlink('vectors/pear');
rename('vectors/quince', 'vectors/kiwi');
if (array_values(array_diff(scandir('vectors'), ['.', '..'])) !== ['apple', 'hammer', 'kiwi']) exit(1);
readfile('vectors/kiwi');
END
}

@test "Lua" {
    client lua lua5.4 << 'END'
local function slurp(name)
    local f = assert(io.open(name))
    local text = f:read("a")
    f:close()
    return text
end
local f = assert(io.open("ingest/fruit", "w"))
f:write(os.getenv("LINES_IN"))
assert(f:close())
f = assert(io.open("query", "w"))
f:write("k=1 1 0 0\n")
assert(f:close())
print(slurp("results"):match("^[^\t]*"))
f = assert(io.open("query", "r+"))
f:setvbuf("no")
f:write("k=1 0 0 1\n")
f:seek("cur") -- as C wants it between a write and a read
print(f:read("l"):match("^[^\t]*"))
f:seek("end")
assert(not f:write("1 2\n"))
f:close()
io.write(slurp("error"))
assert(os.remove("vectors/pear"))
assert(os.rename("vectors/quince", "vectors/kiwi"))
io.write(slurp("vectors/kiwi"))
END
}
