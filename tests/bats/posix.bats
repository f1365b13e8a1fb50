#!/usr/bin/env bats
# What ordinary programs make of the files: whole content, right sizes, errors that are seen.

load helper

setup() {
    export LC_ALL=C
    mount_fs
    mkdir "$MNT/tenants/t"
    cd "$MNT/tenants/t" || return
    printf 'a\t1 0\nb\t0 1\nc\t1 1\n' > ingest/base
    echo "1 0" > query
    FILES="config results ingest/base vectors/a quota status integrity ../../README ../../version"
    T=$BATS_TEST_TMPDIR
}

@test "every reader gets the whole file" {
    for f in $FILES; do
        cat "$f" > "$T/expected"
        [ -s "$T/expected" ]
        assert_equal "$(tail -c 1 "$T/expected" | od -An -tx1)" " 0a"
        head -n 10000 "$f" | cmp - "$T/expected"
        tail -n +1 "$f" | cmp - "$T/expected"
        tail -c 100000 "$f" | cmp - "$T/expected"
        dd if="$f" bs=7 status=none | cmp - "$T/expected"
        cp "$f" "$T/copy" && cmp "$T/copy" "$T/expected"
        cp --sparse=always --reflink=never "$f" "$T/copy" && cmp "$T/copy" "$T/expected"
        busybox cat "$f" | cmp - "$T/expected"
        busybox cat "$f" > "$T/copy" && cmp "$T/copy" "$T/expected"
        rm "$T/copy" && busybox cp "$f" "$T/copy" && cmp "$T/copy" "$T/expected"
        python3 -c 'import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])' "$f" "$T/copy"
        cmp "$T/copy" "$T/expected"
        python3 -c 'import sys; sys.stdout.write(open(sys.argv[1]).read())' "$f" | cmp - "$T/expected"
        while IFS= read -r line; do echo "$line"; done < "$f" | cmp - "$T/expected"
        assert_equal "$(wc -c < "$f")" "$(wc -c < "$T/expected")"
        assert_equal "$(wc -l < "$f")" "$(wc -l < "$T/expected")"
        assert_equal "$(stat -c %s "$f")" "$(wc -c < "$T/expected")"
        assert_equal "$(awk 'END { print NR }' "$f")" "$(wc -l < "$T/expected")"
        grep -c . "$f" > /dev/null
        tar cf - "$f" 2> /dev/null | tar xOf - | cmp - "$T/expected"
    done
}

@test "head -n 1 and read leave the rest to the next reader" {
    run bash -c '{ head -n 1 > /dev/null; cat; } < config'
    assert_output "$(tail -n +2 config)"
    run bash -c '{ read -r x; cat; } < config'
    assert_output "$(tail -n +2 config)"
}

@test "seeking: pread, lseek, SEEK_END" {
    run python3 - config << 'EOF'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
whole = os.read(fd, 1 << 20)
assert os.read(fd, 10) == b""
assert os.lseek(fd, 0, os.SEEK_END) == len(whole) == os.fstat(fd).st_size
assert os.pread(fd, 5, 3) == whole[3:8]
assert os.pread(fd, 5, 1 << 40) == b""
os.lseek(fd, -4, os.SEEK_END)
assert os.read(fd, 100) == whole[-4:]
assert os.read(fd, 0) == b""
EOF
    assert_success
}

@test "what a handle reads stays as it was at its open" {
    exec 5< config
    echo "k 77" > config
    run cat <&5
    assert_line "k 10"
    exec 5<&-
    run cat config
    assert_line "k 77"
}

@test "sendfile gets all of a file that grew while somebody has it open" {
    echo "k 9" > config
    exec 5< config
    echo "k 1000" > config
    busybox cat config > "$T/copy"
    assert_equal "$(tail -n 1 "$T/copy")" "$(tail -n 1 config)"
    assert_equal "$(wc -c < "$T/copy")" "$(cat config | wc -c)"
    exec 5<&-
}

@test "writers: tee, dd, cp, cat, awk, python into ingest" {
    echo "1 2" | tee ingest/tee > /dev/null
    echo "1 2" | dd of=ingest/dd status=none
    printf '1 2\n3 4\n' > "$T/two.txt"
    cp "$T/two.txt" ingest/
    cat "$T/two.txt" > ingest/cat
    awk 'BEGIN { for (i = 0; i < 5000; i++) print "awk-" i "\t" i, 1 }' > ingest/awk
    python3 -c 'open("ingest/py", "w").write("1 2\n")'
    busybox cp "$T/two.txt" ingest/bb
    install -m 600 "$T/two.txt" ingest/installed
    rsync -a "$T/two.txt" ingest/rsynced.txt
    tar cf - -C "$T" two.txt | tar xf - -C ingest --transform 's/two/tarred/'
    for f in tee dd two.txt cat awk py bb installed rsynced.txt tarred.txt; do
        run cat "ingest/$f"
        assert_line "state committed"
    done
    assert_equal "$(ls vectors | grep -c '^awk-')" 5000
    [ -e vectors/tee ] && [ -e vectors/dd ] && [ -e vectors/rsynced:1 ] && [ -e vectors/tarred:1 ]
}

