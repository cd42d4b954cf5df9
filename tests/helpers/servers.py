"""Servers on this machine: a real MLflow server, a server that does not answer, and a proxy that can fail."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOP_HEADERS = ("host", "connection", "content-length", "transfer-encoding")
"""Headers that a proxy does not pass on."""


def find_port() -> int:
    """A free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def run_mlflow(folder: Path, *options: str, **variables: str) -> Iterator[int]:
    """An MLflow server with its database and its artifacts in `folder`; gives its port."""
    port = find_port()
    folder.mkdir(parents=True, exist_ok=True)
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder)]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--port", str(port), "--workers", "1", *options]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **variables}
    server = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:  # it waits for a connection
            server.kill()
            server.wait()


def wait_for(address: str, server: subprocess.Popen) -> None:
    """Wait until a server answers."""
    for _ in range(480):
        assert server.poll() is None
        try:
            urllib.request.urlopen(address).read()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server does not answer")


@contextmanager
def run_silent_server() -> Iterator[int]:
    """A server that takes connections and never answers; gives its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


@contextmanager
def run_failing_proxy(target: int, failing: set[str]) -> Iterator[int]:
    """A proxy in front of the server on port `target`. Requests whose path holds one of `failing` get status 500."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def forward(self) -> None:
            body = self.read_body()
            if any(part in self.path for part in failing):
                return self.reply(500, b'{"error_code": "INTERNAL_ERROR", "message": "the store is away"}')
            connection = http.client.HTTPConnection("127.0.0.1", target)
            headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_HEADERS}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            self.reply(answer.status, answer.read(), answer.headers.get("Content-Type", "application/json"))

        def read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def reply(self, status: int, content: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
