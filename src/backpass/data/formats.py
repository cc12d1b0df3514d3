"""The formats IDX, ``.npy`` and ``.npz``: files become arrays.

Every size that a file claims is checked before memory is given to it. Nothing here unpickles: of ``.npy``
and ``.npz`` only plain numbers and text are read, by a reader that allocates no more than the file can hold
and no more than a budget.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from backpass.data.arrays import as_rows
from backpass.data.budget import memory_budget as budget
from backpass.data.dataset import Array
from backpass.errors import DataError

MAX_MEMBERS = 10_000
MAX_RATIO = 200
SMALL = 16 * 2**20
"""Bytes that a member may always unpack to: one-hot labels shrink more than 200-fold and hurt nobody."""
DEFLATE_MOST = 1032
"""The most bytes that deflate can make of one (zlib's technical details)."""

_TORN = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError,
    RuntimeError, struct.error, ValueError, OverflowError,
)  # fmt: skip


# --------------------------------------------------------------------------------------------------- files


def _too_large(what: str, size: int) -> DataError:
    return DataError(
        f"{what} would take {size:,} bytes of memory, and the limit on this machine is {budget():,} "
        "(a quarter of the memory, at most 4 GiB; the environment variable BACKPASS_MEMORY sets another).\n"
        "  Give a part of the data, e.g. numpy.load(file, mmap_mode='r')[:100_000] of an .npy file, or a "
        "smaller dtype."
    )


