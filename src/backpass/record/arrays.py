"""Arrays in files of a run folder, as safetensors: what a header says is checked before anything is read."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from backpass.errors import RecordError
from backpass.exec.base import Array
from backpass.ir import ArrayType

_MAX_HEADER = 1_000_000  # a hostile header can be 100 MB of work
_DTYPES = {"F32": "f4", "F64": "f8", "I64": "i8", "BOOL": "?"}

Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Arrays as the content of a file."""
    from safetensors.numpy import save

    # Not ascontiguousarray: that makes a row of a single number.
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def open_inside(path: Path, folder: Path) -> BinaryIO:
    """Open a plain file of a folder for reading.

    Raises
    ------
    RecordError
        It is not there, it is no plain file (a pipe would never end), or a link leads out of the folder.
    """
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise RecordError(f"{path} is a link to a place outside of the run folder; it is not followed")
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise RecordError(f"{path} is no plain file")
    except OSError as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{path} is torn or not there: {error}") from None
    return file


def layout(path: Path, folder: Path) -> Layout:
    """Which arrays a file holds, from its header, which must fit the size of the file.

    Raises
    ------
    RecordError
        The file is torn, or not one of ours.
    """
    with open_inside(path, folder) as file:
        return _layout(path, file)


def _layout(path: Path, file: BinaryIO) -> Layout:
    import msgspec

    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise RecordError(f"{path} has a header of over {_MAX_HEADER:,} bytes")
    try:
        head = msgspec.json.decode(file.read(length))
        found, end = {}, 0
        for name, entry in head.items():
            if name == "__metadata__":
                continue
            shape, dtype = tuple(entry["shape"]), np.dtype(_DTYPES[entry["dtype"]])
            start, stop = entry["data_offsets"]
            plain = all(type(n) is int and n >= 0 for n in (*shape, start, stop))
            if not plain or stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"the sizes of {name} do not fit each other")
            found[name], end = (shape, dtype), max(end, stop)
        if 8 + length + end != size:
            raise ValueError(f"it has {size:,} bytes, and should have {8 + length + end:,}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, msgspec.DecodeError) as error:
        raise RecordError(f"{path} is torn or not there: {error}") from None
    return found


def read(path: Path, folder: Path, most: int) -> dict[str, Array]:
    """The arrays of a file of at most so many bytes.

    Raises
    ------
    RecordError
        The file is torn, larger than that, or not one of ours.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    with open_inside(path, folder) as file:
        found = _layout(path, file)
        size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in found.values())
        if size > most:
            raise RecordError(f"{path} holds {size:,} bytes of arrays; it can have {most:,} at the most")
        file.seek(0)
        try:
            arrays: dict[str, Array] = load(file.read(8 + _MAX_HEADER + size))
        except (OSError, SafetensorError, ValueError, MemoryError) as error:
            raise RecordError(f"{path} is torn or not there: {error}") from None
    return arrays


def fits(found: Layout, wanted: Mapping[str, ArrayType]) -> bool:
    """Whether a file holds arrays of just these types, and others perhaps."""
    return all(
        name in found and found[name] == (type_.shape, type_.numpy_dtype) for name, type_ in wanted.items()
    )
