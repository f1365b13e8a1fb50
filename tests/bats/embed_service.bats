#!/usr/bin/env bats
# ruvector-embed with a service, which a stand-in plays: embeddings.py. Needs no mount.

load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    PATH=$RV_BIN:$PATH
    unset RUVECTOR_EMBED_KEY http_proxy HTTP_PROXY
    export no_proxy=127.0.0.1
    SERVER=
}

teardown() {
    [ -z "$SERVER" ] || kill "$SERVER"
}

# A service, whose requests are answered as BEHAVIOURs say. Sets URL.
service() { # [BEHAVIOUR...]
    [ -z "$SERVER" ] || kill "$SERVER"
    rm -f port requests
    python3 "$BATS_TEST_DIRNAME/embeddings.py" port requests "$@" 3>&- &
    SERVER=$!
    poll 30 test -s port
    URL=http://127.0.0.1:$(< port)/v1
}

texts() { # N
    seq "$1" | sed 's/^/text number /'
}

@test "lines become vectors, in batches, in order" {
    service
    texts 10 > texts
    run ruvector-embed --url "$URL" --model small --batch 4 texts
    assert_success
    assert_equal "${#lines[@]}" 10
    assert_equal "$(awk '{ print NF }' <<< "$output" | sort -u)" 8
    for i in 1 7 10; do
        assert_equal "$(ruvector-embed -u "$URL" -m small -q "text number $i")" "${lines[i - 1]}"
    done
    run head -n 3 requests
    assert_output "$(printf '/v1/embeddings %d small None None\n' 4 4 2)"
    # numbers are as the service gave them
    run ruvector-embed -u "$URL" -q a
    assert_output "0 0 0 0 0 0 0 0.33333334"
}

@test "whatever order the answer has; formats and IDs as without a service" {
    service reverse reverse
    texts 5 > texts
    ruvector-embed -u "$URL/" texts > there
    ruvector-embed -u "$URL" texts > back
    cmp there back
    printf 'a"\tone "text"\nb\tanother\n' | ruvector-embed -u "$URL" -i -f jsonl > out
    assert_equal "$(jq -c '[.id, .text, (.vector | length)]' out)" $'["a\\"","one \\"text\\"",8]\n["b","another",8]'
    ruvector-embed -u "$URL" -f fvecs texts > out
    assert_equal "$(stat -c %s out)" $((5 * 36))
    ruvector-embed -u "$URL" -d 16 -q x | wc -w > out
    assert_equal "$(< out)" 16
    assert_equal "$(tail -n 1 requests)" "/v1/embeddings 1 None 16 None"
}

@test "Ollama's protocol" {
    service
    URL=${URL%/v1}/api/embed
    run ruvector-embed -u "$URL" -m all-minilm <<< "$(texts 3)"
    assert_success
    assert_equal "${#lines[@]}" 3
    assert_equal "$(< requests)" "/api/embed 3 all-minilm None None"
    service short
    run ruvector-embed -u "http://127.0.0.1:$(< port)/api/embed" <<< "$(texts 2)"
    assert_success
}

@test "what is refused for now is tried again: 429 with and without a time, 5xx, a dropped connection" {
    service 429:1 503 drop 500
    texts 3 > texts
    SECONDS=0
    run ruvector-embed -u "$URL" texts
    assert_success
    assert_equal "${#lines[@]}" 3
    assert_equal "$(wc -l < requests)" 5
    [ "$SECONDS" -ge 1 ] # as Retry-After said
    service 503 503
    run ruvector-embed -u "$URL" --tries 2 texts
    assert_failure 1
    assert_output "ruvector-embed: texts: lines 1 to 3: after 2 tries: the service says 503: come back later"
    service 429:86400
    run ruvector-embed -u "$URL" texts
    assert_failure 1
    assert_output --partial "to be tried again in 86400 s: the service says 429"
    for code in 408 425 500 502 503 504 529; do
        service $code:86400
        run ruvector-embed -u "$URL" texts
        assert_failure 1
        assert_output --partial "to be tried again in 86400 s: the service says $code"
    done
}

@test "what is refused for good is not" {
    texts 3 > texts
    for code in 400 401 403 404 422 501 505; do
        service $code
        run ruvector-embed -u "$URL" texts
        assert_failure 1
        assert_output "ruvector-embed: texts: lines 1 to 3: the service says $code: come back later"
        assert_equal "$(wc -l < requests)" 1
    done
    service moved
    run ruvector-embed -u "$URL" -q x
    assert_output "ruvector-embed: the service says 308, it has moved to ${URL%/v1}/elsewhere"
}

@test "a request that is too large is divided" {
    service small
    texts 9 > texts
    ruvector-embed -u "$URL" texts > divided
    assert_equal "$(awk '{ print $2 }' requests | sort -n | paste -sd ' ')" "1 1 1 1 1 1 1 1 1 2 2 2 2 3 4 5 9"
    service
    ruvector-embed -u "$URL" texts | cmp - divided
}

