#!/usr/bin/env bats
# README and its kin: the commands that they show are run as they stand there and say what is shown; targets and links exist.

load helper

ROOT=$BATS_TEST_DIRNAME/../..
TOUR_PID=

setup() {
    OUT=$BATS_TEST_TMPDIR/out
    mkdir "$OUT"
}

teardown() {
    cd /
    umount_fs
    [ -z "$TOUR_PID" ] || end_of_tour
}

# The code of a section of README ("": what stands before the first), a word before each line: "shown" is a command after "$ ",
# "output" what follows it, "quiet" a command whose output is not shown.
code_of() { # TITLE
    awk -v title="$1" '
        /^## / { section = substr($0, 4) }
        section != title { next }
        /^```/ { fenced = !fenced; after_dollar = 0; next }
        !fenced && !sub(/^    /, "") { after_dollar = 0; next }
        sub(/^\$ /, "") { after_dollar = 1; print "shown " $0; next }
        { print (after_dollar ? "output " : "quiet ") $0 }' "$ROOT/README.md"
}

# Runs such lines in one shell. Command number N goes to $OUT/N.command, what it says to N.said, what was shown to N.shown.
# A quiet command must succeed.
play() {
    local lines line kind n=0 status
    mapfile -t lines
    for line in "${lines[@]}"; do
        kind=${line%% *} line=${line#* }
        if [ "$kind" = output ]; then
            echo "$line" >> "$OUT/$n.shown"
            continue
        fi
        n=$((n + 1))
        echo "$line" > "$OUT/$n.command"
        [ "$kind" = quiet ] || : > "$OUT/$n.shown"
        eval "$line" > "$OUT/$n.said" 2>&1 < /dev/null
        status=$?
        if [ "$kind" = quiet ] && [ $status -ne 0 ]; then
            echo "exit $status: $line"
            cat "$OUT/$n.said"
            return 1
        fi
    done
}

play_in_bash() {
    OUT=$OUT timeout -k 5 60 bash -c "$(declare -f play); play" bash 3>&-
}

# The last digits of a distance depend on the processor; an interactive shell names no line.
normal() { # FILE
    sed 's/^[a-z]*: line [0-9]*: /bash: /' "$1" | awk -F '\t' -v OFS='\t' '
        { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9]+$/) $i = sprintf("%.6f", $i); print }'
}

says_what_is_shown() {
    local shown n=0
    for shown in "$OUT"/*.shown; do
        n=$((n + 1))
        run cat "${shown%.shown}.command"
        echo "\$ $output"
        assert_equal "$(normal "${shown%.shown}.said")" "$(normal "$shown")"
    done
    [ "$n" -gt 0 ]
}

# What the first command that contains TEXT said, in $output.
said() { # TEXT
    local command
    command=$(grep -lF -- "$1" "$OUT"/*.command | sort -V | head -n 1)
    [ -n "$command" ] || fail "no command has: $1"
    run cat "${command%.command}.said"
}

tour_ended() {
    [ ! -e "/proc/$TOUR_PID/exe" ] # nor has a zombie one
}

tour_unmounted() {
    unmount_now || umount "$MNT" 2> /dev/null # the latter without /etc/mtab, which fusermount3 wants
}

# What stays mounted is emptied when bats removes the directory, so it does not stay.
end_of_tour() {
    local pid=$TOUR_PID
    if ! poll 5 tour_unmounted || ! poll 30 tour_ended; then
        TOUR_PID=
        kill -9 "$pid"
        umount -l "$MNT" || fusermount3 -uz "$MNT"
        return 1
    fi
    TOUR_PID=
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
    code_of "" > "$BATS_TEST_TMPDIR/code"
    assert_equal "$(grep -c '^shown' "$BATS_TEST_TMPDIR/code")" 3
    run play_in_bash < "$BATS_TEST_TMPDIR/code"
    assert_success
    says_what_is_shown
}

@test "README: the five minutes work as they stand there" {
    mkdir "$MNT"
    make_samples "$BATS_TEST_TMPDIR"
    code_of "Five minutes" > "$BATS_TEST_TMPDIR/code"
    assert_equal "$(head -n 2 "$BATS_TEST_TMPDIR/code" | cut -d ' ' -f 1,2)" "$(printf 'quiet make\nquiet make')"
    sed -e 1,2d -e "s#build/bin/#$RV_BIN/#" -e "s#/var/tmp/data#$DATA#" -e "s#/mnt#$MNT#" \
        "$BATS_TEST_TMPDIR/code" > "$BATS_TEST_TMPDIR/tour"
    HOME=$BATS_TEST_TMPDIR run play_in_bash < "$BATS_TEST_TMPDIR/tour"
    TOUR_PID=$(cut -d ' ' -f 1 "$DATA/lock" || :)
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
    assert_line "state healthy"

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
