"""One path becomes a Dataset or rows. Files are read by `backpass.data.formats` and its kin."""

from __future__ import annotations

import difflib
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data import images
from backpass.data.arrays import array_part, as_rows, build
from backpass.data.bundled import BUNDLED
from backpass.data.dataset import Array, Dataset, Task
from backpass.data.formats import open_file, read_idx, read_npy, read_npz
from backpass.errors import DataError, UsageError, nearest

_X, _Y = ("X", "x", "inputs", "X_train", "x_train"), ("y", "Y", "t", "labels", "targets", "y_train")
_X_TEST, _Y_TEST = ("X_test", "x_test"), ("y_test", "t_test")
_FORMS = (
    "a bundled name (digits, iris, moons ...), a table (CSV, TSV, Parquet, JSON lines), an .npz file with X "
    "and y, a folder of images with a sub-folder for each class, or a folder with the four MNIST IDX files"
)
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".sav")


def array_dataset(path: Path, form: str, target: str | None, task: Task | None) -> Dataset:
    """A Dataset from a file of arrays."""
    if form == "npz":
        if target is not None:
            raise UsageError(f"{path} has its labels in y: target= is for tables.")
        arrays = read_npz(path)
        x, y = _pick(arrays, _X, "X", path), _pick(arrays, _Y, "y", path)
        test = None
        if any(key in arrays for key in (*_X_TEST, *_Y_TEST)):
            test = (_pick(arrays, _X_TEST, "X_test", path), _pick(arrays, _Y_TEST, "y_test", path))
        with named(path):
            return build(x, y, path.stem, task=task, test=test, source=str(path), copy=False)
    if form == "npy":
        if target is None:
            raise DataError(
                f"{path} is one array: rows without labels.\n"
                "  Save both in one file, numpy.savez(file, X=X, y=y), and load that; or give the "
                "file of the labels, target='y.npy'."
            )
        x, y = _one_array(path), _one_array(path_of(target))
        with named(path):
            return build(x, y, path.stem, task=task, source=str(path), copy=False)
    if form == "image":
        raise DataError(
            f"{path} is one image. To learn, give the folder that has a sub-folder of images for each class."
        )
    raise DataError(
        f"{path} is one IDX (or gzip) file, and images and labels are in separate ones.\n"
        f"  Give the folder that has all four: {path.parent}"
    )


def _one_array(path: Path) -> Array:
    with open_file(path) as (file, size):
        return read_npy(file, size, str(path))


def array_rows(path: Path, form: str) -> Array:
    """The rows to predict from a file of arrays."""
    if form == "npy":
        value = _one_array(path)
    elif form == "npz":
        arrays = read_npz(path)
        value = next(iter(arrays.values())) if len(arrays) == 1 else _pick(arrays, _X, "X", path)
    else:
        value = read_idx(path, 3)
    with named(path):
        return as_rows(value, copy=False)[0]


@contextmanager
def named(path: Path) -> Iterator[None]:
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