@test "answers that make no sense are refused, and nothing of them is written" {
    texts 3 > texts
    for case in "short:the service answers 2 vectors to 3 texts" "noise:the service's answer: not JSON: " "half:the service's answer: not JSON: " \
        "ragged:the service answers vectors of 8 and of 7 numbers" "nan:the service's vector 1: number 1: not a number" \
        "twice:the service answers text 1 twice" "beyond:the service's answer has an index out of range"; do
        service "${case%%:*}"
        run ruvector-embed -u "$URL" texts
        assert_failure 1
        assert_equal "${#lines[@]}" 1
        assert_output --partial "texts: lines 1 to 3: ${case#*:}"
    done
}

@test "the key comes from the environment, and is never said" {
    service
    RUVECTOR_EMBED_KEY=secret-1 ruvector-embed -u "$URL" -q x > /dev/null
    OTHER=secret-2 ruvector-embed -u "$URL" --key-env OTHER -q x > /dev/null
    assert_equal "$(cut -d ' ' -f 5- requests | paste -sd ,)" "Bearer secret-1,Bearer secret-2"
    run ruvector-embed -u "$URL" --key-env OTHER -q x
    assert_failure 1
    assert_output "ruvector-embed: --key-env: there is no OTHER in the environment"
    service echo
    RUVECTOR_EMBED_KEY=secret-3 run ruvector-embed -u "$URL" -q x
    assert_failure 1
    assert_output "ruvector-embed: the service says 401: no such key: ***, is it yours?"
    # also where the sentence is cut
    service late
    RUVECTOR_EMBED_KEY=secret-4-which-is-long run ruvector-embed -u "$URL" -q x
    assert_output "ruvector-embed: the service says 401: $(printf 'x%.0s' {1..150})***-is-no-"
    RUVECTOR_EMBED_KEY=$'a\nX-Evil: 1' run ruvector-embed -u "$URL" -q x
    assert_failure 1
    assert_output --partial "the key is empty, or more than a line"
}

@test "what a URL has of secrets is not said, nor shown by ps" {
    run ruvector-embed -u "http://me:secret-5@127.0.0.1:1/v1" -t 1 -q x
    assert_failure 1
    assert_output --partial "ruvector-embed: http://127.0.0.1:1/v1/embeddings: "
    run ruvector-embed -u "http://127.0.0.1:1/embed?key=secret-6" -t 1 -q x
    assert_failure 1
    assert_output --partial "ruvector-embed: http://127.0.0.1:1/embed: "
    service hang
    RUVECTOR_EMBED_KEY=secret-7 ruvector-embed -u "$URL" -T 60 -q x 3>&- &
    poll 20 test -s requests
    run ! grep -qa secret "/proc/$!/cmdline"
    kill $!
    wait $! || :
}

@test "an answer that does not come, one that is cut off, one of another dimension, one that is rude" {
    service hang
    run ruvector-embed -u "$URL" -T 1 -t 1 -q x
    assert_failure 1
    assert_output --partial "$URL/embeddings: Operation timed out after "
    service cut
    run ruvector-embed -u "$URL" -q x
    assert_success
    assert_equal "$(wc -l < requests)" 2
    service reverse wide
    texts 2 > texts
    run --separate-stderr ruvector-embed -u "$URL" -b 1 texts
    assert_failure 1
    assert_equal "${#lines[@]}" 1
    assert_equal "$stderr" "ruvector-embed: texts: line 2: the service answers vectors of 8 and of 9 numbers"
    service rude
    run ruvector-embed -u "$URL" -q x
    assert_output "ruvector-embed: the service says 400: a [2J  2Jb  ä"
    run ruvector-embed -u "" -q x
    assert_failure 1
    assert_output "ruvector-embed: the URL is empty"
}

@test "nobody listens, no such protocol, empty texts, wrong options" {
    run ruvector-embed -u http://127.0.0.1:1/v1 --tries 1 -q x
    assert_failure 1
    assert_output --partial "http://127.0.0.1:1/v1/embeddings: "
    echo "[]" > file
    run ruvector-embed -u "file://$PWD/file" --tries 1 -q x
    assert_failure 1
    assert_output --regexp '^ruvector-embed: file:.*: Protocol .file. (not supported|disabled)'
    service
    printf 'one\n\n' > texts
    run ruvector-embed -u "$URL" texts
    assert_failure 1
    assert_output "ruvector-embed: texts: line 2: the text is empty, which a service has no vector for"
    assert_not_exists requests
    for bad in "-b 0" "-b 5000" "-t 0" "-T x" "-w file -u x" "-m x" "-k x" "-l -u x"; do
        run ruvector-embed $bad -q x
        assert_failure 2
    done
}

@test "a bar on a terminal, and nothing of it elsewhere" {
    service 429:1
    texts 400 > texts
    ruvector-embed -u "$URL" -b 8 texts > /dev/null 2> said
    assert_equal "$(< said)" ""
    service 429:1
    run timeout -k 1 $((60 * ${RV_SLOWER:-1})) script -qec "stty cols 200; ruvector-embed -u '$URL' -b 2 texts > out" /dev/null
    assert_success
    assert_output --partial "ruvector-embed: the service says 429: come back later; again in 1 s"
    assert_output --regexp 'embedding  \[[#.]+\] +[0-9]+%  [0-9]+ texts, [0-9]+ texts/s'
    assert_equal "$(wc -l < out)" 400
}
