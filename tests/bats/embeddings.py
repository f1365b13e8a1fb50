"""A stand-in for an embedding service on 127.0.0.1, in OpenAI's protocol (/v1/embeddings) and Ollama's (/api/embed).

    embeddings.py PORT_FILE LOG [BEHAVIOUR...]

The vector of a text is made of its letters. Each request takes the next BEHAVIOUR, and after the last one all is well:
  N         is answered with the HTTP status N and an error
  N:S       and Retry-After: S
  drop      the connection is closed without an answer
  reverse   the elements come in the other order
  small     413 for more than one text, from now on
  short     an element is missing
  twice     all elements say that they are the first one's
  beyond    the last element's place is beyond the texts
  ragged    the last vector has a number less
  nan       a vector has a string in it
  noise     an answer that is no JSON
  wide      vectors of one more number
  half      the answer ends in its middle, as if it were whole
  cut       and the connection with it
  hang      no answer for an hour
  echo      401, which repeats the key that was sent
  late      the same behind 150 characters
  rude      400, with control characters and what is no text
  moved     a redirection
LOG gets a line a request: the path, how many texts, model, dimensions, authorization.
"""
import http.server
import json
import os
import sys
import time

behaviours = sys.argv[3:]
small = False


def vector(text, n):
    v = [0.0] * n
    for i, c in enumerate(text.encode()):
        v[(c * 7 + i) % n] += 1 / 3
    return v


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status, message, **headers):
        self.reply(status, json.dumps({"error": {"message": message}}).encode(), **headers)

    def do_POST(self):
        global small
        ask = json.loads(self.rfile.read(int(self.headers["content-length"])))
        texts = ask["input"]
        with open(sys.argv[2], "a") as log:
            print(self.path, len(texts), ask.get("model"), ask.get("dimensions"), self.headers["authorization"], file=log)
        how = behaviours.pop(0) if behaviours else ""
        if how == "small":
            small = True
        if how[:3].isdigit():
            status, _, after = how.partition(":")
            return self.fail(int(status), "come back later", **({"retry_after": after} if after else {}))
        if how == "drop":
            self.close_connection = True
            return None
        if how == "echo":
            return self.fail(401, "no such key: " + self.headers["authorization"].split()[1] + ", is it yours?")
        if how == "late":
            return self.fail(401, "x" * 150 + self.headers["authorization"].split()[1] + "-is-no-key")
        if how == "rude":
            return self.reply(400, b"a\x1b[2J\xc2\x9b2Jb\xff\xe4\xc3\xa4")
        if how == "hang":
            time.sleep(3600)
        if how == "moved":
            return self.reply(308, b"", location="/elsewhere")
        if how == "noise":
            return self.reply(200, b"<html>welcome</html>")
        if small and len(texts) > 1:
            return self.fail(413, "too many")
        vectors = [vector(t, ask.get("dimensions", 9 if how == "wide" else 8)) for t in texts]
        if how == "ragged":
            vectors[-1].pop()
        if how == "nan":
            vectors[0][0] = "x"
        if self.path == "/api/embed":
            answer = {"model": ask.get("model"), "embeddings": vectors}
        else:
            data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
            if how == "reverse":
                data.reverse()
            if how == "short":
                data.pop()
            if how == "twice":
                data = [{**d, "index": 0} for d in data]
            if how == "beyond":
                data[-1]["index"] = len(data)
            answer = {"object": "list", "data": data, "usage": {"total_tokens": 1}}
        body = json.dumps(answer).encode()
        if how == "half":
            body = body[:len(body) // 2]
        if how == "cut":
            self.close_connection = True
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:len(body) // 2])
            return None
        return self.reply(200, body, content_type="application/json")

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
with open(sys.argv[1] + ".new", "w") as f:
    f.write(str(server.server_port))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