@contextmanager
def open_file(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """An ordinary file and its size. A pipe never gets as far as a read that could hang."""
    try:
        for mode, word in (
            (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"),
            (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
        ):  # fmt: skip
            if mode(os.stat(path).st_mode):
                raise DataError(f"{path} is {word}, not a file: write the data to a file first.")
        # O_NONBLOCK: if a pipe has taken the file's place since the look above, opening it does not wait.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise DataError(f"{path} is not an ordinary file: write the data to a file first.")
            if before.st_size == 0:
                raise DataError(f"{path} is empty (0 bytes). Was its download or its writing cut short?")
            yield file, before.st_size
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise DataError(f"{path} changed while it was read: try again when it is written.")
    except PermissionError:
        raise DataError(f"{path} may not be read: permission denied. Try: chmod u+r {path}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _fill(stream: IO[bytes], count: int, what: str) -> Array:
    """Exactly `count` bytes of the stream."""
    out = np.empty(count, dtype=np.uint8)
    view, have = out.data, 0
    while have < count:
        piece = stream.read(min(2**20, count - have))
        if not piece:
            raise DataError(f"{what} is torn: it ends after {have:,} of {count:,} bytes. Get it again.")
        view[have : have + len(piece)] = piece
        have += len(piece)
    return out


# ----------------------------------------------------------------------------------------------------- IDX


def read_idx(path: Path, dims: int) -> Array:
    """One IDX file of bytes: two zeros, the type, the number of dimensions, the sizes, the values."""
    with open_file(path) as (file, size):
        packed = file.read(2) == b"\x1f\x8b"  # by content: browsers unpack .gz and keep the name
        file.seek(0)
        stream: IO[bytes] = gzip.GzipFile(fileobj=file, mode="rb") if packed else file  # type: ignore[assignment]
        try:
            shape = _idx_shape(stream, dims, path, size, packed)
            values = _fill(stream, math.prod(shape), str(path))
            if stream.read(1):
                says = " x ".join(map(str, shape))
                raise DataError(f"{path} has more bytes than the {says} of its header. Get it again.")
        except DataError:
            raise
        except _TORN as error:
            raise DataError(f"{path} is torn ({error}). Get it again.") from None
    return values.reshape(shape)


def _idx_shape(stream: IO[bytes], dims: int, path: Path, size: int, packed: bool) -> tuple[int, ...]:
    """The sizes in an IDX header, once the file can hold them and this machine too."""
    head = _fill(stream, 4, str(path)).tobytes()
    if head[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file: it begins with {head!r}, not with two zeros.")
    if head[2] != 8 or head[3] != dims:
        kind = "images" if dims == 3 else "labels"
        raise DataError(
            f"{path} should hold {kind}: bytes (type 8) in {dims} dimension{'s' if dims > 1 else ''}. "
            f"Its header says type {head[2]} in {head[3]}.\n  Were the files mixed up?"
        )
    shape = struct.unpack(f">{dims}I", _fill(stream, 4 * dims, str(path)).tobytes())
    says, need = " x ".join(map(str, shape)), math.prod(shape) + 4 + 4 * dims
    if need > DEFLATE_MOST * size if packed else need != size:
        cannot = ", packed, which cannot hold so many" if packed else ""
        raise DataError(
            f"{path}: its header says {says}, which is {need:,} bytes, and the file has {size:,}{cannot}.\n"
            "  It is torn or not what it says. Get it again."
        )
    if need > budget():
        raise _too_large(f"{path} ({says})", need)
    return shape


# --------------------------------------------------------------------------------------------- npy and npz


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz``; all that is to be said against the archive is said before it is unpacked."""
    with open_file(path) as (file, size):
        try:
            _directory(file, size, path)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _members(members, path)
                arrays = {}
                for info in members:
                    with archive.open(info) as stream:
                        key = info.filename.removesuffix(".npy")
                        arrays[key] = read_npy(
                            stream, info.file_size, f"{key} in {path}"
                        )  # all read: CRC checked
        except DataError:
            raise
        except _TORN as error:
            raise DataError(f"{path} is torn, or not an .npz file ({error}). Save it again.") from None
    if not arrays:
        raise DataError(f"{path} holds no arrays. Save them with numpy.savez(file, X=X, y=y).")
    return arrays


def _directory(file: IO[bytes], size: int, path: Path) -> None:
    """Look at the archive's own table of contents before zipfile makes an object of each entry."""
    file.seek(max(0, size - 22 - 65_535))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        raise DataError(f"{path} is torn: the end of the archive is missing. Get it or save it again.")
    count, length = struct.unpack("<HL", tail[at + 10 : at + 16])
    if b"PK\6\7" in tail[max(0, at - 20) : at] or count > MAX_MEMBERS or length > 400 * MAX_MEMBERS:
        raise DataError(f"{path} has more than {MAX_MEMBERS:,} members, or 4 GiB: give a smaller file.")
    file.seek(0)


def _members(members: list[zipfile.ZipInfo], path: Path) -> None:
    if len(members) > MAX_MEMBERS:
        raise DataError(f"{path} has {len(members):,} members; the limit is {MAX_MEMBERS:,}.")
    seen: set[str] = set()
    for info in members:
        name = info.filename
        if not re.fullmatch(r"[A-Za-z0-9_ ()\[\]-][A-Za-z0-9_. ()\[\]-]*\.npy", name):
            raise DataError(
                f"{path} has a member named {name!r}, which is no plain array name. "
                "Save arrays only, with numpy.savez(file, X=X, y=y)."
            )
        if name in seen:
            raise DataError(f"{path} has two members named {name!r}: which is meant cannot be told.")
        seen.add(name)
        if info.flag_bits & 1:
            raise DataError(f"{path}: {name} is encrypted. Save it without a password.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{path}: {name} is packed as numpy never does. Save it with numpy.savez.")
        if info.file_size > SMALL and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise DataError(
                f"{path}: {name} would unpack from {info.compress_size:,} to {info.file_size:,} bytes, more "
                f"than {MAX_RATIO}-fold, as a zip bomb does.\n"
                "  If it is yours, save it with numpy.savez (not compressed)."
            )
    total = sum(info.file_size for info in members)
    if total > budget():
        raise _too_large(str(path), total)


def read_npy(stream: IO[bytes], size: int, what: str) -> Array:
    """One array of `size` bytes, header included. Never unpickles."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise DataError(f"{what} is in .npy version {version}; plain numbers are written in 1.0 or 2.0.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers of Python 2, with 10L for 10
            shape, fortran, dtype = read(stream)
    except DataError:
        raise
    except (MemoryError, RecursionError, Exception) as error:  # the header is Python text from a stranger
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"{what} is torn, or not a .npy array ({reason}). Save it again.") from None
    if dtype.hasobject:
        raise DataError(
            f"{what} holds Python objects (dtype {str(dtype)[:100]}): only pickle reads them, which can run "
            "any code, so backpass never does.\n"
            "  Save it as numbers or text, e.g. numpy.asarray(values, dtype='float32')."
        )
    if dtype.names is None and dtype.subdtype is None and dtype.kind in "cMm":
        as_rows(np.empty((1, 1), dtype), what=what)  # refuses, in the words used for arrays
    if dtype.kind not in "biufUS" or dtype.itemsize == 0 or dtype.subdtype is not None:
        raise DataError(f"{what} has the dtype {str(dtype)[:100]}: save plain numbers or text.")
    start = stream.tell()
    count = math.prod(shape)  # of Python's integers: it cannot overflow
    if min(shape, default=0) < 0 or len(shape) > 4 or start + count * dtype.itemsize != size:
        says = " x ".join(map(str, shape)) if shape else "a single value"
        raise DataError(
            f"{what}: its header says {says[:200]} of {dtype}, which is {count * dtype.itemsize:,} bytes, "
            f"and there are {size - start:,}.\n  It is torn or not what it says. Get it or save it again."
        )
    if count == 0:
        raise DataError(f"{what} is empty: its shape is {' x '.join(map(str, shape))[:200]}.")
    if size > budget():
        raise _too_large(what, size)
    raw = _fill(stream, size - start, what)
    if dtype.kind == "U":
        points = raw.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any():
            raise DataError(f"{what} holds text that is not Unicode: it is damaged. Save it again.")
    array: Array = (raw != 0) if dtype.kind == "b" else raw.view(dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
