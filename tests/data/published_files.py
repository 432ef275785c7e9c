"""A server on this machine that publishes files with their checksums, as PhysioNet does, and misbehaves on request."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import unquote


@dataclass
class Server:
    """What the server holds, how it misbehaves, and what it was asked for."""

    files: dict[str, bytes]
    url: str = ""
    breaks: dict[str, list[int]] = field(default_factory=dict)  # by file: after how many bytes each answer ends
    corrupts: Counter = field(default_factory=Counter)  # by file: how many answers are wrong
    statuses: dict[str, list[int]] = field(default_factory=dict)  # by file: errors that come first
    hangs: set[str] = field(default_factory=set)  # files of which an answer stops in the middle until `go_on`
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    hanging: Event = field(default_factory=Event)
    go_on: Event = field(default_factory=Event)

    def publish(self) -> None:
        """Write the list of checksums as PhysioNet does: a line for each file, with one space."""
        self.files.pop("SHA256SUMS.txt", None)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        self.files["SHA256SUMS.txt"] = "".join(f"{sha256} {name}\n" for name, sha256 in sums.items()).encode()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections alive

        def setup(self):
            super().setup()
            server.connections += 1

        def log_message(self, *_):
            pass

        def do_GET(self):
            name = unquote(self.path.removeprefix("/files/ptb-xl/1.0.3/"))
            server.asked.append(name)
            if server.statuses.get(name):
                return self.refuse(server.statuses[name].pop(0))
            if name not in server.files:
                return self.refuse(404)
            content = server.files[name]
            if server.corrupts[name] > 0:
                server.corrupts[name] -= 1
                content = content[:-1] + bytes([content[-1] ^ 1])
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if server.breaks.get(name):
                content = content[: server.breaks[name].pop(0)]
                self.close_connection = True
            elif name in server.hangs:
                content = content[: len(content) // 2]
                server.hanging.set()
                server.go_on.wait(30)
                self.close_connection = True
            self.wfile.write(content)

        def refuse(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    """A running server of these files."""
    server = Server(dict(files))
    server.publish()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/files/ptb-xl/1.0.3/"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.go_on.set()
    http.shutdown()
    thread.join()
    http.server_close()
