#!/usr/bin/env bats
# shared/: collections that root writes and every tenant may search, from its own directory too.

load helper

some_shared() {
    cd "$MNT"
    mkdir shared/faq
    printf 'hello\t1 0 0\nbye\t0 1 0\n' | put shared/faq/ingest/v
    mkdir tenants/acme tenants/globex
    echo "0 0 1" > tenants/acme/ingest/own
    chown 2001:2001 tenants/acme
    chown 2002:2002 tenants/globex
}

user_of() { # UID COMMAND
    as_user "$1:$1" bash -c "cd $MNT; $2"
}

ask_in() { # DIRECTORY
    echo "echo 'k=1 1 0 0' > $1/query && cat $1/results"
}

@test "root makes one, tenants ask it from their own directory and at the top" {
    public_mnt
    mount_fs allow_other
    assert_equal "$(ls -d "$MNT/shared" && ls "$MNT/shared")" "$MNT/shared"
    some_shared
    for dir in tenants/acme/shared/faq shared/faq; do
        run user_of 2001 "$(ask_in $dir)"
        assert_success
        assert_output "hello	0"
    done
    run user_of 2002 "$(ask_in tenants/globex/shared/faq)"
    assert_output "hello	0"
    assert_equal "$(ls tenants/acme/shared tenants/acme/shared/faq | paste -sd ' ')" \
        "tenants/acme/shared: faq  tenants/acme/shared/faq: error query results"
    # its tenant's own search sees nothing of it
    run user_of 2001 "$(ask_in tenants/acme)"
    assert_output --partial own
    run user_of 2001 "exec 3<>tenants/acme/shared/faq/query; echo 'k=2 1 0 0' >&3; cat <&3"
    assert_equal "$(cut -f1 <<< "$output" | paste -sd ' ')" "hello bye"
}

@test "a container that sees its tenant's directory alone can ask" {
    mount_fs
    some_shared
    mkdir "$BATS_TEST_TMPDIR/inside"
    run unshare -m bash -c "
        mount --bind '$MNT/tenants/acme' '$BATS_TEST_TMPDIR/inside' && cd '$BATS_TEST_TMPDIR/inside' &&
        echo 'k=1 0 1 0' > shared/faq/query && cat shared/faq/results"
    assert_success
    assert_output "bye	0"
}

@test "nobody but root writes it, or reads anything of it but answers" {
    public_mnt
    mount_fs allow_other
    some_shared
    assert_equal "$(stat -c '%a %u' shared shared/faq | paste -sd ' ')" "755 0 755 0"
    for cmd in "ls shared/faq/vectors" "ls shared/faq/ingest" "cat shared/faq/vectors/hello" "cat shared/faq/config" \
        "cat shared/faq/stats" "cat shared/faq/integrity" "cat shared/faq/status" "echo 1 1 1 > shared/faq/ingest/x" \
        "echo hello > shared/faq/delete" "echo 'k 3' > shared/faq/config" "rm shared/faq/vectors/hello" "mkdir shared/mine" \
        "rmdir shared/faq" "mkdir tenants/acme/shared/mine" "rmdir tenants/acme/shared/faq" "rm tenants/acme/shared/faq/query" \
        "echo 1 > tenants/acme/shared/faq/results" "mv shared/faq tenants/acme" "mkdir tenants/acme/shared/faq/ingest" \
        "chmod 777 shared/faq" "chmod 777 tenants/acme/shared/faq" "chmod 777 tenants/acme/shared" \
        "ls tenants/globex/shared" "echo 1 0 0 > tenants/globex/shared/faq/query" "ls tenants/.shared" "mkdir tenants/.shared" \
        "cat tenants/.shared/quota"; do
        run user_of 2001 "$cmd"
        assert_failure
    done
    assert_equal "$(sed -n 's/^vectors //p' shared/faq/stats)" 2
    run bash -c "ls -a tenants; ls tenants/.shared"
    refute_output --regexp '^[.]shared$'
    # root does
    echo "0 0 1" > shared/faq/ingest/more
    echo bye > shared/faq/delete
    echo "k 1" > shared/faq/config
    rm shared/faq/vectors/hello
    assert_equal "$(ls shared/faq/vectors)" more
    # a mode without others leaves the tenants' own way
    chmod 700 shared/faq
    run user_of 2001 "$(ask_in shared/faq)"
    assert_failure
    run user_of 2001 "$(ask_in tenants/acme/shared/faq)"
    assert_output --partial more
}

