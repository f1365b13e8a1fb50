#!/usr/bin/env bats
# The manuals: they are mdoc without a warning, have the options that the programs have and the keys that the files of the
# mount have, and their examples run as they stand there.

load helper
load play

MAN=$ROOT/docs/man

setup() {
    play_setup
    PATH=$RV_BIN:$ROOT/tools:$PATH
    export LC_ALL=C
}

teardown() {
    cd /
    umount_fs
    play_teardown
}

@test "mandoc finds nothing to warn of" {
    run mandoc -T lint -W warning "$MAN"/*
    assert_success
    assert_output ""
}

@test "each program has a manual, and each manual's references exist" {
    for program in "$RV_BIN"/ruvector*; do
        assert_file_exists "$MAN/${program##*/}.1"
    done
    n=0
    while read -r name section; do
        n=$((n + 1))
        assert_file_exists "$MAN/$name.$section"
    done < <(sed -n 's/^\.Xr \([a-z.]*ruvector[a-z-]*\) \([0-9]\).*/\1 \2/p' "$MAN"/*)
    [ "$n" -gt 5 ]
}

# What stands after a dash at the head of a usage's lines, or anywhere between its brackets.
options_of_help() { # CMD...
    "$@" --help | grep -v 'fusermount3 -u' | grep -oE '(^|[ [])--?[A-Za-z][a-z-]*' | tr -d ' [' | sort -u
}

# The items of a manual's list, from the line TITLE (of a section or subsection) to the next.
options_of_manual() { # FILE TITLE
    awk -v title="$2" '/^\.S[hs] / { inside = $0 == title } inside && /^\.It Fl/' "$MAN/$1" |
        awk '{ for (i = 3; i <= NF; i++) {
                   if ($i == "Ar") break
                   if ($i == "," || $i == "Fl") continue
                   print "-" $i } }' | sort -u
}

# In a synopsis like -sfnv each letter is an option.
single_letters() {
    awk '/^-[A-Za-z][A-Za-z]+$/ { for (i = 2; i <= length($0); i++) print "-" substr($0, i, 1); next } { print }' | sort -u
}

same_options() { # FILE TITLE CMD...
    local file=$1 title=$2 manual help
    shift 2
    manual=$(options_of_manual "$file" "$title")
    help=$(options_of_help "$@" | single_letters)
    assert_equal "$manual" "$help"
    [ -n "$help" ]
}

@test "the options of --help are those of the manual, those of a subcommand in a subsection of its name" {
    same_options mount.ruvectorfs.8 '.Sh DESCRIPTION' mount.ruvectorfs
    for program in $(cd "$RV_BIN" && echo ruvector*); do
        same_options "$program.1" '.Sh DESCRIPTION' "$program"
        for s in $("$program" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'); do
            grep -qx "\.Ss $s" "$MAN/$program.1" || fail "$program.1 has no $s"
            same_options "$program.1" ".Ss $s" "$program" "$s"
        done
    done
    options=$(ruvectorfs --help | sed -n 's/^  -o \([a-z_]*\).*/\1/p' | sort)
    run awk '/^\.S[hs] / { inside = $0 == ".Ss Mount options" } inside && /^\.It Cm/ { print $3 }' "$MAN/ruvectorfs.1"
    assert_equal "$(sort <<< "$output")" "$options"
}

@test "each option that a program takes is in its --help, and is taken" {
    for source in ruvector-embed $(cd "$ROOT/tools" && ls bench_*.c | sed '/common/d; s/\.c$//'); do
        cmd=${source/bench_/ruvector-bench }
        taken=$(grep -oE '\{ "[a-z-]+", ([a-z]+_argument|[01]),' "$ROOT/tools/$source.c" | cut -d '"' -f 2 |
            grep -vx help | sort)
        shown=$($cmd --help | grep -oE -- '--[a-z][a-z-]*' | tr -d ' ' | cut -c 3- | grep -vx help | sort -u)
        assert_equal "$shown" "$taken"
    done
    for opt in $(sed -n '/char \*const ignored/,/};/p; /char \*const for_fuse/,/};/p' "$ROOT/mount/options.c" |
        grep -oE '"[a-z_]+"' | tr -d '"'); do
        run ruvectorfs -o "$opt" --version
        assert_success
    done
}

