"""Names and paths become Datasets, or rows. The files themselves are read by `backpass.data.formats`."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backpass.data.dataset import Array, Dataset
from backpass.data.formats import open_file, read_idx, read_npy, read_npz
from backpass.data.arrays import as_rows, build
from backpass.errors import DataError, UsageError, nearest

BUNDLED = ("digits",)
"""Names that `load` takes besides paths."""

_X, _Y = ("X", "x", "inputs", "X_train", "x_train"), ("y", "Y", "t", "labels", "targets", "y_train")
_X_TEST, _Y_TEST = ("X_test", "x_test"), ("y_test", "t_test")
_FORMS = "a bundled name (digits), an .npz file with X and y, or a folder with the four MNIST IDX files"
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".sav")


def load(spec: str | os.PathLike[str]) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    spec : str or path
        - "digits": scikit-learn's 1,797 digits of 8 x 8 pixels, 0 to 16;
        - an ``.npz`` file with X (or x, inputs, X_train) and y (or t, labels, targets, y_train), and perhaps
          X_test and y_test;
        - a folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same two of ``t10k``,
          each plain or ``.gz``, also spelled ``train-images.idx3-ubyte``.

    Returns
    -------
    Dataset

    Raises
    ------
    UsageError
        A name that is not one of ours.
    DataError
        A file that is missing, unreadable, torn, too large, or whose contents cannot be used.

    Examples
    --------
    >>> load("digits")
    Dataset('digits', classification, 1797 rows x 64 columns, 10 classes)
    """
    if isinstance(spec, str) and spec == "digits":  # not a Path: that is a folder of this name
        return _digits()
    path = _path(spec)
    if _kind(path) == "folder":
        return _idx_folder(path)
    form = _form(path)
    if form == "npz":
        arrays = read_npz(path)
        x, y = _pick(arrays, _X, "X", path), _pick(arrays, _Y, "y", path)
        test = None
        if any(key in arrays for key in (*_X_TEST, *_Y_TEST)):
            test = (_pick(arrays, _X_TEST, "X_test", path), _pick(arrays, _Y_TEST, "y_test", path))
        with _named(path):
            return build(x, y, path.stem, test=test, source=str(path), copy=False)
    if form == "npy":
        raise DataError(
            f"{path} is one array: rows without labels.\n"
            "  Save both in one file, numpy.savez(file, X=X, y=y), and load that."
        )
    raise DataError(
        f"{path} is one IDX (or gzip) file, and images and labels are in separate ones.\n"
        f"  Give the folder that has all four: {path.parent}"
    )


def load_rows(path: str | os.PathLike[str]) -> Array:
    """Read the rows to predict. They are raw: use `scaled` with the scale of the data that trained the net.

    Parameters
    ----------
    path : str or path
        An ``.npy`` file; an ``.npz`` file with X (or with one array of any name); one IDX file of images; or
        what `load` takes: of a folder of IDX files the test rows, or all rows if it has none.

    Returns
    -------
    ndarray, shape (n, d)
        uint8, float32 or float64. Images of shape (n, height, width) are flattened.

    Raises
    ------
    UsageError, DataError

    Examples
    --------
    >>> load_rows("digits").shape
    (1797, 64)
    """
    if isinstance(path, str) and path == "digits":
        return _digits().X
    where = _path(path)
    if _kind(where) == "folder":
        files = _idx_files(where)
        image = files.get("test images") or files.get("training images")
        if image is None:
            raise DataError(f"{where} has labels but no images: {_ROLES['test images'][0]} is not there.")
        value = read_idx(image, 3)
    elif (form := _form(where)) == "npy":
        with open_file(where) as (file, size):
            value = read_npy(file, size, str(where))
    elif form == "npz":
        arrays = read_npz(where)
        value = next(iter(arrays.values())) if len(arrays) == 1 else _pick(arrays, _X, "X", where)
    else:
        value = read_idx(where, 3)
    with _named(where):
        return as_rows(value, copy=False)[0]


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # heavy: only where it is asked for

    bunch = load_digits()
    data = build(bunch.data, bunch.target, "digits", scale=1 / 16, source="digits", copy=False)
    return Dataset(data.X, data.y, "digits", data.task, data.classes, (8, 8), data.scale, None, "digits")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file before what is wrong with its contents."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _pick(arrays: dict[str, Any], names: tuple[str, ...], what: str, path: Path) -> Array:
    found = [name for name in names if name in arrays]
    if len(found) == 1:
        array: Array = arrays[found[0]]
        return array
    if found:
        raise DataError(f"{path} has {' and '.join(found)}: which of them is {what}? Keep one.")
    raise DataError(
        f"{path} has no {what}. {nearest(what, arrays)}\n"
        f"  Save it under one of these names: {', '.join(names)}, e.g. numpy.savez(file, X=X, y=y)."
    )


