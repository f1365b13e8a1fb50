#!/usr/bin/env bats
# ruvectorctl import: every format, in pieces, with and without a mount; it goes on after whatever ended it.

load helper

CTL=$RV_BIN/ruvectorctl
T=$BATS_TEST_TMPDIR

# NAME.fvecs, .bvecs, .ivecs or .npy of N rows: row i is i, 1, i % 7.
rows() { # FILE N
    python3 - "$1" "$2" << 'END'
import struct, sys
name, n = sys.argv[1], int(sys.argv[2])
rows = [(i, 1, i % 7) for i in range(n)]
with open(name, "wb") as f:
    if name.endswith(".npy"):
        head = ("{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 3), }" % n).ljust(117).encode() + b"\n"
        f.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head)
    code = {"fvecs": "<i3f", "bvecs": "<i3B", "ivecs": "<i3i", "npy": "<3d"}[name.rsplit(".")[-1]]
    for r in rows:
        f.write(struct.pack(code, *r) if name.endswith(".npy") else struct.pack(code, 3, *r))
END
}

value() { # FILE KEY
    sed -n "s/^$2 //p" "$1"
}

# A tenant of that name, with plain distances: row 0 would do under cosine, too, but so its numbers are not of interest.
tenant() { # NAME
    mkdir "$MNT/tenants/$1"
    echo "metric l2" > "$MNT/tenants/$1/config"
}

