#!/usr/bin/env bats
# labels: a tenant's own KEY VALUE pairs.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
}

@test "written, merged, taken away, kept" {
    run cat labels
    assert_output ""
    env printf 'region eu-1\nplan=pro\ndisplay_name The A Company\n' > labels
    echo "plan free" > labels
    echo "region default" > labels
    run cat labels
    assert_output "display_name The A Company
plan free"
    remount
    run cat "$T/labels"
    assert_output "display_name The A Company
plan free"
}

@test "what is refused changes nothing" {
    echo "plan pro" > labels
    run env printf 'x 1\nplan\n' > labels
    run bash -c 'env printf "x 1\nplan\n" > labels'
    assert_output --partial "Invalid argument"
    run bash -c 'echo "bad!key 1" > labels'
    assert_output --partial "Invalid argument"
    run bash -c 'printf "k %0300d\n" 1 > labels'
    assert_output --partial "Argument list too long"
    run cat labels
    assert_output "plan pro"
}

@test "how long keys, values and all of them may be" {
    key=$(printf 'k%.0s' {1..64})
    value=$(printf 'v%.0s' {1..256})
    env printf '%s %s\n' "$key" "$value" > labels
    assert_equal "$(cat labels)" "$key $value"
    run bash -c 'env printf "%s v\n" "$1" > labels; cat error' - "k$key"
    assert_line "a key of 65 bytes, at most 64"
    run bash -c 'env printf "k %s\n" "$1" > labels; cat error' - "v$value"
    assert_line "k: a value of 257 bytes, at most 256"
    # 322 bytes and 14 of 260 bytes are 3962; 134 more are all
    for i in {10..23}; do
        echo "a$i ${value:0:255}" > labels
    done
    echo "b ${value:0:131}" > labels
    assert_equal "$(wc -c < labels)" 4096
    run bash -c 'echo "b $1" > labels; cat error' - "${value:0:132}"
    assert_line "labels of 4097 bytes, at most 4096"
    assert_equal "$(wc -c < labels)" 4096
    # sorted, one that begins another before it
    echo "a1 x" > labels && fail "4101 bytes are more than fit"
    printf 'b default\na1 x\nab y\na x\n' | dd of=labels status=none
    assert_equal "$(cut -d ' ' -f 1 labels | paste -sd ' ')" "a a1 $(echo a{10..23}) ab $key"
}

@test "labels whose file is damaged are EIO, never half of them" {
    env printf 'plan pro\nregion eu\n' > labels
    cd /
    umount_fs
    file=$DATA/stores/1/labels
    for how in 's/pro/Pro/' 's/region eu//' '1d'; do
        cp "$file" "$BATS_TEST_TMPDIR/whole"
        sed -i "$how" "$file"
        mount_fs
        run cat "$T/labels"
        assert_failure
        assert_output --partial "Input/output error"
        assert_equal "$(cat "$T/error")" "the labels of the tenant are damaged"
        assert_equal "$(cat "$T/status")" active
        umount_fs
        cp "$BATS_TEST_TMPDIR/whole" "$file"
    done
    mount_fs
    assert_equal "$(paste -sd , "$T/labels")" "plan pro,region eu"
}

@test "they are the tenant's to write, and follow its status" {
    echo "plan pro" > labels
    assert_equal "$(stat -c %a labels)" 600
    echo readonly > status
    run bash -c 'echo "plan free" > labels'
    assert_output --partial "Read-only file system"
    run cat labels
    assert_output "plan pro"
    echo suspended > status
    run cat labels
    assert_output --partial "Permission denied"
}