@test "bad input is reported by each writer" {
    printf '1 2 3' > "$T/bad"
    for cmd in 'echo 1 x > ingest/e' 'printf "1 2 3\n" > ingest/e' 'echo "1 x" | tee ingest/e' \
        'echo "1 x" | dd of=ingest/e' 'printf "1 2 3" | cat > ingest/e' "cp $T/bad ingest/e" \
        'awk "BEGIN { print \"1 nan\" }" > ingest/e' 'python3 -c "with open(\"ingest/e\", \"w\") as f: f.write(\"1 2 3\")"'; do
        run bash -c "set -o pipefail; $cmd"
        assert_failure
        assert_output --partial "nvalid argument"
    done
    run ls vectors
    assert_output "$(printf 'a\nb\nc')"
}

@test "control files: >, >>, tee -a, several lines, a lone newline" {
    echo "k 5" > config
    echo "ef_search 70" >> config
    printf 'k 6\nef_search 71\n' | tee -a config > /dev/null
    python3 -c 'f = open("config", "r+b", buffering=0); f.write(b"k 7"); f.write(b"\n")'
    echo "ef_search=72" | dd of=config status=none
    run cat config
    assert_line "k 7"
    assert_line "ef_search 72"
    run bash -c 'env printf "k 9\nnonsense 1\n" > config' # bash's own printf writes line by line
    assert_failure
    run cat config
    assert_line "k 7"
    truncate -s 0 config
    run cat config
    assert_line "k 7"
    run bash -c 'dd if=/dev/zero of=config bs=5000 count=1'
    assert_failure
    assert_output --partial "Argument list too long"
}

@test "files that cannot be written say so" {
    for f in stats results ../../README ../../version; do
        run bash -c "echo x > $f"
        assert_failure
        assert_output --partial "Operation not permitted"
    done
    run cat error
    refute_output ""
}

@test "links, pipes and devices are refused with a sentence" {
    for make in "ln -s x ingest/new" "ln -s x new" "mkfifo vectors/new" "mknod ingest/new c 1 3" "ln ingest/base ingest/new"; do
        echo nonsense > query || : # which leaves another sentence
        run $make
        assert_failure
        assert_output --partial "Operation not permitted"
        run cat error
        assert_output "there are files and directories only, no links, pipes or devices"
    done
}

@test "find, ls -lR, du, touch see a filesystem" {
    ls -lR "$MNT" > /dev/null
    run find . -type f -name 'b'
    assert_output ./vectors/b
    du -s . > /dev/null
    touch config
    touch -d yesterday ingest/base
    assert_equal "$(stat -c %i query)" "$(stat -c %i query)"
    assert_equal "$(ls -i | awk '$2 == "query" { print $1 }')" "$(stat -c %i query)"
    assert_equal "$(find . -printf '%i\n' | sort | uniq -d)" ""
}

@test "files are locked for those who ask" {
    flock config true
    run python3 -c 'import mmap; f = open("config"); mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)'
    assert_failure
}

@test "directories list from any position, with files coming and going" {
    seq 3000 | awk '{ print "v" $1 "\t" $1, 1 }' > ingest/many
    run python3 - << 'EOF'
import os
names = set()
with os.scandir("vectors") as it:
    for i, e in enumerate(it):
        assert e.name not in names
        names.add(e.name)
        if i % 10 == 0:
            os.unlink("vectors/" + e.name)
assert len(names) == 3003, len(names)
left = os.listdir("vectors")
assert len(left) == 3003 - 301, len(left)
EOF
    assert_success
}

@test "extended attributes are a vector's metadata" {
    echo '{"id":"m","vector":[1,2],"metadata":{"s":"text","n":12,"l":[1,"x"]}}' > ingest/m.jsonl
    run getfattr -d vectors/m
    assert_line 'user.s="text"'
    assert_line 'user.n="12"'
    assert_line 'user.l="[1,\"x\"]"'
    setfattr -n user.new -v 7 vectors/m
    setfattr -x user.n vectors/m
    run cat vectors/m
    assert_output '{"id":"m","vector":[1,2],"metadata":{"s":"text","l":[1,"x"],"new":"7"}}'
    run getfattr -n user.none vectors/m
    assert_failure
    assert_output --partial "No such attribute"
    run setfattr -n user.x -v y config
    assert_failure
    assert_output --partial "not supported"
    run setfattr -n user.x -v 0xff vectors/m
    assert_failure
    setfattr -n user.first -v one vectors/a
    run cat vectors/a
    assert_output '{"id":"a","vector":[1,0],"metadata":{"first":"one"}}'
    setfattr -x user.first vectors/a
    run cat vectors/a
    assert_output '{"id":"a","vector":[1,0]}'
}

@test "df in a tenant with limits shows them" {
    echo "max_bytes 8192000" > quota
    echo "max_vectors 10" >> quota
    assert_equal "$(stat -f -c '%b %c %d' .)" "2000 10 7"
}
