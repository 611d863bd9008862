"""An address that does not answer is given up at once: `make book` then goes on without it."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tools.reachable import reachable


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def address():
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_answers_is_reachable(address):
    assert reachable(f"{address}/there")
    assert not reachable(f"{address}/elsewhere")


def test_what_is_silent_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "", "whl/cpu"])
def test_what_is_no_address_is_not_reachable(url):
    assert not reachable(url)
