#!/usr/bin/env bats
# README and its kin: the commands that they show are run as they stand there and say what is shown; targets and links exist.

load helper
load play

setup() {
    play_setup
}

teardown() {
    cd /
    umount_fs
    play_teardown
}

# vectors.npy and rows.jsonl, which a reader of the tour would have.
make_samples() {
    python3 - "$1" << 'END'
import struct, sys
header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
header = header.ljust(117) + b"\n"
rows = struct.pack("<6f", 3, 2, 1, 1, 0, 0)
open(sys.argv[1] + "/vectors.npy", "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + rows)
open(sys.argv[1] + "/rows.jsonl", "w").write('{"id":"row1","vector":[0,0,1],"metadata":{"a":1},"text":"one"}\n')
END
}

@test "README: the first example answers what is shown" {
    mount_fs
    cd "$MNT" || return
    code_of README.md "" > "$BATS_TEST_TMPDIR/code"
    assert_equal "$(grep -c '^shown' "$BATS_TEST_TMPDIR/code")" 3
    run play_in_bash < "$BATS_TEST_TMPDIR/code"
    assert_success
    says_what_is_shown
}

@test "README: the five minutes work as they stand there" {
    mkdir "$MNT"
    make_samples "$BATS_TEST_TMPDIR"
    code_of README.md "Five minutes" > "$BATS_TEST_TMPDIR/code"
    assert_equal "$(head -n 2 "$BATS_TEST_TMPDIR/code" | cut -d ' ' -f 1,2)" "$(printf 'quiet make\nquiet make')"
    sed -e 1,2d -e "s#build/bin/#$RV_BIN/#" -e "s#/var/tmp/data#$DATA#" -e "s#/mnt#$MNT#" \
        "$BATS_TEST_TMPDIR/code" > "$BATS_TEST_TMPDIR/tour"
    HOME=$BATS_TEST_TMPDIR run play_in_bash < "$BATS_TEST_TMPDIR/tour"
    tour_mounted
    assert_success
    says_what_is_shown

    said 'cat ingest/rows.jsonl'
    assert_line "state committed"
    assert_line "vectors 1"
    said 'k=5 0.1 0.2 0.3'
    assert_line --index 0 "$(printf 'doc1\t0')"
    assert_equal "${#lines[@]}" 4
    said 'include=metadata'
    assert_line --partial '{"a":1}'
    said 'exec 3<>query'
    assert_line --index 0 "$(printf 'doc1\t0')"
    said '{"vector":'
    assert_output --partial '{"results":[{"id":"doc1","distance":0},'
    said 'ls vectors | head'
    assert_line doc1
    assert_line vectors:0
    assert_line vectors:1
    said 'cat stats'
    assert_line "vectors 3"
    said 'cat integrity'
    assert_line --regexp '^state (verifying|healthy)$' # it runs in the background

    run grep -c '^\*\*End\.\*\* `umount /mnt` or `fusermount3 -u /mnt`\.' "$ROOT/README.md"
    assert_output 1
    end_of_tour
}

# "TARGET FILE" for each target of a `make …` in the documents.
named_targets() {
    (cd "$ROOT" && grep -oHE '(^    |`)make( [A-Za-z][^`#]*)?' ./*.md docs/*.md) |
        awk -F : '{ n = split($2, word, " "); for (i = 2; i <= n; i++) if (word[i] !~ /=/) print word[i], $1 }'
}

@test "each make target that the documents name exists" {
    targets=" $(make -s -C "$ROOT" -qp nothing 2> /dev/null | sed -n 's/^\.PHONY: //p') "
    n=0
    while read -r target file; do
        n=$((n + 1))
        [[ $targets == *" $target "* ]] || fail "$file: there is no make $target"
    done < <(named_targets)
    [ "$n" -ge 5 ] || fail "only $n targets found"
}

@test "make help shows each target that a user may call, and only those that exist" {
    run make -s -C "$ROOT" help
    assert_success
    for target in demo test install uninstall check-unit check-bats; do
        assert_line --regexp "^ *$target +[a-z]"
    done
}

@test "each file that a document links to exists" {
    n=0
    while IFS=: read -r file link; do
        n=$((n + 1))
        link=${link#*](}
        link=${link%%[)#]*}
        [ -e "$(dirname "$file")/$link" ] || fail "$file: there is no $link"
    done < <(grep -oHE '\]\([^):]+\)' "$ROOT"/*.md "$ROOT"/docs/*.md)
    [ "$n" -gt 0 ]
}