@test "--version is the same everywhere" {
    version=$(ruvectorfs --version)
    version=${version#ruvectorfs }
    for program in "$RV_BIN"/ruvector*; do
        run "$program" --version
        assert_success
        assert_output "${program##*/} $version"
        run "$program" --help
        assert_success
        assert_output --partial "usage: ${program##*/}"
    done
    run mount.ruvectorfs --version
    assert_output "ruvectorfs $version"
}

# "FILE KEY" for each key that ruvectorfs.5 names, a subsection being a file.
keys_of_manual() {
    awk '/^\.S[hs] / { file = $2 }
         /^\.It Cm/ { for (i = 3; i <= NF; i++) if ($i ~ /^[a-z][a-z0-9_-]*$/) print file, $i }' \
        "$MAN/ruvectorfs.5"
}

@test "ruvectorfs.5 has each key of each file, and no other" {
    mount_fs
    mkdir "$MNT/tenants/t"
    cd "$MNT/tenants/t" || return
    keys_of_manual > "$BATS_TEST_TMPDIR/manual"
    for file in config quota integrity; do
        run awk -v file="$file" '{ print file, $1 }' "$file"
        assert_equal "$(awk -v f="$file" '$1 == f && $2 != "error"' "$BATS_TEST_TMPDIR/manual")" "$output"
    done
    real=$(cat stats "$MNT/stats" | awk '{ sub(/^rejected_.*/, "rejected_"); sub(/^tenants_.*/, "tenants_"); print "stats", $1 }' | sort -u)
    assert_equal "$(awk '$1 == "stats"' "$BATS_TEST_TMPDIR/manual" | sort -u)" "$real"
    for word in $(awk '$1 == "status" { print $2 }' "$BATS_TEST_TMPDIR/manual"); do
        echo "$word" > status
        run cat status
        assert_output "$word"
    done
}

@test "each file of a tenant has a place in ruvectorfs.5" {
    mount_fs
    mkdir "$MNT/tenants/t"
    for file in $(ls "$MNT" "$MNT/tenants/t" | grep -v ':$'); do
        run grep -E "^\.It (Pa [a-z]+ , )?Pa $file(/|\$| )" "$MAN/ruvectorfs.5"
        assert_success
    done
}

# The commands of a manual's EXAMPLES, for play.
examples_of() { # FILE
    awk '/^\.Sh / { inside = $2 == "EXAMPLES" }
         /^\.Ed/ { literal = 0 }
         inside && literal { gsub(/\\e/, "\\"); print "quiet " $0 }
         /^\.Bd -literal/ { literal = 1 }' "$MAN/$1" |
        sed -e "s#/var/tmp/data#$DATA#g" -e "s#/mnt#$MNT#g"
}

@test "EXAMPLES of ruvectorfs(1)" {
    mkdir "$MNT"
    examples_of ruvectorfs.1 | sed '/fusermount3/d' > "$BATS_TEST_TMPDIR/examples"
    run play_in_bash < "$BATS_TEST_TMPDIR/examples"
    tour_mounted
    assert_success
    said 'k=1 0.9'
    assert_output --partial "apple	0.00"
    end_of_tour
    run examples_of ruvectorfs.1
    assert_line "quiet cd / && fusermount3 -u $MNT"
}

@test "EXAMPLES of ruvectorfs(5)" {
    mount_fs
    mkdir "$MNT/tenants/t"
    cd "$MNT/tenants/t" || return
    examples_of ruvectorfs.5 > "$BATS_TEST_TMPDIR/examples"
    run play_in_bash < "$BATS_TEST_TMPDIR/examples"
    assert_success
    said 'k=2 1 0 0'
    assert_equal "$(cut -f 1 <<< "$output")" "$(printf 'apple\npear')"
    said 'like=hammer'
    assert_output --regexp $'^hammer\t[0-9.e-]+\t[{]"vector":[[]0,0.1,0.9[]][}]$'
    said 'cat ingest/a.jsonl'
    assert_line "state committed"
    said getfattr
    assert_output en
    run cat config stats quota
    assert_line "ef_search 128"
    assert_line "max_vectors 100000"
    assert_line "vectors 0"
}

@test "EXAMPLES of ruvector-embed(1)" {
    mount_fs
    cd "$BATS_TEST_TMPDIR" || return
    examples_of ruvector-embed.1 > examples
    run play_in_bash < examples
    assert_success
    said 'to pack a file'
    assert_output --regexp $'^a\t'
    said "-q 'bread'"
    assert_output --regexp $'^b\t'
}

@test "EXAMPLES of ruvectorctl(1)" {
    mount_fs
    mkdir "$MNT/tenants/acme"
    cp /dev/stdin "$MNT/tenants/acme/ingest/a" <<< "1 2 3"
    umount_fs
    cd "$BATS_TEST_TMPDIR" || return
    /usr/bin/python3 -c 'import numpy; numpy.save("vectors.npy", numpy.eye(4))'
    examples_of ruvectorctl.1 > examples
    run play_in_bash < examples
    assert_success
    tour_mounted
    said 'ruvectorctl verify'
    assert_output "1 tenant, 1 collection, 1 vector: no damage"
    said 'ruvectorctl restore'
    assert_output "1 tenant, 1 collection, 1 vector: no damage"
    said 'ruvectorctl import --make vectors'
    assert_output --regexp '^vectors.npy: 4 vectors in '
    said 'ruvectorctl status'
    assert_line --regexp '^big +active +4 '
    said 'ruvectorctl top'
    assert_equal "$(grep -c '^big ' <<< "$output")" 2
    end_of_tour
}

@test "EXAMPLES of ruvector-bench(1)" {
    mount_fs
    cd "$BATS_TEST_TMPDIR" || return
    examples_of ruvector-bench.1 > examples
    run play_in_bash < examples
    assert_success
    said 'ruvector-bench index'
    assert_line --regexp $'^ef\trecall\tqps\tp50_us\tp99_us$'
    assert_line --regexp $'^256\t(0\\.9|1)'
    said 'ruvector-bench churn'
    assert_line --regexp $'^3\t[0-9.]+\t[0-9]+\t2000\t2000\t0\t0\t0$'
    assert_line --regexp $'^64(\t(0\\.9[0-9]*|1\\.0000)){4}$'
    said 'ruvector-bench mount'
    assert_line --regexp $'^held\t(0\\.9|1)'
    said 'ruvector-bench load'
    assert_line --regexp $'^write\t[0-9]+\t0\t'
    said 'ruvector-bench neighbours'
    assert_line --regexp $'^queries\t1(\t[0-9.]+){5}$'
}
