"""The built site, served as a host would serve it, and a browser to read it with: `make test-site`."""

import gzip
import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

HOW = "the built site is tested in a browser by: make test-site"
SITE = Path(os.environ["BOOK_SITE"]).resolve() if "BOOK_SITE" in os.environ else None
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")) if SITE else []
#: Source code of the package, which differ in nothing but the code.
MODULES = [page for page in PAGES if page.startswith("_modules/bnlib/")]
#: One of them stands for all; _static holds parts of templates, and index.html only leads on.
READ = [p for p in PAGES if p not in MODULES[1:] and not p.startswith("_static/") and p != "index.html"]
CHAPTERS = [page for page in READ if page.startswith("book/")]


class Handler(SimpleHTTPRequestHandler):
    """Serves files compressed."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            self.send_error(404)
            return
        kind, data = self.guess_type(str(path)), path.read_bytes()
        self.send_response(200)
        if kind.startswith(("text/", "image/svg")) or "javascript" in kind:
            data = gzip.compress(data, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="session")
def site():
    """The address of the built site, without a slash at the end."""
    if not CHAPTERS:
        pytest.skip(HOW)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


#: A system's browsers. Its firefox is spoken to in a language of its own, which playwright calls a channel.
SYSTEM = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), None),
    "firefox": (("firefox", "firefox-esr"), "moz-firefox"),
}


@pytest.fixture(scope="session", params=SYSTEM)
def browser(request, site):
    api = pytest.importorskip("playwright.sync_api", reason=HOW)
    with api.sync_playwright() as playwright:
        kind = getattr(playwright, request.param)
        names, channel = SYSTEM[request.param]
        path = next(filter(None, map(shutil.which, names)), None)
        if path is None and not Path(kind.executable_path).exists():
            pytest.skip(f"there is no {request.param}")
        browser = kind.launch(executable_path=path, channel=channel if path else None)
        yield browser
        browser.close()


def context(browser, width, theme="light", **options):
    """A reader with a window of some width, who chose a theme."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **options)
    context.set_default_timeout(10_000)
    context.set_default_navigation_timeout(60_000)
    # only on a page: firefox runs this for the empty window too, which may store nothing
    context.add_init_script(f"if (location.host) localStorage.mode = localStorage.theme = '{theme}'")
    return context


@pytest.fixture
def page(browser):
    """A page at 1280 pixels that reports what went wrong on it."""
    reader = context(browser, 1280)
    page = reader.new_page()
    trouble = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: message.type == "error" and trouble.append(message.text))
    yield page
    reader.close()
    assert trouble == []
