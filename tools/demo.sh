#!/bin/sh
# A tour on real input: the descriptions of the packages that are installed on this machine (or its manual pages, or this
# project's own documents) become vectors in a tenant, and are searched with echo and cat. Everything happens in a temporary
# directory, which is removed at the end. Works as root and as an ordinary user who may use fusermount3.
set -u

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${RV_BIN:-$here/build/bin}
PATH=$bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/ruvectorfs-demo.XXXXXX") || exit 1
loader=

is_mounted() { grep -q " $work/mnt fuse" /proc/self/mounts; }

unmount() {
    umount "$work/mnt" 2>/dev/null || fusermount3 -u "$work/mnt" 2>/dev/null ||
        fusermount3 -uz "$work/mnt" 2>/dev/null
}

daemon_runs() {
    daemon=$(cut -d ' ' -f 1 "$work/data/lock" 2>/dev/null)
    [ -n "$daemon" ] && [ -e "/proc/$daemon/exe" ] # a zombie has none, and may stay a while
}

# The daemon ends a moment after the mount: it closes what it has open.
wait_daemon() {
    tries=0
    while daemon_runs && [ $tries -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}

# Never removes anything below a mount that would not go away, nor under a daemon that runs. Interrupting this would leave both.
clean_up() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP
    cd / || exit 1
    if [ -n "$loader" ]; then
        kill "$loader" 2>/dev/null
        wait "$loader" 2>/dev/null
    fi
    tries=0
    while is_mounted && [ $tries -lt 50 ]; do
        unmount || sleep 0.1
        tries=$((tries + 1))
    done
    ! daemon_runs || kill "$daemon"
    wait_daemon
    if is_mounted; then
        echo "demo: $work/mnt is still mounted, unmount it and remove $work" >&2
    else
        rm -rf "$work"
    fi
    exit $status
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s\n' "$*"; }

fail() {
    echo "demo: $*" >&2
    exit 1
}

# Shows a command as it would be typed, runs it, shows what it says. The command runs in this very shell.
run() {
    printf '\n$ %s\n' "$1"
    eval "$1" >"$work/out" 2>&1
    status=$?
    cat "$work/out"
    [ $status -eq 0 ] || fail "that failed (exit $status)"
}

# Likewise for what must say something.
ask() {
    run "$1"
    [ -s "$work/out" ] || fail "that had no answer"
}

# ---- where the texts come from: lines of ID<TAB>TEXT ----

# A description's first line is its summary; the lines that go on start with a space.
packages() {
    command -v dpkg-query >/dev/null || return 1
    dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Description}\n' 2>/dev/null |
        awk -F '\t' '
            function flush() { if (line != "") print line; line = "" }
            /^ / { if (line != "" && $0 != " .") line = line $0; next }
            { flush(); if ($1 == "installed") line = $2 "\t" $2 ": " $3 }
            END { flush() }'
}

manual_pages() {
    command -v man >/dev/null || return 1
    man -k . 2>/dev/null | awk '
        match($0, /^[^ ,]+ *\([^)]*\)/) {
            id = substr($0, 1, RLENGTH); gsub(/[ \/]/, "", id); print id "\t" $0 }'
}

own_documents() {
    find "$here" -maxdepth 2 \( -name '*.md' -o -name '*.h' \) -not -path '*/.*' |
        while read -r file; do
            awk -v name="${file##*/}" 'NF > 4 { gsub(/\t/, " "); print name ":" NR "\t" $0 }' "$file"
        done
}

texts() {
    questions="compressing files
time zone data
secure remote login to another machine
interpreter of a programming language
compiler for the C language"
    what="the descriptions of the packages installed here"
    packages >"$work/texts.tsv"
    [ "$(wc -l <"$work/texts.tsv")" -ge 20 ] && return
    what="this machine's manual pages"
    manual_pages >"$work/texts.tsv"
    [ "$(wc -l <"$work/texts.tsv")" -ge 20 ] && return
    what="the lines of this project's own documents"
    own_documents >"$work/texts.tsv"
    questions="scripts that ask at the same time
the limits of a tenant
why something was refused"
}

