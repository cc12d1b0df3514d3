"""The handwritten digits of MNIST, in the parts that published results use."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backpass.classics.places import folder_of
from backpass.classics.recipes.training import Examples
from backpass.data.formats import read_idx

#: The rows of a part, and the file that they are in.
_PARTS = {
    "train": ("train", slice(0, 50_000)),
    "validation": ("train", slice(50_000, 60_000)),
    "all": ("train", slice(0, 60_000)),
    "test": ("t10k", slice(0, 10_000)),
}

Digits = tuple[NDArray[np.float32], NDArray[np.int64]]


def digits(part: str, rows: int | None = None) -> Digits:
    """Digits in their published order, each pixel its byte / 256, which a float32 holds exactly.

    Parameters
    ----------
    part : {"train", "validation", "all", "test"}
        As Nielsen parts them: the first 50,000 rows of the training file, its last 10,000; all 60,000 of it;
        the 10,000 of the test file.
    rows : int, optional
        The first so many of them.

    Returns
    -------
    X : ndarray of float32, shape (n, 784)
    y : ndarray of int64, shape (n,)

    Raises
    ------
    DataError
        The files are not there; the message says where they come from.
    """
    file, which = _PARTS[part]
    images, labels = (array[which][:rows] for array in _read(folder_of("mnist"), file))
    return images.reshape(len(images), 784).astype(np.float32) / np.float32(256), labels.astype(np.int64)


@functools.lru_cache(maxsize=2)
def _read(folder: Path, file: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images and labels as they are in the files; bytes, so that keeping them costs little."""
    images = read_idx(folder / f"{file}-images-idx3-ubyte.gz", 3)
    return images, read_idx(folder / f"{file}-labels-idx1-ubyte.gz", 1)


def nielsen() -> Examples:
    """All digits in Nielsen's three parts: 50,000 to train on, 10,000 to validate, 10,000 to test."""
    X, y = digits("all")
    some, rest = slice(0, 50_000), slice(50_000, None)
    return Examples((X[some], y[some]), {"validation": (X[rest], y[rest]), "test": digits("test")})