def path_of(spec: object) -> Path:
    """The absolute path of something that exists, or an error that offers what was meant."""
    if not isinstance(spec, (str, os.PathLike)) or isinstance(os.fspath(spec), bytes):
        raise UsageError(
            f"load takes a name or a path, got {type(spec).__name__}. For arrays there is from_arrays(X, y), "
            "for a data frame from_frame(frame, target)."
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


def is_folder(path: Path) -> bool:
    """Whether it is a folder, links followed."""
    return stat.S_ISDIR(os.stat(path).st_mode)


def form_of(path: Path) -> str:
    """ "npz", "npy", "idx", "image" or "table", by the first bytes: names lie more often than these."""
    with open_file(path) as (file, _):
        head = file.read(8)
        file.seek(0)
        inside = _unpacked_head(file) if head.startswith(b"\x1f\x8b") else head
    if path.suffix.lower() in _PICKLES:
        raise DataError(
            f"{path} looks like a pickle; reading one runs the code that is in it, so backpass never does.\n"
            "  Where you trust it, load it yourself and save the arrays with numpy.savez(file, X=X, y=y)."
        )
    if head.startswith(b"PK"):
        return "npz"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if inside.startswith(b"\0\0"):
        return "idx"
    if head.startswith(images.MAGIC) and (images.is_image(path) or not head.startswith((b"BM", b"RIFF"))):
        return "image"  # "BM" and "RIFF" may also begin a line of text
    if path.suffix.lower() in (".npz", ".npy"):
        raise DataError(f"{path} is not what its name says: it begins with {head!r}. Cut, or renamed?")
    if images.is_image(path):
        raise DataError(f"{path} is no image: it begins with {head!r}. Cut, or renamed?")
    if not head.startswith(b"PAR1") and _binary(inside):
        wide = inside[1::2] == b"\0\0\0\0" or inside[::2] == b"\0\0\0\0"
        hint = "\n  It looks like UTF-16 text without its mark: write it again as UTF-8." if wide else ""
        raise DataError(
            f"{path} is of no kind that backpass reads (it begins with {head!r}). Give {_FORMS}.{hint}"
        )
    return "table"


def _unpacked_head(file: Any) -> bytes:
    try:
        return gzip.GzipFile(fileobj=file, mode="rb").read(8)
    except (OSError, EOFError, zlib.error):  # torn: its reader says so
        return b"\0\0"


def _binary(head: bytes) -> bool:
    """Whether a file that begins so is no text in any encoding: it has control characters."""
    text = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"))
    return not text and any(byte < 9 or 13 < byte < 32 for byte in head)


# ----------------------------------------------------------------------------------------------------- IDX

_ROLES = {
    "training images": ("train-images-idx3-ubyte", 3),
    "training labels": ("train-labels-idx1-ubyte", 1),
    "test images": ("t10k-images-idx3-ubyte", 3),
    "test labels": ("t10k-labels-idx1-ubyte", 1),
}


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder has one of the four IDX files."""
    return bool(_idx_found(folder))


def _idx_found(folder: Path) -> dict[str, Path]:
    """The IDX files of a folder by their role."""
    there = {path.name for path in images.listed(folder)}
    found: dict[str, Path] = {}
    for role, (name, _) in _ROLES.items():
        for spelled in (name, name.replace("-idx", ".idx")):
            for file in (spelled, spelled + ".gz"):
                if file in there:
                    found.setdefault(role, folder / file)
    return found


def idx_rows(folder: Path) -> Array:
    """Of a folder of IDX files the test rows, or all rows if it has none."""
    files = _idx_found(folder)
    image = files.get("test images") or files.get("training images")
    if image is None:
        raise DataError(f"{folder} has labels but no images: {_ROLES['test images'][0]} is not there.")
    with named(folder):
        return as_rows(read_idx(image, 3), copy=False)[0]


def idx_folder(folder: Path, task: Task | None) -> Dataset:
    """A Dataset from a folder of four IDX files."""
    files = _idx_found(folder)
    missing = [f"{name} ({role})" for role, (name, _) in _ROLES.items() if role not in files]
    if missing:
        raise DataError(
            f"the folder {folder} has no {' and no '.join(missing)}, plain or .gz. Put it beside the others."
        )
    arrays = {role: read_idx(files[role], dims) for role, (_, dims) in _ROLES.items()}
    for part in ("training", "test"):
        pictures, labels = arrays[f"{part} images"], arrays[f"{part} labels"]
        if len(pictures) != len(labels):
            raise DataError(
                f"{files[f'{part} images']} has {len(pictures):,} images and "
                f"{files[f'{part} labels'].name} has {len(labels):,} labels: they are not of one set."
            )
    with named(folder):
        return build(
            arrays["training images"], arrays["training labels"], folder.name, task=task,
            test=(arrays["test images"], arrays["test labels"]), source=str(folder), copy=False,
        )  # fmt: skip


# -------------------------------------------------------------------------------------------------- images


def image_dataset(folder: Path, size: images.Size | None, color: bool | None) -> Dataset:
    """A Dataset from a folder of images, a sub-folder a class, perhaps under train, test and validation."""
    parts = images.image_folder(folder)
    if parts is None:
        _no_images(folder)
    assert parts is not None
    data: Dataset | None = None
    for role, classes in parts.items():  # "train" is the first
        files = [path for inside in classes.values() for path in inside]
        y = np.repeat(list(classes), [len(inside) for inside in classes.values()])
        if data is None:
            X = images.read_images(files, folder, size=size, color=color)
            with named(folder):
                data = build(X, y, folder.name, source=str(folder), copy=False)
        else:
            assert data.image_shape is not None
            height, width = data.image_shape[:2]
            X = images.read_images(
                files, folder, size=size, like=(width, height), color=len(data.image_shape) == 3
            )
            with named(folder):
                data = data.with_part(role, array_part(data, X, y, role=role, copy=False))
    assert data is not None
    return data


def _no_images(folder: Path) -> None:
    there = images.listed(folder)
    shown = ", ".join(path.name for path in there[:5]) + (", ..." if len(there) > 5 else "")
    if any(images.is_image(path) for path in there):
        raise DataError(
            f"the folder {folder} has images but no classes: put the images of each class into a sub-folder "
            f"of its own, named like the class.\n  It has: {shown}."
        )
    raise DataError(
        f"the folder {folder} has none of the four IDX files (train-images-idx3-ubyte and so on), and no "
        f"sub-folders of images.\n  It has: {shown or 'nothing'}. Give {_FORMS}."
    )


def image_files(path: Path) -> list[Path]:
    """The images to predict: one file, or those of a folder, in the order of names.

    Of a folder with sub-folders of classes those of its test part, or all if it has none.
    """
    if not is_folder(path):
        return [path]
    files = [child for child in images.listed(path) if images.is_image(child)]
    if not files:
        parts = images.image_folder(path)
        if parts is None:
            _no_images(path)
        assert parts is not None
        classes = parts.get("test", parts["train"])
        files = [file for inside in classes.values() for file in inside]
    return files


def image_rows(
    path: Path, size: images.Size | None, color: bool | None, image_shape: Sequence[int] | None
) -> Array:
    """The images to predict as rows, of the shape that a net was trained on."""
    files = image_files(path)
    like = None
    if image_shape is not None:
        like, color = (int(image_shape[1]), int(image_shape[0])), len(image_shape) == 3
    root = path if is_folder(path) else path.parent
    X = images.read_images(files, root, size=size, like=like, color=color)
    return X.reshape(len(X), -1)