# ---- loading, with progress from the receipt, which is live ----

loaded() { awk '$1 == "vectors" { print $2 }' ingest/texts.jsonl 2>/dev/null; }

load() {
    command='ruvector-embed -i -f jsonl ../../../texts.tsv > ingest/texts.jsonl'
    printf '\n$ %s\n' "$command"
    eval "exec $command" &
    loader=$!
    while kill -0 $loader 2>/dev/null; do
        [ -t 1 ] && printf '\r%s of %s' "$(loaded)" "$n"
        sleep 0.2
    done
    wait $loader || fail "loading failed: $(cat error)"
    loader=
    [ -t 1 ] && printf '\r'
    echo "$(loaded) of $n loaded"
}

# ---- the tour ----

unmount_command=umount
[ "$(id -u)" -eq 0 ] || unmount_command="fusermount3 -u mnt 2>/dev/null || umount" # the former needs /etc/mtab

# What cannot be mended here is said before anything is built on it.
may_mount() {
    [ -c /dev/fuse ] || fail "there is no /dev/fuse here, so nothing can be mounted: \`modprobe fuse\`, or start the container \
with --device /dev/fuse --cap-add SYS_ADMIN"
    [ "$(id -u)" -eq 0 ] && return
    [ -w /dev/fuse ] || fail "only root may mount here ($(ls -l /dev/fuse)): run it as root, or \`chmod 666 /dev/fuse\`"
    command -v fusermount3 >/dev/null || fail "an ordinary user mounts by fusermount3, which is missing: install fuse3"
}

for program in ruvectorfs ruvector-embed; do
    [ -x "$bin/$program" ] || fail "$bin/$program is missing, run make first"
done
may_mount
texts
n=$(wc -l <"$work/texts.tsv" | tr -d ' ')
[ "$n" -gt 0 ] || fail "no texts found to search"

say "ruvectorfs: a filesystem whose directories are tenants of a vector store."
say "1. Mount it. DATA is where it keeps everything; here all of it is in $work."
cd "$work" || exit 1
run 'mkdir mnt && ruvectorfs data mnt && ls mnt'

say "2. A directory is a tenant."
run 'mkdir mnt/tenants/demo && ls mnt/tenants/demo'

say "3. What is written into ingest/ is stored and searchable. Here it is
   $what ($n of them), as lines of ID, tab, text.
   ruvector-embed makes a vector of each by hashing its words. It knows how words are spelled, not what they mean:
   a real embedding model gives better vectors, and they are written to ingest/ just the same."
run 'head -n 3 texts.tsv | cut -c 1-100; cd mnt/tenants/demo'
load
say "   The file that was written reads as its receipt:"
run 'cat ingest/texts.jsonl'

say "4. Ask. A query is written to query, its answer is read from results: ID, distance, and what was included."
while read -r question; do
    ask "echo \"k=4 include=text \$(ruvector-embed -q '$question')\" > query; cut -c 1-110 results"
done <<END
$questions
END
first=$(cut -f 1 results | head -n 1)

say "5. Neighbours of something that is stored, and one descriptor for a whole conversation."
ask "echo 'like=$first k=5' > query; cat results"
ask "exec 3<>query; echo 'like=$first k=2 exact=1' >&3; cat <&3; exec 3>&-"

say "6. Every vector is a file, and every failure says why."
run "cut -c 1-100 'vectors/$first'; rm 'vectors/$first'"
printf '\n$ %s\n' "/bin/echo 1 2 3 > query; cat error"
# shellcheck disable=SC2069  # the shell's message is what is shown, query takes the rest
/bin/echo 1 2 3 2>&1 >query
cat error

say "7. Figures."
run 'head -n 6 stats'

say "8. Unmount. The data stays, until this demo removes its temporary directory."
cd "$work" || exit 1
run "$unmount_command mnt"
wait_daemon
run 'ls data'
say "That was all of it: mkdir, echo and cat. README.md has the five-minute tour."
