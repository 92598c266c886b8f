"""An admin socket that gives prepared answers, for tests of commands; the real one is tested in tests/room_server."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path


@contextmanager
def serving_answers(path: Path, answers: Mapping[str, bytes]) -> Iterator[Path]:
    """Answer GET and POST of the given targets, whatever their query, at a Unix socket; others get 404.

    An answer that begins with `409 ` is a refusal.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path.partition("?")[0])
            is_refused = body is not None and body.startswith(b"409 ")
            self.send_response(404 if body is None else 409 if is_refused else 200)
            self.end_headers()
            self.wfile.write((body or b"no such thing\n").removeprefix(b"409 "))

        do_POST = do_GET  # noqa: N815 - the base class's way

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()