@test "each format, with the IDs that cp would give, and a receipt under the file's name" {
    mount_fs
    tenant t
    cd "$T"
    for f in a.fvecs b.bvecs i.ivecs n.npy; do
        rows $f 50
    done
    seq 50 | awk '{ print "line" $1 "\t" $1, 1, 2 }' > text.txt
    seq 50 | awk '{ print $1, 2, 2 }' > bare
    seq 0 2 98 | awk '{ print "{\"id\":\"j" $1 "\",\"vector\":[" $1 ",0.1,3],\"metadata\":{\"n\":" $1 "},\"text\":\"a \\\"b\\\" ä\"}\n" }' > lines.jsonl
    { printf '['; seq 50 | awk '{ printf "%s{\"vector\":[%s,4,4]}", (NR > 1 ? "," : ""), $1 }'; echo ']'; } > array.json
    run "$CTL" import --batch 7 a.fvecs b.bvecs i.ivecs n.npy text.txt bare lines.jsonl array.json "$MNT/tenants/t"
    assert_success
    assert_line --regexp '^array\.json: 50 vectors in [0-9.]+ s \([0-9]+/s\)$'
    assert_equal "${#lines[@]}" 8
    cd "$MNT/tenants/t"
    assert_equal "$(LC_ALL=C ls -A ingest | paste -sd ' ')" "a.fvecs array.json b.bvecs bare i.ivecs lines.jsonl n.npy text.txt"
    for f in ingest/*; do
        assert_equal "$f $(value "$f" state) $(value "$f" vectors) $(value "$f" batches)" "$f committed 50 8"
    done
    assert_equal "$(value stats vectors)" 400
    for f in a b i n; do
        assert_equal "$(cat "vectors/$f:8")" "{\"id\":\"$f:8\",\"vector\":[8,1,1]}"
    done
    assert_equal "$(cat vectors/line9)" '{"id":"line9","vector":[9,1,2]}'
    assert_equal "$(cat vectors/bare:49)" '{"id":"bare:49","vector":[50,2,2]}'
    assert_equal "$(cat vectors/j98)" '{"id":"j98","vector":[98,0.1,3],"metadata":{"n":98},"text":"a \"b\" ä"}'
    assert_equal "$(cat vectors/array:0)" '{"id":"array:0","vector":[1,4,4]}'
    # the same again replaces
    run "$CTL" import -q "$T/a.fvecs" .
    assert_success
    assert_output ""
    assert_equal "$(value stats vectors) $(value ingest/a.fvecs replaced)" "400 50"
}

@test "a file of one vector, standard input, --name, and a further collection" {
    mount_fs
    tenant t
    cd "$T"
    echo "1 2 3" > one
    run "$CTL" import -q one "$MNT/tenants/t"
    assert_success
    assert_equal "$(ls "$MNT/tenants/t/vectors")" one
    seq 5 | awk '{ print $1, 1, 1 }' > five
    run bash -c "'$CTL' import -q --name five.txt - '$MNT/tenants/t' < five"
    assert_success
    assert_equal "$(cat "$MNT/tenants/t/vectors/five:4")" '{"id":"five:4","vector":[5,1,1]}'
    run bash -c "'$CTL' import - '$MNT/tenants/t' < five"
    assert_failure 2
    assert_output --partial "standard input has no name; give a --name"
    run "$CTL" import five "$MNT/tenants/t/collections/more"
    assert_failure 2
    assert_output --partial "collections/more: No such file or directory (--make makes it)"
    run "$CTL" import -q --make five "$MNT/tenants/t/collections/more"
    assert_success
    assert_equal "$(value "$MNT/tenants/t/collections/more/stats" vectors)" 5
}

# Starts an import of FILE into tenant t in the background, and waits until some of it is stored.
begin_import() { # FILE
    "$CTL" import --batch 2 "$1" "$MNT/tenants/t" > "$T/said" 2>&1 3>&- &
    IMPORT=$!
    started() {
        local f
        f=$(ls -A "$MNT/tenants/t/ingest" | grep '^\.') && [ "$(value "$MNT/tenants/t/ingest/$f" vectors)" -ge 20 ]
    }
    poll 30 started
}

@test "killed, it goes on where it was; Control-C says so" {
    mount_fs
    tenant t
    cd "$T"
    rows a.fvecs 20000
    begin_import a.fvecs
    kill -9 "$IMPORT"
    wait "$IMPORT" || :
    stored=$(value "$MNT/tenants/t/stats" vectors)
    [ "$stored" -ge 20 ] && [ "$stored" -lt 20000 ]
    # the file may have another place and age by then
    mkdir moved
    cp a.fvecs moved/
    "$CTL" import --batch 2 moved/a.fvecs "$MNT/tenants/t" > "$T/said" 2>&1 3>&- &
    more() {
        [ "$(value "$MNT/tenants/t/stats" vectors)" -ge $((stored + 20)) ]
    }
    poll 30 more
    kill -INT $! # which a background job ignores
    kill -TERM $!
    status=0
    wait $! || status=$?
    [ "$status" -gt 128 ]
    stored=$(value "$MNT/tenants/t/stats" vectors)
    run cat "$T/said"
    assert_line --index 0 "ruvectorctl: moved/a.fvecs: interrupted"
    assert_line --index 1 "ruvectorctl: $stored vectors are stored; the same command goes on after them"
    run "$CTL" import a.fvecs "$MNT/tenants/t"
    assert_success
    assert_output --regexp "^a.fvecs: $((20000 - stored)) vectors in .*, after $stored that were stored before$"
    cd "$MNT/tenants/t"
    assert_equal "$(ls -A ingest)" a.fvecs
    assert_equal "$(value ingest/a.fvecs vectors) $(value ingest/a.fvecs replaced) $(value stats vectors)" "20000 0 20000"
    assert_equal "$(cat vectors/a:19999)" '{"id":"a:19999","vector":[19999,1,0]}'
}

@test "another file of the same name begins anew, and so does --restart; two at once are refused" {
    mount_fs
    tenant t
    cd "$T"
    rows a.fvecs 20000
    begin_import a.fvecs
    run "$CTL" import a.fvecs "$MNT/tenants/t"
    assert_failure 2
    assert_output "ruvectorctl: a.fvecs: another import of this file is running"
    kill -9 "$IMPORT"
    wait "$IMPORT" || :
    before=$(value "$MNT/tenants/t/stats" total_inserts)
    run "$CTL" import --restart a.fvecs "$MNT/tenants/t"
    assert_success
    assert_equal "$(value "$MNT/tenants/t/stats" total_inserts)" $((before + 20000))
    assert_equal "$(value "$MNT/tenants/t/stats" vectors)" 20000
    begin_import a.fvecs
    kill -9 "$IMPORT"
    wait "$IMPORT" || :
    rows a.fvecs 19999
    run "$CTL" import a.fvecs "$MNT/tenants/t"
    assert_success
    assert_output --regexp '^a.fvecs: 19999 vectors in [^,]*$'
}

# Row I of a file that rows made gets V as its first number.
change_row() { # FILE I V
    python3 -c 'import struct, sys
with open(sys.argv[1], "r+b") as f:
    f.seek(16 * int(sys.argv[2]) + 4)
    f.write(struct.pack("<f", float(sys.argv[3])))' "$@"
}

# While an import of a.fvecs stands still, CMD is done to the file; SAID is what the import then said, STATUS its code.
import_during() { # CMD...
    begin_import a.fvecs
    kill -STOP "$IMPORT"
    "$@"
    kill -CONT "$IMPORT"
    STATUS=0
    wait "$IMPORT" || STATUS=$?
    SAID=$(cat "$T/said")
}

@test "a file that is written while it is read: it says so, and is not called complete" {
    mount_fs
    tenant t
    echo "durability none" > "$MNT/tenants/t/config" # thousands of batches
    cd "$T"
    change_unseen() { # in what was not read yet, and with its time as before
        touch -r a.fvecs age
        change_row a.fvecs 4490 7
        touch -r age a.fvecs
    }
    append() {
        head -c 16 a.fvecs >> a.fvecs
    }
    replace() { # by one of the same age
        cp a.fvecs b.fvecs
        change_row b.fvecs 4491 7
        touch -r a.fvecs b.fvecs
        mv b.fvecs a.fvecs
    }
    cut_off() {
        truncate -s -5 a.fvecs
    }
    for how in "change_row a.fvecs 1 7" change_unseen append replace cut_off; do
        rows a.fvecs 4500
        import_during $how
        stored=$(sed -n 's/^ruvectorctl: \([0-9]*\) vectors of what it was are stored; the same command begins anew$/\1/p' <<< "$SAID")
        echo "$how: $SAID"
        assert_equal "$STATUS $(head -n 1 <<< "$SAID")" \
            "2 ruvectorctl: a.fvecs: it changed while it was read; import it again when nothing writes it"
        [ "$stored" -ge 20 ]
        assert_not_exists "$MNT/tenants/t/ingest/a.fvecs"
        rm "$MNT/tenants/t/ingest/".a.fvecs.??????
    done
    # only its time, or another file with the same in it
    rows a.fvecs 4500
    import_during touch a.fvecs
    assert_equal "$STATUS" 0
    copy() {
        cp a.fvecs b.fvecs
        mv b.fvecs a.fvecs
    }
    import_during copy
    assert_equal "$STATUS" 0
    import_during rm a.fvecs
    assert_equal "$STATUS" 0
    assert_equal "$(value "$MNT/tenants/t/ingest/a.fvecs" vectors)" 4500
}

@test "a file of which one number was changed after an interruption begins anew" {
    mount_fs
    tenant t
    cd "$T"
    python3 -c 'import struct
with open("a.fvecs", "wb") as f:
    for i in range(2000):
        f.write(struct.pack("<i1000f", 1000, i, *[1] * 999))'
    : > names
    for i in 3 1001 1002 1999; do
        begin_import a.fvecs
        kill -9 "$IMPORT"
        wait "$IMPORT" || :
        ls -A "$MNT/tenants/t/ingest" >> names
        rm "$MNT/tenants/t/ingest/".a.*
        python3 -c 'import sys
with open("a.fvecs", "r+b") as f:
    f.seek(4004 * int(sys.argv[1]) + 4003)
    f.write(b"A")' $i
    done
    assert_equal "$(grep -cx '\.a\.fvecs\.[0-9A-Za-z]\{6\}' names) $(sort -u names | wc -l)" "4 4"
}

@test "the server is replaced meanwhile: nobody notices" {
    mount_fs
    tenant t
    cd "$T"
    rows a.fvecs 3000
    begin_import a.fvecs
    for i in 1 2 3; do
        kill9_server
        sleep 0.05
    done
    wait "$IMPORT"
    assert_equal "$(value "$MNT/tenants/t/stats" vectors)" 3000
    assert_equal "$(value "$MNT/tenants/t/ingest/a.fvecs" vectors)" 3000
}

@test "what a rate refuses is sent again; a quota ends it, and it goes on once there is room" {
    mount_fs
    tenant t
    cd "$T"
    rows a.npy 500
    echo "max_write_rate $((400 / ${RV_SLOWER:-1}))" > "$MNT/tenants/t/quota" # it must be quicker than that
    run "$CTL" import -q a.npy "$MNT/tenants/t"
    assert_success
    assert_equal "$(value "$MNT/tenants/t/stats" vectors)" 500
    [ "$(value "$MNT/tenants/t/stats" rejected_max_write_rate)" -gt 0 ]
    [ "$(value "$MNT/tenants/t/stats" rejected_max_write_rate)" -lt 9 ] # it does not ask again and again meanwhile
    echo "max_write_rate 0" > "$MNT/tenants/t/quota"
    run "$CTL" import -q --name b a.npy "$MNT/tenants/t"
    assert_failure 2
    assert_line --index 0 --partial "max_write_rate"
    echo "max_write_rate max" > "$MNT/tenants/t/quota"
    echo "max_vectors 800" > "$MNT/tenants/t/quota"
    run "$CTL" import --batch 100 --name b a.npy "$MNT/tenants/t"
    assert_failure 2
    assert_line --index 0 --regexp '^ruvectorctl: a.npy: max_vectors 800 reached$'
    assert_line --index 1 "ruvectorctl: 300 vectors are stored; the same command goes on after them"
    echo "max_vectors max" > "$MNT/tenants/t/quota"
    run "$CTL" import --batch 100 --name b a.npy "$MNT/tenants/t"
    assert_success
    assert_output --partial "b: 200 vectors in"
    assert_equal "$(cat "$MNT/tenants/t/vectors/b:499")" '{"id":"b:499","vector":[499,1,2]}'
}

@test "a piece of which a part was stored goes on behind that part: each vector once, under its own name" {
    mount_fs
    cd "$T"
    rows a.fvecs 300
    seq 300 | awk '{ print "{\"vector\":[" $1 ",1," $1 % 7 "],\"text\":\"a \\n b\"}" }' > l.jsonl
    # a batch is ten commits, and some of them are let through, some are not
    for t in rows lines closed; do
        tenant $t
        printf 'max_batch 10\nmax_write_rate %d\n' $((100 / ${RV_SLOWER:-1})) > "$MNT/tenants/$t/quota"
    done
    "$CTL" import -q a.fvecs "$MNT/tenants/rows" 3>&- &
    local first=$!
    "$CTL" import -q l.jsonl "$MNT/tenants/lines" 3>&- &
    wait $!
    wait $first
    assert_equal "$(value "$MNT/tenants/rows/ingest/a.fvecs" vectors) $(value "$MNT/tenants/lines/ingest/l.jsonl" vectors)" "300 300"
    cmp a.fvecs "$MNT/tenants/rows/export.fvecs"
    awk '{ sub(/{/, "{\"id\":\"l:" NR - 1 "\","); print }' l.jsonl | cmp - "$MNT/tenants/lines/export.jsonl"
    umount_fs
    cd "$T"
    "$CTL" import -q --tenant closed a.fvecs "$DATA"
    "$CTL" export -q "$DATA/tenants/closed" closed.fvecs
    cmp a.fvecs closed.fvecs
}

@test "a rate of one vector lets in a file of one, and refuses others: the first would have another name" {
    mount_fs
    tenant t
    cd "$T"
    rows one.fvecs 1
    rows more.fvecs 3
    echo "max_write_rate 1" > "$MNT/tenants/t/quota"
    "$CTL" import -q one.fvecs "$MNT/tenants/t"
    run "$CTL" import -q more.fvecs "$MNT/tenants/t"
    assert_failure 2
    assert_output --partial "max_write_rate is 1: an import needs 2"
    echo "max_write_rate 2" > "$MNT/tenants/t/quota"
    "$CTL" import -q more.fvecs "$MNT/tenants/t"
    assert_equal "$(ls "$MNT/tenants/t/vectors" | xargs)" "more:0 more:1 more:2 one"
}

@test "a rate that is lowered meanwhile only makes it slower" {
    mount_fs
    tenant t
    cd "$T"
    rows a.fvecs 500
    echo "max_write_rate 400" > "$MNT/tenants/t/quota"
    timeout -k 1 $((60 * ${RV_SLOWER:-1})) "$CTL" import -q a.fvecs "$MNT/tenants/t" 3>&- &
    begun() { grep -qs "^vectors [45]00" "$MNT/tenants/t/ingest/".a.fvecs.* "$MNT/tenants/t/ingest/a.fvecs"; }
    poll 20 begun
    echo "max_write_rate 60" > "$MNT/tenants/t/quota" # of the second piece no more than this comes at once
    wait $!
    cmp a.fvecs "$MNT/tenants/t/export.fvecs"
}

@test "what is wrong is told with the file's line, and what came before it is stored" {
    mount_fs
    tenant t
    cd "$T"
    seq 100 | awk '{ print $1, $1 == 80 ? "x" : 1 }' > bad
    run "$CTL" import --batch 10 bad "$MNT/tenants/t"
    assert_failure 2
    assert_line --index 0 "ruvectorctl: bad: line 80: number 2: 'x' is not a number"
    assert_line --index 1 "ruvectorctl: 70 vectors are stored; the corrected file begins anew"
    seq 100 | awk '{ print $1, 2, $1 == 90 ? "" : 3 }' > short
    run "$CTL" import short "$MNT/tenants/t"
    assert_failure 2
    assert_output "ruvectorctl: short: line 1: expected 2 numbers, got 3"
    rows a.npy 5
    run "$CTL" import a.npy "$MNT/tenants/t"
    assert_output "ruvectorctl: a.npy: .npy: dimension 3, expected 2"
    mkdir "$MNT/tenants/cosine"
    printf '1 1\n0 0\n' > zero
    run "$CTL" import zero "$MNT/tenants/cosine"
    assert_failure 2
    assert_output --partial "zero: line 2: "
    printf '\2\0\0\0\1\0\0\1\1\0\0\0' > big.ivecs
    run "$CTL" import big.ivecs "$MNT/tenants/cosine"
    assert_output "ruvectorctl: big.ivecs: record 1: number 1: 16777217 is not exact as a 32-bit float"
    : > empty
    run "$CTL" import empty "$MNT/tenants/t"
    assert_failure 2
    assert_output "ruvectorctl: empty: it holds no vectors"
    echo readonly > "$MNT/tenants/t/status"
    run "$CTL" import zero "$MNT/tenants/t"
    assert_failure 2
    assert_output --regexp "^ruvectorctl: zero: .*readonly"
}

@test "wrong arguments: a sentence, exit 2, and nothing is made" {
    mount_fs
    tenant t
    cd "$T"
    echo "1 2" > v
    run "$CTL" import v
    assert_failure 2
    run "$CTL" import missing -m "$MNT/tenants/new"
    assert_failure 2
    assert_output "ruvectorctl: missing: No such file or directory"
    assert_not_exists "$MNT/tenants/new"
    run "$CTL" import . -m "$MNT/tenants/new"
    assert_failure 2
    assert_output "ruvectorctl: .: Is a directory"
    assert_not_exists "$MNT/tenants/new"
    run "$CTL" import --bogus v "$MNT/tenants/t"
    assert_failure 2
    assert_output "ruvectorctl import: unrecognized option '--bogus'"
    run "$CTL" import v "$MNT"
    assert_failure 2
    assert_output "ruvectorctl: $MNT: not the directory of a tenant or collection in a mount"
    run "$CTL" import v "$DATA"
    assert_failure 2
    assert_output --partial "is the data: give its --tenant, or the tenant's directory in a mount"
    run "$CTL" import --tenant t v "$DATA"
    assert_failure 2
    assert_output --partial "$DATA is in use by process"
    for wrong in "-b 1" "-b x" "-c x" "-n a/b" "-n a v"; do
        run "$CTL" import $wrong v "$MNT/tenants/t"
        assert_failure 2
    done
    assert_equal "$(value "$MNT/tenants/t/stats" vectors)" 0
}

@test "DATA that is not mounted: the same, with the same limits, and whole afterwards" {
    mount_fs
    tenant t
    echo "max_vectors 4000" > "$MNT/tenants/t/quota"
    umount_fs
    cd "$T"
    rows a.fvecs 5000
    run "$CTL" import --batch 1000 --tenant t a.fvecs "$DATA"
    assert_failure 2
    assert_line --index 0 --partial "max_vectors 4000 reached"
    assert_line --index 1 "ruvectorctl: 4000 vectors are stored; the same command goes on after them"
    run "$CTL" import --tenant nobody a.fvecs "$DATA"
    assert_failure 2
    assert_output "ruvectorctl: there is no nobody (--make makes it)"
    run "$CTL" import -q --tenant new --make a.fvecs "$DATA"
    assert_success
    run "$CTL" import -q --tenant new --collection more --make a.fvecs "$DATA"
    assert_success
    run "$CTL" verify "$DATA"
    assert_output "2 tenants, 3 collections, 14000 vectors: no damage"
    mount_fs
    echo "max_vectors max" > "$MNT/tenants/t/quota"
    run "$CTL" import "$T/a.fvecs" "$MNT/tenants/t"
    assert_success
    assert_output --partial "a.fvecs: 1000 vectors in"
    # it was linked before the command ended
    assert_equal "$(value "$MNT/tenants/new/stats" index_backlog)" 0
    assert_equal "$(value "$MNT/tenants/new/collections/more/stats" vectors)" 5000
    assert_equal "$(cat "$MNT/tenants/new/vectors/a:4321")" '{"id":"a:4321","vector":[4321,1,2]}'
    assert_equal "$(stat -c %a "$MNT/tenants/new")" 700
}

@test "on a terminal: a bar, the rate, the time that is left" {
    mount_fs
    tenant t
    cd "$T"
    rows a.fvecs 20000
    run timeout -k 1 $((60 * ${RV_SLOWER:-1})) script -qec "stty cols 200; '$CTL' import --batch 100 a.fvecs '$MNT/tenants/t'" /dev/null
    assert_success
    assert_output --regexp 'importing  \[[#.]+\] +[0-9]+%  [0-9]+ vectors, [0-9]+ vectors/s, 0:00:[0-9]+ left'
    assert_output --regexp 'a.fvecs: 20000 vectors in'
}