# --------------------------------------------------------------------------------------------------- files


def _path(spec: object) -> Path:
    """The absolute path of something that exists, or an error that offers what was meant."""
    if not isinstance(spec, (str, os.PathLike)) or isinstance(os.fspath(spec), bytes):
        raise UsageError(
            f"load takes a name or a path, got {type(spec).__name__}. For arrays there is from_arrays(X, y)."
        )
    text = os.fspath(spec)
    if not text.strip() or "\0" in text:
        raise UsageError(f"{text!r} is no name and no path. Give {_FORMS}.")
    try:
        path = Path(os.path.abspath(os.path.expanduser(text)))
        os.stat(path)
    except FileNotFoundError:
        if isinstance(spec, str) and re.fullmatch(r"[\w-]+", text):
            raise UsageError(
                f"there is no data set named {text!r}, and no file or folder of that name here. "
                f"{nearest(text, [*BUNDLED, *_near(Path(), text)])}\n  Give {_FORMS}."
            ) from None
        raise DataError(_not_there(path)) from None
    except OSError as error:
        raise DataError(f"{text} cannot be looked at: {error.strerror}.") from None
    return path


def _near(folder: Path, name: str) -> list[str]:
    try:
        return difflib.get_close_matches(name, os.listdir(folder), n=3, cutoff=0.5)
    except OSError:
        return []


def _not_there(path: Path) -> str:
    if not path.parent.exists():
        return f"{path} is not there, nor is the folder {path.parent}. Look at the spelling of the path."
    close = _near(path.parent, path.name)
    hint = nearest(path.name, close) if close else "Look at the spelling of the path."
    return f"{path} is not there. {hint}"


def _kind(path: Path) -> str:
    return "folder" if stat.S_ISDIR(os.stat(path).st_mode) else "file"


def _form(path: Path) -> str:
    """ "npz", "npy" or "idx", by the first bytes: names lie more often than these."""
    with open_file(path) as (file, _):
        head = file.read(8)
    if path.suffix.lower() in _PICKLES:
        raise DataError(
            f"{path} looks like a pickle; reading one runs the code that is in it, so backpass never does.\n"
            "  Where you trust it, load it yourself and save the arrays with numpy.savez(file, X=X, y=y)."
        )
    if head.startswith(b"PK"):
        return "npz"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head[:2] in (b"\x1f\x8b", b"\0\0"):
        return "idx"
    if path.suffix.lower() in (".npz", ".npy"):
        raise DataError(f"{path} is not what its name says: it begins with {head!r}. Cut, or renamed?")
    raise DataError(
        f"{path} is of no kind that backpass reads. Give {_FORMS}.\n"
        "  A table you can read yourself, e.g. with numpy.genfromtxt, and give to from_arrays(X, y)."
    )


# ----------------------------------------------------------------------------------------------------- IDX

_ROLES = {
    "training images": ("train-images-idx3-ubyte", 3),
    "training labels": ("train-labels-idx1-ubyte", 1),
    "test images": ("t10k-images-idx3-ubyte", 3),
    "test labels": ("t10k-labels-idx1-ubyte", 1),
}


def _idx_files(folder: Path) -> dict[str, Path]:
    """The IDX files of a folder by their role."""
    try:
        there = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}.") from None
    found: dict[str, Path] = {}
    for role, (name, _) in _ROLES.items():
        for spelled in (name, name.replace("-idx", ".idx")):
            for file in (spelled, spelled + ".gz"):
                if file in there:
                    found.setdefault(role, folder / file)
    if not found:
        shown = ", ".join(there[:5]) + (", ..." if len(there) > 5 else "")
        raise DataError(
            f"the folder {folder} has none of the four IDX files (train-images-idx3-ubyte and so on).\n"
            f"  It has: {shown or 'nothing'}. Give {_FORMS}."
        )
    return found


def _idx_folder(folder: Path) -> Dataset:
    files = _idx_files(folder)
    missing = [f"{name} ({role})" for role, (name, _) in _ROLES.items() if role not in files]
    if missing:
        raise DataError(
            f"the folder {folder} has no {' and no '.join(missing)}, plain or .gz. Put it beside the others."
        )
    arrays = {role: read_idx(files[role], dims) for role, (_, dims) in _ROLES.items()}
    for part in ("training", "test"):
        images, labels = arrays[f"{part} images"], arrays[f"{part} labels"]
        if len(images) != len(labels):
            raise DataError(
                f"{files[f'{part} images']} has {len(images):,} images and "
                f"{files[f'{part} labels'].name} has {len(labels):,} labels: they are not of one set."
            )
    with _named(folder):
        return build(
            arrays["training images"], arrays["training labels"], folder.name,
            test=(arrays["test images"], arrays["test labels"]), source=str(folder), copy=False,
        )  # fmt: skip
