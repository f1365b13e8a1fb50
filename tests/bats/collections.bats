#!/usr/bin/env bats
# collections/NAME: further collections of a tenant.

load helper

setup() {
    export LC_ALL=C
    mount_fs
    mkdir "$MNT/tenants/t"
    cd "$MNT/tenants/t" || return
}

@test "a collection has all files but quota" {
    mkdir collections/images
    run ls collections
    assert_output images
    run ls collections/images
    assert_output "$(printf '%s\n' config delete error export.fvecs export.jsonl export.npy ingest integrity query results stats status vectors)"
    assert_equal "$(stat -c '%a %u' collections/images)" "755 $(id -u)"
}

@test "collections are apart: vectors, dimension, config, receipts, results" {
    mkdir collections/two collections/three
    echo "1 2" > collections/two/ingest/a
    echo "1 2 3" > collections/three/ingest/a
    echo "k 3" > collections/two/config
    assert_equal "$(ls vectors)" ""
    assert_equal "$(cat collections/two/vectors/a)" '{"id":"a","vector":[1,2]}'
    assert_equal "$(cat collections/three/vectors/a)" '{"id":"a","vector":[1,2,3]}'
    assert_equal "$(grep '^dimension' collections/two/config collections/three/config config | cut -d: -f2)" \
        "$(printf 'dimension 2\ndimension 3\ndimension 0')"
    assert_equal "$(grep '^k ' collections/three/config)" "k 10"
    (cd collections/two && echo "1 2" > query)
    run cat collections/three/results
    assert_failure
    assert_output --partial "No data available"
    assert_equal "$(cut -f1 collections/two/results)" a
    rm collections/two/vectors/a
    assert_equal "$(ls collections/three/vectors)" a
    assert_equal "$(sed -n 's/^collections //p' stats)" 2
}

@test "names, and the name of the tenant's own" {
    for bad in .x "a b" 'é'; do
        run mkdir "collections/$bad"
        assert_failure
        assert_output --partial "Invalid argument"
    done
    run mkdir collections/default
    assert_failure
    assert_output --partial "File exists"
    run ls collections
    assert_output ""
    mkdir collections/a
    run mkdir collections/a
    assert_output --partial "File exists"
}

@test "rmdir: empty, with vectors, open" {
    mkdir collections/a collections/b
    rmdir collections/a
    echo "1 2" > collections/b/ingest/x
    run rmdir collections/b
    assert_failure
    assert_output --partial "not empty"
    exec 6< collections/b/config
    hold_write collections/b/ingest/more '1 2\n3 4\n5'
    rm collections/b/vectors/x
    rmdir collections/b
    run cat <&6
    assert_output --partial "No such device"
    hold_more " 6"
    assert_equal "$HELD_SAYS" "No such device"
    hold_kill
    exec 6<&-
    run ls collections
    assert_output ""
    mkdir collections/b
    assert_equal "$(ls collections/b/vectors)" ""
}

@test "owners, modes and vectors persist" {
    mkdir -m 750 collections/c
    chown 1000:2000 collections/c
    echo "1 2" > collections/c/ingest/x
    echo "metric l2" > collections/c/config || : # fixed by now
    remount
    cd "$MNT/tenants/t"
    assert_equal "$(stat -c '%a %u %g' collections/c collections/c/ingest)" "$(printf '750 1000 2000\n750 1000 2000')"
    assert_equal "$(ls collections/c/vectors)" x
}

@test "many collections are listed, each once, while others come and go" {
    for i in $(seq 300); do mkdir "collections/c$i"; done
    assert_equal "$(ls collections | wc -l)" 300
    for i in $(seq 1 2 300); do rmdir "collections/c$i"; done
    assert_equal "$(ls collections | wc -l)" 150
    run find collections -maxdepth 1 -name 'c1*' -empty
    assert_success
}

@test "a tenant with collections is empty only when they are" {
    mkdir collections/c
    echo "1 2" > collections/c/ingest/x
    cd ..
    run rmdir t
    assert_failure
    assert_output --partial "not empty"
    echo x > t/collections/c/delete
    rmdir t
}
