#!/usr/bin/env bats
# ruvectorctl status and top: tenants as a table.

load helper

CTL=$RV_BIN/ruvectorctl

some_tenants() {
    mkdir "$MNT/tenants/acme" "$MNT/tenants/beta" "$MNT/tenants/acme/collections/photos"
    echo "1 2 3" > "$MNT/tenants/acme/ingest/a"
    echo "1 2" > "$MNT/tenants/acme/collections/photos/ingest/p"
    echo "max_vectors 20" > "$MNT/tenants/beta/quota"
    echo "max_bytes 1000" > "$MNT/tenants/beta/quota"
    seq 19 | awk '{ print $1, 1, 2 }' | put "$MNT/tenants/beta/ingest/v"
}

# The first words of the line that begins with NAME, and the count of all; rates depend on when.
row() { # NAME WORDS
    awk -v name="$1" -v n="$2" '$1 == name { all = NF; NF = n; print $0, "of", all }' <<< "$output"
}

@test "a row a tenant, with bars for its limits" {
    mount_fs
    some_tenants
    echo readonly > "$MNT/tenants/beta/status"
    run "$CTL" status "$MNT"
    assert_success
    assert_line --index 0 --regexp "^$MNT: 2 tenants, 1 near a limit, 21 vectors, 316 B, 0 queries/s, up 0:00:[0-9]+$"
    assert_line --index 1 --regexp '^TENANT +STATUS +VECTORS +BYTES +QUERIES/S +P99 MS +INSERTS/S +ERRORS/S +LAST USE$'
    assert_equal "$(row acme 7)" "acme active 2 22 B 0 - of 11"
    assert_equal "$(row beta 15)" \
        "beta readonly 19 of 20 [#########.] 95% 294 B of 1.0 kB [##........] 29% 0 of 20"
    assert_equal "${#lines[@]}" 4
    refute_output --partial $'\033'
    run bash -c "'$CTL' status '$MNT' > /dev/full"
    assert_failure 2
    assert_output --partial "No space left on device"
}

@test "--sort" {
    mount_fs
    some_tenants
    mkdir "$MNT/tenants/zero"
    for order in name:acme,beta,zero vectors:beta,acme,zero b:beta,acme,zero full:beta,acme,zero \
        inserts:beta,acme,zero errors:acme,beta,zero; do
        run "$CTL" status --sort "${order%:*}" "$MNT"
        assert_equal "$(tail -n +3 <<< "$output" | cut -d ' ' -f 1 | paste -sd ,)" "${order#*:}"
    done
    # what is equal by its name, whichever came first
    mkdir "$MNT/tenants/yard" "$MNT/tenants/corn"
    for order in vectors:beta,acme,corn,yard,zero queries:acme,beta,corn,yard,zero; do
        run "$CTL" status --sort "${order%:*}" "$MNT"
        assert_equal "$(tail -n +3 <<< "$output" | cut -d ' ' -f 1 | paste -sd ,)" "${order#*:}"
    done
    run "$CTL" status -s size "$MNT"
    assert_failure 2
    assert_output "ruvectorctl: no order 'size'; --help lists them"
}

@test "no store is opened for it, and nothing counts as an access" {
    mount_fs
    some_tenants
    remount
    run "$CTL" status "$MNT"
    assert_success
    assert_equal "$(row acme 10)" "acme active 2 22 B 0 - 0 0 - of 10"
    run cat "$MNT/all/tenants"
    assert_line --regexp '^beta last_access_s=0 .* resident_bytes=0 '
}

@test "a tenant's directory: its collections, for its owner too" {
    public_mnt
    mount_fs allow_other
    some_tenants
    run "$CTL" status "$MNT/tenants/acme"
    assert_success
    assert_line --index 0 "$MNT/tenants/acme: active, 2 vectors, 22 B, 0 queries/s"
    assert_equal "$(row . 6)" ". 1 13 B 0 - of 10"
    assert_equal "$(row photos 6)" "photos 1 9 B 0 - of 10"
    chown 12345:12345 "$MNT/tenants/beta"
    chmod 711 "$BATS_TEST_TMPDIR"
    # who runs the tests may keep the program to themselves
    exec 9< "$CTL"
    run as_user 12345:12345 /proc/self/fd/9 status "$MNT/tenants/beta"
    assert_success
    assert_line --index 0 "$MNT/tenants/beta: active, 19 vectors, 294 B, 0 queries/s"
    assert_line --index 1 --regexp '^max_vectors +19 of 20 \[#########\.\]  95%$'
    assert_line --index 2 --regexp '^max_bytes +294 B of 1.0 kB \[##\.\.\.\.\.\.\.\.\]  29%$'
    run as_user 12345:12345 /proc/self/fd/9 status "$MNT"
    assert_failure 2
    assert_output "ruvectorctl: $MNT/all is root's: as somebody else give your tenant's directory"
    exec 9<&-
    echo suspended > "$MNT/tenants/acme/status"
    run "$CTL" status "$MNT/tenants/acme"
    assert_success
    assert_line --index 0 --partial "acme: suspended, at least 1 vector, 13 B"
}

