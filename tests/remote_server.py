"""A server that speaks S3 on loopback, and a proxy in front of it that misbehaves on demand."""

import http.client
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler

answer = WSGIRequestHandler.run_wsgi

def answer_later(self):
    time.sleep(float(sys.argv[1]))
    answer(self)

WSGIRequestHandler.protocol_version = "HTTP/1.1"  # keeps connections, as S3 does
WSGIRequestHandler.run_wsgi = answer_later
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until whoever started it lets go
"""


def variables(port):
    """What a user sets to reach the server on ``port``."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "no_proxy": "127.0.0.1",
    }


@contextmanager
def s3_server(delay=0.0):
    """Run moto's server in a process of its own, ``delay`` seconds away; gives its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(delay)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def upload(folder, url):
    """Copy the files of a local folder, as ``aws s3 cp --recursive`` does."""
    import fsspec

    fs, place = fsspec.url_to_fs(url, skip_instance_cache=True)
    fs.makedirs(place.partition("/")[0], exist_ok=True)
    for file in folder.iterdir():
        if file.is_file():
            fs.put_file(str(file), f"{place}/{file.name}")
    return fs


class Proxy:
    """Passes requests on to ``port``, and can be told to fail.

    Attributes
    ----------
    requests : list of str
        ``"GET /bucket/key"`` of all that came.
    fail : dict
        Substring of a request line → how many times more it is answered with 500.
    cut : dict
        The same, with half of the body and a closed connection instead.
    at_once : int
        Most requests that were under way at the same time.
    """

    def __init__(self, port):
        self.target = port
        self.requests: list[str] = []
        self.fail: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.at_once = self._now = 0
        self.delay = 0.0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words):
                pass

            def handle_any(self):
                proxy._answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, address):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """Stop listening, as a server that went away."""
        self._server.shutdown()
        self._server.server_close()
        self.fail.update({"/": 10**9})  # connections that are still open learn it too

    def clear(self):
        """Forget what came, and behave."""
        self.requests.clear()
        self.fail.clear()
        self.cut.clear()
        self.at_once, self.delay = 0, 0.0

    def _due(self, plan, line):
        with self._lock:
            for part in plan:
                if part in line and plan[part] > 0:
                    plan[part] -= 1
                    return True
        return False

    def _answer(self, handler):
        line = f"{handler.command} {handler.path}"
        with self._lock:
            self.requests.append(line)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        try:
            self._pass_on(handler, line)
        finally:
            with self._lock:
                self._now -= 1

    def _pass_on(self, handler, line):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        time.sleep(self.delay)
        if self._due(self.fail, line):
            status, headers, data = 500, [("Content-Type", "application/xml")], _ERROR
        else:
            upstream = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
            headers = {k: v for k, v in handler.headers.items() if k.lower() != "expect"}
            upstream.request(handler.command, handler.path, body, headers)
            answer = upstream.getresponse()
            status, headers, data = answer.status, answer.getheaders(), answer.read()
            upstream.close()
        handler.send_response(status)
        length = str(len(data))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # that of the object, in an answer to HEAD
            elif name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", length)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if self._due(self.cut, line):
            handler.wfile.write(data[: len(data) // 2])
            handler.close_connection = True
            return
        handler.wfile.write(data)


_ERROR = (
    b"<Error><Code>InternalError</Code><Message>We encountered an internal error</Message></Error>"
)


if __name__ == "__main__":
    upload(Path(sys.argv[1]), sys.argv[2])