@test "who asks pays: limits, counts and errors are the asking tenant's, and name nobody else" {
    public_mnt
    mount_fs allow_other
    some_shared
    before=$(sed -n 's/^total_queries //p' tenants/globex/stats)
    run user_of 2001 "$(ask_in tenants/acme/shared/faq)"
    assert_success
    assert_equal "$(sed -n 's/^total_queries //p' tenants/acme/stats)" 1
    assert_equal "$(sed -n 's/^total_queries //p' tenants/globex/stats)" "$before"
    assert_equal "$(sed -n 's/^total_queries //p' shared/faq/stats)" 0
    echo "max_qps 0" > tenants/acme/quota
    run user_of 2001 "$(ask_in tenants/acme/shared/faq)"
    assert_failure
    run user_of 2001 "echo '1 0 0' > tenants/acme/shared/faq/query || cat tenants/acme/shared/faq/error"
    assert_output --partial "max_qps is 0"
    run user_of 2002 "$(ask_in tenants/globex/shared/faq)"
    assert_success
    assert_equal "$(sed -n 's/^rejected_max_qps //p' tenants/acme/stats)" 2
    for q in "1 2" "like=nothing" "k=0 1 0 0" "metric=l2 1 0 0"; do
        run user_of 2002 "echo '$q' > tenants/globex/shared/faq/query || cat tenants/globex/shared/faq/error"
        refute_output --regexp 'acme|\.shared|globex'
        [ "${#lines[@]}" -ge 2 ]
    done
    # answers are each caller's, place by place
    run user_of 2002 "cat tenants/globex/shared/faq/results"
    assert_failure
    echo suspended > tenants/globex/status
    run user_of 2002 "$(ask_in tenants/globex/shared/faq)"
    assert_failure
    echo active > tenants/globex/status
    echo suspended > shared/faq/status
    run user_of 2002 "echo '1 0 0' > tenants/globex/shared/faq/query || cat tenants/globex/shared/faq/error"
    assert_output --partial "the collection is suspended"
}

@test "they outlive a mount; a removed one is gone for who has it open, and its successor is another" {
    mount_fs
    some_shared
    mkdir shared/second
    assert_equal "$(sed -n 's/^tenants //p' stats)" 2
    assert_equal "$(wc -l < all/tenants)" 2
    remount
    cd "$MNT"
    assert_equal "$(ls tenants/acme/shared | paste -sd ' ')" "faq second"
    run bash -c "$(ask_in tenants/acme/shared/faq)"
    assert_output "hello	0"
    run bash -c "echo '1 0 0' > all/query; cat all/results"
    assert_output --regexp '^acme/own	1$'
    exec 5<> tenants/acme/shared/faq/query
    run rmdir shared/faq
    assert_failure
    echo pending-deletion > shared/faq/status
    rmdir shared/faq
    mkdir shared/faq
    echo "0 1 0" > shared/faq/ingest/new
    run bash -c "echo '1 0 0' >&5"
    assert_failure
    assert_output --partial "No such device"
    exec 5>&-
    run bash -c "echo '1 0 0' > tenants/acme/shared/faq/query; cat tenants/acme/shared/faq/results"
    assert_output "new	1"
    kill9_server
    run bash -c "echo '0 1 0' > tenants/acme/shared/faq/query; cat tenants/acme/shared/faq/results"
    assert_output "new	0"
    rmdir shared/second
    assert_equal "$(ls tenants/acme/shared)" faq
    grep -q '"file":"status","outcome":"ok","text":"pending-deletion' audit
}