@test "what is no mount is told, with what to give instead; the others are printed" {
    mount_fs
    run "$CTL" status /tmp "$DATA" "$MNT" "$MNT/tenants/nobody"
    assert_failure 2
    assert_line "ruvectorctl: /tmp: neither a mount of ruvectorfs nor a tenant's directory"
    assert_line "ruvectorctl: $DATA is the data; give the directory where it is mounted"
    assert_line "ruvectorctl: $MNT/tenants/nobody: neither a mount of ruvectorfs nor a tenant's directory"
    assert_line --partial "$MNT: 0 tenants, 0 vectors"
    kill9_fs
    run timeout -k 1 20 "$CTL" status "$MNT"
    assert_failure 2
    assert_output "ruvectorctl: $MNT: the filesystem has ended; mount it again"
}

@test "top: tables with rates since the one before" {
    mount_fs
    some_tenants
    # 40 queries between two tables, whenever those come
    "$CTL" top -d 0.2 "$MNT" > "$BATS_TEST_TMPDIR/tables" &
    top=$!
    poll 20 grep -q beta "$BATS_TEST_TMPDIR/tables"
    for i in $(seq 40); do
        echo "1 2 3" > "$MNT/tenants/acme/query"
    done
    asked() {
        # some table has a rate of acme's, and the ones after it 0 again
        awk '$1 == "acme" && $6 > 0 { seen = 1 } $1 == "acme" && seen && $6 == 0 { done = 1 } END { exit !done }' \
            "$BATS_TEST_TMPDIR/tables"
    }
    poll 20 asked
    kill $top
    for i in $(seq 40); do
        echo "1 2 3" > "$MNT/tenants/acme/query"
    done
    run "$CTL" top -n 1 "$MNT" # which has none before it: rates of the last minute, as status
    assert_success
    awk '$1 == "acme" && $6 > 0 { found = 1 } END { exit !found }' <<< "$output"
    run "$CTL" top -n 2 -d 0.1 "$MNT"
    assert_success
    assert_equal "$(grep -c '^TENANT' <<< "$output")" 2
    run "$CTL" top -n 1 /tmp
    assert_failure 2
    for wrong in "-d 0" "-d x" "-n 0" "-n x" "-s x"; do
        run "$CTL" top $wrong "$MNT"
        assert_failure 2
    done
}

# On a terminal of 60 columns and 8 rows; A key of KEYS is typed for each table that comes.
on_terminal() { # KEYS CMD...
    local keys=$1
    shift
    timeout -k 1 30 python3 - "$keys" "$@" << 'END'
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 8, 60, 0, 0))
    os.environ["TERM"] = "xterm"
    os.environ.pop("NO_COLOR", None)
    os.execvp(sys.argv[2], sys.argv[2:])
said, typed = b"", 0
while True:
    try:
        got = os.read(fd, 65536)
    except OSError:
        break
    if not got:
        break
    said += got
    while typed < min(said.count(b"STATUS"), len(sys.argv[1])):
        os.write(fd, sys.argv[1][typed].encode())
        typed += 1
echo = termios.tcgetattr(fd)[3] & termios.ECHO
sys.stdout.write(said.decode().replace("\033", "^[").replace("\r", ""))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or (0 if echo else 9))
END
}

@test "on a terminal: colours, the screen and its size, keys; the terminal is given back" {
    mount_fs
    some_tenants
    mkdir "$MNT/tenants"/t{1..9}
    run on_terminal "" "$CTL" status "$MNT"
    assert_success
    assert_line --regexp '^\^\[\[33mbeta +active +19 \[#########\.\]  95%.*\^\[\[0m$'
    for width in $(sed 's/\^\[\[[0-9]*m//g' <<< "$output" | awk '{ print length($0) }'); do
        [ "$width" -le 60 ]
    done
    run on_terminal "nq" "$CTL" top -d 60 "$MNT"
    assert_success
    assert_line --index 0 --partial '^[[?1049h'
    assert_line --regexp '^7 more'
    assert_output --regexp '\^\[\[\?25h\^\[\[\?1049l$'
    assert_equal "$(grep -c '^TENANT' <<< "$output")" 2
    run on_terminal $'\003' "$CTL" top -d 60 "$MNT"
    assert_success
    assert_output --regexp '\^\[\[\?1049l$'
}
