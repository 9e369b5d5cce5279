"""A stub of an OpenAI-compatible endpoint on loopback: it answers as told, and remembers what it was sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.waits import LONG

SILENCE = 0.0  # a reply: nothing, until the server ends


def completion(answer: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}).encode()


class Stub:
    """`replies` are used one after another, the last one again and again: a text is an answer, a number a status, bytes a
    whole body, a dict a status with headers, `SILENCE` no answer, a function of the question one of these."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.url = ""

    def next(self, body):
        with self.lock:
            self.requests.append(body)
            reply = self.replies[0] if len(self.replies) == 1 else self.replies.pop(0)
        return reply(body["messages"][0]["content"]) if callable(reply) else reply


@contextmanager
def serving(*replies) -> Iterator[Stub]:
    stub = Stub(*replies)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.headers.append(dict(self.headers))
            reply, status, headers = stub.next({**body, "path": self.path}), 200, {}
            if isinstance(reply, float):
                stub.ended.wait(LONG)
                reply = "YES"
            if isinstance(reply, dict):
                status, headers, reply = reply["status"], reply.get("headers", {}), reply.get("body", b"")
            if isinstance(reply, int):
                status, reply = reply, b"no"
            data = completion(reply) if isinstance(reply, str) else reply
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has waited long enough

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
