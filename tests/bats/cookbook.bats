#!/usr/bin/env bats
# docs/COOKBOOK.md: each section runs on a mount and an empty tenant of its own, and says what is shown. Where a recipe needs
# what a machine of tests has not (a service, a database, FAISS), a stand-in gives it what that would say.

load helper
load play

setup() {
    play_setup
    export HOME=$BATS_TEST_TMPDIR/home PATH=$BATS_TEST_TMPDIR/bin:$RV_BIN:/usr/bin:$PATH
    mkdir "$HOME" "$BATS_TEST_TMPDIR/bin" "$BATS_TEST_TMPDIR/tmp"
    cd "$HOME" || return
    SERVER=
}

teardown() {
    [ -z "$SERVER" ] || kill "$SERVER"
    umount_fs
}

# A program for the recipe, from standard input.
stand_in() { # NAME
    cat > "$BATS_TEST_TMPDIR/bin/$1"
    chmod +x "$BATS_TEST_TMPDIR/bin/$1"
}

# Cron's lines run as cron would run them: by sh, with next to no environment.
recipe() { # TITLE
    mount_fs
    mkdir "$MNT/tenants/acme"
    code_of docs/COOKBOOK.md "$1" > "$BATS_TEST_TMPDIR/code"
    sed -e "s#/tmp/\([a-z]*\)#$BATS_TEST_TMPDIR/tmp/\1#g" -e "s#/mnt/\(tenants\)#$MNT/\1#g" -e "s#localhost:11434#localhost:${PORT:-}#" \
        -e "s#^quiet PATH=/usr/local/bin:#quiet CRON_PATH=$RV_BIN:#" \
        -e 's|^quiet \*/5 \* \* \* \* \(.*\)|quiet env -i HOME="$HOME" PATH="$CRON_PATH" SHELL=/bin/sh sh -c '"'\1'|" \
        "$BATS_TEST_TMPDIR/code" > "$BATS_TEST_TMPDIR/recipe"
    run play_in_bash < "$BATS_TEST_TMPDIR/recipe"
    assert_success
    says_what_is_shown
}

@test "Shell" {
    recipe Shell
}

@test "Python" {
    recipe Python
}

@test "NumPy" {
    recipe NumPy
}

@test "awk" {
    recipe awk
}

@test "cron" {
    mkdir "$HOME/inbox" "$HOME/done"
    echo 'Dear all, the store survives.' > "$HOME/inbox/letter"
    printf 'bread\nmilk\n' > "$HOME/inbox/shopping"
    recipe cron
    run cat "$MNT/tenants/acme/vectors/shopping"
    assert_output --partial '"text":"bread milk '
    run ls "$HOME/inbox"
    assert_output ""
}

# Answers as OpenAI's protocol has it, with the vectors of ruvector-embed.
serve_embeddings() {
    cat > "$BATS_TEST_TMPDIR/serve.py" << 'END'
import http.server, json, os, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        ask = json.loads(self.rfile.read(int(self.headers["content-length"])))
        texts = ask["input"] if isinstance(ask["input"], list) else [ask["input"]]
        if self.path != "/v1/embeddings" or self.headers["content-type"] != "application/json" or "model" not in ask:
            self.send_error(400)
            return
        embed = lambda t: [float(x) for x in subprocess.check_output(["ruvector-embed", "-d", "64", "-q", t]).split()]
        data = [{"object": "embedding", "index": i, "embedding": embed(t)} for i, t in enumerate(texts)]
        body = json.dumps({"object": "list", "data": data, "model": ask["model"], "usage": {}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = http.server.HTTPServer(("localhost", 0), Handler)
with open(sys.argv[1] + ".new", "w") as f:
    f.write(str(server.server_port))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
END
    python3 "$BATS_TEST_TMPDIR/serve.py" "$BATS_TEST_TMPDIR/port" 3>&- &
    SERVER=$!
    poll 20 test -s "$BATS_TEST_TMPDIR/port"
    PORT=$(< "$BATS_TEST_TMPDIR/port")
}

@test "An embedding service" {
    serve_embeddings
    recipe "An embedding service"
    run cat "$MNT/tenants/acme/vectors/text1"
    assert_output --partial '"text":"the weather tomorrow"'
}

# What psql printed for three rows of id bigint, embedding vector(3), name text, price numeric; tried with pgvector 0.6.
@test "From pgvector" {
    stand_in psql << 'END'
#!/bin/sh
case "$*" in
"-d shop -c COPY (SELECT id, embedding FROM items WHERE embedding IS NOT NULL) TO STDOUT")
    printf '1\t[1,2,3]\n2\t[4,5,6.5]\n3\t[-0.001,1e-07,9]\n' ;;
"-d shop -AtX -c SELECT json_build_object('id', id::text, 'vector', embedding::text::json,
    'metadata', json_build_object('price', price), 'text', name) FROM items WHERE embedding IS NOT NULL")
    cat << 'ROWS'
{"id" : "1", "vector" : [1,2,3], "metadata" : {"price" : 10}, "text" : "an anvil"}
{"id" : "2", "vector" : [4,5,6.5], "metadata" : {"price" : 3.5}, "text" : "a \"fine\" hammer"}
{"id" : "3", "vector" : [-0.001,1e-07,9], "metadata" : {"price" : null}, "text" : null}
ROWS
    ;;
*) echo "psql: what is '$*'?" >&2; exit 2 ;;
esac
END
    recipe "From pgvector"
}

# FAISS in a few lines: an index is an array with what the recipe calls.
@test "From FAISS" {
    cat > faiss.py << 'END'
import numpy

class Index:
    def __init__(self, rows):
        self.rows = rows
        self.ntotal = len(rows)

    def reconstruct_n(self, first, n):
        return self.rows[first:first + n]

def read_index(path):
    open(path).close()
    return Index(numpy.arange(6, dtype="float32").reshape(3, 2))
END
    : > items.faiss
    printf '\2\0\0\0\0\0\200\077\0\0\0\0\2\0\0\0\0\0\0\0\0\0\200\077' > base.fvecs
    printf '\2\0\0\0\12\0\0\0\24\0\0\0\2\0\0\0\36\0\0\0\50\0\0\0' > numbers.ivecs
    recipe "From FAISS"
    run cat "$MNT/tenants/acme/vectors/items:2"
    assert_output '{"id":"items:2","vector":[4,5]}'
}

@test "each section of the cookbook is a test here, and each has something to show" {
    while read -r title; do
        grep -qF "recipe \"$title\"" "$BATS_TEST_FILENAME" || grep -qxF "    recipe $title" "$BATS_TEST_FILENAME" ||
            fail "no test of: $title"
        [ "$(code_of docs/COOKBOOK.md "$title" | grep -c '^shown')" -ge 2 ]
    done < <(awk '/^```/ { fenced = !fenced } !fenced && sub(/^## /, "")' "$ROOT/docs/COOKBOOK.md")
}
