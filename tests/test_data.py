"""Reading, checking, splitting and ordering data. Errors are asserted by the words a reader needs."""

from __future__ import annotations

import doctest
import gzip
import importlib
import io
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from backpass.data import (
    as_rows,
    batch_starts,
    epoch_order,
    from_arrays,
    load,
    load_rows,
    orders,
    scaled,
    split,
)
from backpass.errors import DataError, UsageError

formats = importlib.import_module("backpass.data.formats")
REPO = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("BACKPASS_DATA", REPO.parent / "shared" / "data"))


def says(error: pytest.ExceptionInfo[BaseException], *words: str) -> None:
    for word in words:
        assert word in str(error.value), f"{word!r} is not in: {error.value}"


# ----------------------------------------------------------------------------------------- small IDX files


def idx(array: np.ndarray, *, kind: int = 8, shape: tuple[int, ...] | None = None) -> bytes:
    """IDX bytes of a uint8 array; `shape` lets the header lie."""
    sizes = array.shape if shape is None else shape
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + array.tobytes()


NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (6, 3, 2)).astype(np.uint8),
        np.array([3, 1, 4, 1, 3, 4], dtype=np.uint8),
        rng.integers(0, 256, (2, 3, 2)).astype(np.uint8),
        np.array([4, 1], dtype=np.uint8),
    ]


def idx_folder(folder: Path, *, dot: bool = False, packed: bool = False, **replaced: bytes) -> Path:
    """A folder of four IDX files; `replaced` gives other bytes for "images", "labels", "test_images"..."""
    folder.mkdir(exist_ok=True)
    keys = ("images", "labels", "test_images", "test_labels")
    for key, name, array in zip(keys, NAMES, idx_arrays(), strict=True):
        data = replaced.get(key, idx(array))
        if dot:
            name = name.replace("-idx", ".idx")
        if packed and key not in replaced:
            data = gzip.compress(data)
        (folder / (name + ".gz" * packed)).write_bytes(data)
    return folder


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_folder(tmp_path: Path, dot: bool, packed: bool) -> None:
    folder = idx_folder(tmp_path / "tiny", dot=dot, packed=packed)
    data = load(folder)
    images, labels, test_images, test_labels = idx_arrays()
    assert data.X.dtype == np.uint8
    assert data.X.tobytes() == images.tobytes()
    assert data.X.shape == (6, 6)
    assert data.y.tolist() == labels.tolist()
    assert data.test is not None
    assert data.test.X.tobytes() == test_images.tobytes()
    assert data.test.y.tolist() == test_labels.tolist()
    assert (data.name, data.task, data.classes) == ("tiny", "classification", (1, 3, 4))
    assert (data.image_shape, data.scale, data.source) == ((3, 2), 1 / 255, str(folder))
    assert data.test.classes == data.classes  # one-hot columns must agree
    assert data.test.targets().tolist() == [[0, 0, 1], [1, 0, 0]]
    assert load(data.source).fingerprint() == data.fingerprint()
    assert load_rows(folder).tobytes() == test_images.tobytes()


def test_idx_unpacked_under_a_packed_name(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "f", packed=True, labels=idx(idx_arrays()[1]))
    assert load(folder).y.tolist() == idx_arrays()[1].tolist()


def test_idx_rows_without_test_images_and_from_one_file(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "f")
    assert load_rows(folder / NAMES[0]).shape == (6, 6)
    (folder / NAMES[2]).unlink()
    assert load_rows(folder).tobytes() == idx_arrays()[0].tobytes()
    (folder / NAMES[0]).unlink()
    with pytest.raises(DataError) as error:
        load_rows(folder)
    says(error, "labels but no images")


def test_idx_folder_incomplete(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "f")
    (folder / NAMES[3]).unlink()
    with pytest.raises(DataError) as error:
        load(folder)
    says(error, NAMES[3], "test labels", ".gz")
    other = tmp_path / "other"
    other.mkdir()
    (other / "cat.png").write_bytes(b"x")
    with pytest.raises(DataError) as error:
        load(other)
    says(error, "images but no classes", "cat.png")
    (other / "cat.png").rename(other / "cat.txt")
    with pytest.raises(DataError) as error:
        load(other)
    says(error, "none of the four IDX files", "cat.txt")
    with pytest.raises(DataError) as error:
        load(folder / NAMES[0])
    says(error, "Give the folder", str(folder))


LIES: list[tuple[dict[str, bytes], list[str]]] = [
    ({"images": idx(idx_arrays()[0])[:-1]}, ["header says 6 x 3 x 2", "52 bytes", "has 51", "torn"]),
    ({"images": idx(idx_arrays()[0]) + b"x"}, ["52 bytes", "has 53"]),
    ({"images": idx(idx_arrays()[0], shape=(2**32 - 1,) * 3)}, ["4294967295", "torn"]),
    ({"images": idx(idx_arrays()[0], kind=13)}, ["should hold images", "type 13"]),
    ({"images": idx(idx_arrays()[1])}, ["should hold images", "3 dimensions", "in 1", "mixed up"]),
    ({"labels": idx(idx_arrays()[0])}, ["should hold labels", "in 3"]),
    ({"labels": b"\x7fELF" + bytes(20)}, ["not an IDX file", "ELF"]),
    ({"labels": b"\0\0\x08"}, ["torn", "after 3 of 4 bytes"]),
    ({"labels": b""}, ["empty (0 bytes)"]),
    ({"labels": idx(np.array([1, 3], dtype=np.uint8))}, ["6 images", "2 labels", "not of one set"]),
    ({"test_labels": idx(np.array([4, 9], dtype=np.uint8))}, ["row 1", "is 9", "y does not have", "1, 3, 4"]),
    ({"labels": idx(np.zeros(6, dtype=np.uint8))}, ["0 in all 6 rows", "one class"]),
    ({"images": idx(np.zeros((0, 3, 2), np.uint8)), "labels": idx(np.zeros(0, np.uint8))}, ["0 rows"]),
    ({"images": idx(np.zeros((6, 0, 2), np.uint8))}, ["0 columns"]),
    ({"test_images": idx(np.zeros((2, 2, 2), np.uint8))}, ["images of 2 x 2", "images of 3 x 2"]),
]


@pytest.mark.parametrize(("replaced", "words"), LIES)
def test_idx_lies(tmp_path: Path, replaced: dict[str, bytes], words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        load(idx_folder(tmp_path / "f", **replaced))
    says(error, str(tmp_path), *words)


def test_idx_packed_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = idx(idx_arrays()[0])
    cases = [
        (gzip.compress(good)[:-12], ["torn"]),
        (gzip.compress(good)[:-6] + b"\0\0\0\0\0\0", ["torn", "CRC"]),
        (gzip.compress(good[:-3]), ["torn", "after 33 of 36 bytes"]),
        (gzip.compress(good + bytes(5)), ["more bytes than the 6 x 3 x 2"]),
        (gzip.compress(idx(idx_arrays()[0], shape=(60_000, 28, 28))), ["60000 x 28 x 28", "cannot hold"]),
    ]
    for data, words in cases:
        with pytest.raises(DataError) as error:
            load(idx_folder(tmp_path / "f", packed=True, images=data))
        says(error, "train-images", *words)
    # A true bomb: the header is honest, and it is the budget that stops it before memory is given.
    bomb = gzip.compress(idx(np.zeros((1000, 40, 50), dtype=np.uint8)))
    monkeypatch.setattr(formats, "budget", lambda: 1_000_000)
    monkeypatch.setattr(formats, "_fill", only_headers)
    with pytest.raises(DataError) as error:
        load(idx_folder(tmp_path / "f", packed=True, images=bomb))
    says(error, "1000 x 40 x 50", "2,000,016 bytes", "limit on this machine is 1,000,000")


real_fill = formats._fill


def only_headers(stream: Any, count: int, what: str) -> np.ndarray:
    assert count < 100, f"{count} bytes were allocated before the check"
    return real_fill(stream, count, what)


# --------------------------------------------------------------------------------------------- npz and npy


X4 = np.array([[0.0, 1.0], [1.0, 0.5], [2.0, 3.0], [4.0, 4.0]])
Y4 = np.array(["a", "b", "a", "b"])


@pytest.mark.parametrize("x", ["X", "x", "inputs", "X_train"])
@pytest.mark.parametrize("y", ["y", "t", "labels", "targets"])
def test_npz_names(tmp_path: Path, x: str, y: str) -> None:
    np.savez(tmp_path / "d.npz", **{x: X4, y: Y4})
    data = load(str(tmp_path / "d.npz"))
    assert data.X.tolist() == X4.tolist()
    assert data.y.tolist() == Y4.tolist()
    assert (data.name, data.source, data.scale) == ("d", str(tmp_path / "d.npz"), 1.0)
    assert data.fingerprint() == from_arrays(X4, Y4).fingerprint()


def test_npz_test_part_and_kinds(tmp_path: Path) -> None:
    images = np.arange(4 * 6, dtype=np.uint8).reshape(4, 3, 2)
    file = tmp_path / "d.npz"
    np.savez_compressed(file, X=np.asfortranarray(images), y=[0, 1, 0, 1], X_test=images[:1], y_test=[1])
    data = load(file)
    assert data.X.tobytes() == images.tobytes()
    assert data.image_shape == (3, 2)
    assert data.scale == 1 / 255
    assert data.test is not None
    assert data.test.y.tolist() == [1]
    for dtype in (">f4", ">i2", "<f2", "?", "f4", "f8", "u2", "i8", "g"):
        np.savez(file, X=X4.astype(dtype), y=Y4)
        got = load(file).X
        assert got.flags.c_contiguous
        assert got.dtype in (np.dtype("f4"), np.dtype("f8"))
        assert got.tolist() == X4.astype(dtype).tolist()
    np.savez(file, X=X4, y=Y4, X_test=X4)
    with pytest.raises(DataError) as error:
        load(file)
    says(error, "no y_test", "y_test, t_test")
    np.savez(file, X=images.reshape(4, 6), y=Y4, X_test=images.reshape(4, 6) / 255, y_test=Y4)
    with pytest.raises(DataError) as error:
        load(file)
    says(error, "X is uint8 and X_test is float64", "same kind")


def test_npz_missing_names(tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    np.savez(file, X=X4, lables=Y4)
    with pytest.raises(DataError) as error:
        load(file)
    says(error, "has no y", "Known: X, lables", "labels", "numpy.savez")
    np.savez(file, X=X4, x=X4, y=Y4)
    with pytest.raises(DataError) as error:
        load(file)
    says(error, "X and x", "Keep one")
    np.savez(file, X=X4[:3], y=Y4)
    with pytest.raises(DataError) as error:
        load(file)
    says(error, str(file), "X has 3 rows and y has 4 labels")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (os.environ["BACKPASS_EVIL"],))


def test_never_unpickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign = tmp_path / "ran"
    monkeypatch.setenv("BACKPASS_EVIL", str(sign))
    bad = np.array([Evil(), Evil()], dtype=object)
    np.savez(tmp_path / "d.npz", X=X4, y=bad)
    np.save(tmp_path / "d.npy", bad)
    for read, file in ((load, "d.npz"), (load_rows, "d.npy")):
        with pytest.raises(DataError) as error:
            read(tmp_path / file)
        says(error, "Python objects", "pickle", "never", "dtype='float32'")
    for name in ("m.pkl", "m.pt", "m.joblib"):
        (tmp_path / name).write_bytes((tmp_path / "d.npz").read_bytes())
        with pytest.raises(DataError) as error:
            load(tmp_path / name)
        says(error, "looks like a pickle", "numpy.savez")
    assert not sign.exists()


def npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + body


def zipped(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def head(shape: str, descr: str = "'<f8'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


HEADERS: list[tuple[bytes, list[str]]] = [
    (npy(head("(1000000000000,)"), bytes(8)), ["1000000000000", "8,000,000,000,000 bytes", "there are 8"]),
    (npy(head("(-1, 4)"), bytes(8)), ["-1 x 4", "torn"]),
    (npy(head("(-1, -1)"), bytes(8)), ["-1 x -1"]),
    (npy(head("(2, 2)"), bytes(31)), ["2 x 2 of float64", "32 bytes", "there are 31"]),
    (npy(head("(2, 2)"), bytes(33)), ["32 bytes", "there are 33"]),
    (npy(head("(0, 5)")), ["empty", "0 x 5"]),
    (npy(head("()"), bytes(8)), ["dimensions", "one value of type float64"]),
    (npy(head("(1, 1, 1, 1, 1)"), bytes(8)), ["1 x 1 x 1 x 1 x 1"]),
    (npy(head("(99999999999,)", "'<U0'")), ["dtype", "plain numbers or text"]),
    (npy(head("(1, 1)", "'<c16'"), bytes(16)), ["complex"]),
    (npy(head("(1, 1)", "'<M8[D]'"), bytes(8)), ["dates"]),
    (npy(head("(1,)", "[('a', '<f8')]"), bytes(8)), ["dtype", "plain numbers"]),
    (npy(head("(1,)", "'|O'"), b"cos\nsystem\n"), ["Python objects", "never"]),
    (npy(head("(1, 1)", "'<U1'"), b"\xff\xff\xff\xff"), ["not Unicode"]),
    (npy(head("(1, 1)", "'<U1'"), b"\x00\xd8\x00\x00"), ["not Unicode"]),
    (npy(head("(1, 1)"), bytes(8), b"\x03\x00"), ["version (3, 0)"]),
    (npy(head("(1, 1)"), bytes(8), b"\x09\x00"), ["version (9, 0)"]),
    (npy("(" * 9000), ["not a .npy array"]),
    (npy(head("(1, 1)") + " " * 20_000, bytes(8)), ["not a .npy array", "large"]),
    (npy("{'descr': __import__('os').abort()}"), ["not a .npy array"]),
    (b"\x93NUMPY\x01\x00\xff\xff", ["not a .npy array"]),
    (b"\x93NUMPY\x01", ["not a .npy array"]),
]


@pytest.mark.parametrize(("data", "words"), HEADERS)
def test_npy_headers(tmp_path: Path, data: bytes, words: list[str]) -> None:
    """The same lies in an .npy file and in a member of an .npz."""
    (tmp_path / "d.npy").write_bytes(data)
    zipped(tmp_path / "d.npz", {"X.npy": data})
    for name in ("d.npy", "d.npz"):
        with pytest.raises(DataError) as error:
            load_rows(tmp_path / name)
        says(error, str(tmp_path / name), *words)


def test_npz_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = npy(head("(1, 1)"), bytes(8))
    file = tmp_path / "d.npz"

    def refused(*words: str) -> None:
        with pytest.raises(DataError) as error:
            load(file)
        says(error, str(file), *words)

    for name in ("../../evil.npy", "/etc/x.npy", "a\\b.npy", "X", ".npy", "notes.txt"):
        zipped(file, {name: good})
        refused("no plain array name", "numpy.savez")
    zipped(file, {})
    refused("no arrays")
    zipped(file, {"X.npy": good}, zipfile.ZIP_LZMA)
    refused("packed as numpy never does")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns while it writes the duplicate
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("X.npy", good)
            archive.writestr("X.npy", good)
    refused("two members named 'X.npy'")

    whole = io.BytesIO()
    np.savez(whole, X=X4, y=Y4)
    data = whole.getvalue()
    file.write_bytes(data[:-30])
    refused("torn", "end of the archive")
    flipped = bytearray(data)
    flipped[data.index(X4.tobytes()) + 3] ^= 1
    file.write_bytes(flipped)
    refused("torn", "CRC")
    encrypted = bytearray(data)
    encrypted[data.index(b"PK\1\2") + 8] |= 1
    file.write_bytes(encrypted)
    refused("is encrypted", "without a password")
    file.write_bytes(b"\x80\x04\x95 pickle")
    refused("not what its name says")

    # The archive's own count is believed only to refuse, and before zipfile makes an object of each entry.
    zipped(file, {f"a{i}.npy": b"" for i in range(20)})
    monkeypatch.setattr(formats, "MAX_MEMBERS", 19)
    monkeypatch.setattr(formats.zipfile, "ZipFile", None)
    refused("more than 19 members")


def test_npz_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_fill", only_headers)
    file = tmp_path / "bomb.npz"
    np.savez_compressed(file, X=np.zeros((2200, 1000)), y=np.zeros(2200))
    assert file.stat().st_size < 50_000
    with pytest.raises(DataError) as error:
        load(file)
    says(error, "17,600,128 bytes", "200-fold", "zip bomb", "not compressed")
    np.savez(file, X=np.zeros((500, 100)), y=np.zeros(500))
    monkeypatch.setattr(formats, "budget", lambda: 400_000)
    with pytest.raises(DataError) as error:
        load(file)
    says(error, "404,", "limit on this machine is 400,000", "part of the data")


def test_small_arrays_may_shrink_more_than_a_bomb(tmp_path: Path) -> None:
    hot = np.zeros((20_000, 10))
    hot[:10_000, 0] = hot[10_000:, 1] = 1
    np.savez_compressed(tmp_path / "d.npz", X=np.arange(20_000.0)[:, None], y=hot)
    assert load(tmp_path / "d.npz").classes == tuple(range(10))


def test_flipped_bits_end_in_our_errors(tmp_path: Path) -> None:
    """Only DataError may come out, whatever byte is changed."""
    rng = np.random.default_rng(1)
    stored, packed = io.BytesIO(), io.BytesIO()
    np.savez(stored, X=X4, y=Y4)
    np.savez_compressed(packed, X=X4, y=Y4)
    folder = idx_folder(tmp_path / "idx", packed=True)
    image = folder / (NAMES[0] + ".gz")
    errors = 0
    for data, target, read in (
        (stored.getvalue(), tmp_path / "s.npz", load),
        (packed.getvalue(), tmp_path / "p.npz", load),
        (npy(head("(4, 2)"), X4.tobytes()), tmp_path / "a.npy", load_rows),
        (image.read_bytes(), image, lambda _: load(folder)),
    ):
        for _ in range(150):
            changed = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                changed[at] = rng.integers(0, 256)
            target.write_bytes(bytes(changed[: rng.integers(1, 2 * len(data))]))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    read(target)
            except DataError:
                errors += 1
    assert errors > 300


def test_load_rows(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    np.save(tmp_path / "a.npy", images)
    assert load_rows(tmp_path / "a.npy").tolist() == images.reshape(4, 6).tolist()
    assert load_rows(tmp_path / "a.npy").dtype == np.uint8
    np.savez(tmp_path / "a.npz", X=X4, y=Y4)
    assert load_rows(tmp_path / "a.npz").tolist() == X4.tolist()
    np.savez(tmp_path / "a.npz", X4)  # numpy names it arr_0
    assert load_rows(tmp_path / "a.npz").tolist() == X4.tolist()
    np.save(tmp_path / "a.npy", np.array([1.0, np.nan])[:, None])
    with pytest.raises(DataError) as error:
        load_rows(tmp_path / "a.npy")
    says(error, "a.npy", "missing values (NaN) in 1 place", "row 1, column 0")
    np.save(tmp_path / "a.npy", np.arange(3.0))
    with pytest.raises(DataError) as error:
        load_rows(tmp_path / "a.npy")
    says(error, "two dimensions", "(3,)", "reshape(1, -1)")
    with pytest.raises(DataError) as error:
        load(tmp_path / "a.npy")
    says(error, "rows without labels", "X=X, y=y")


# ----------------------------------------------------------------------------------------- names and files


def test_digits() -> None:
    data = load("digits")
    assert data.X.shape == (1797, 64)
    assert data.classes == tuple(range(10))
    assert (data.image_shape, data.scale, data.source, data.test) == ((8, 8), 1 / 16, "digits", None)
    inputs = data.inputs(np.float32)
    assert inputs.dtype == np.float32
    assert (inputs.min(), inputs.max()) == (0, 1)
    assert load_rows("digits").tolist() == data.X.tolist()


def test_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for read in (load, load_rows):
        with pytest.raises(UsageError) as error:
            read("digit")
        says(error, "no data set named 'digit'", "Did you mean 'digits'", ".npz")
    (tmp_path / "mnist").mkdir()
    with pytest.raises(UsageError) as error:
        load("minst")
    says(error, "Did you mean 'mnist'")
    (tmp_path / "digits").mkdir()  # the bundled name wins; a path says that it is one
    assert load("digits").source == "digits"
    with pytest.raises(DataError) as error:
        load("./digits")
    says(error, "none of the four IDX files")
    with pytest.raises(DataError) as error:
        load(Path("digits"))
    says(error, "none of the four IDX files")
    for bad in ("", " ", "a\0b"):
        with pytest.raises(UsageError) as error:
            load(bad)
        says(error, "no name and no path", "digits")
    with pytest.raises(UsageError) as error:
        load(X4)  # type: ignore[arg-type]
    says(error, "got ndarray", "from_arrays")


def test_missing_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "trains.npz", X=X4, y=Y4)
    with pytest.raises(DataError) as error:
        load(tmp_path / "train.npz")
    says(error, "is not there", "Did you mean 'trains.npz'")
    with pytest.raises(DataError) as error:
        load(tmp_path / "no" / "train.npz")
    says(error, "nor is the folder")
    with pytest.raises(DataError) as error:
        load(str(tmp_path / ("x" * 400 + ".npz")))
    says(error, "cannot be looked at", "too long")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "t.bin").write_bytes(b"\x7fELF\x02\x01\x01\x00")
    with pytest.raises(DataError) as error:
        load(tmp_path / "t.bin")
    says(error, "no kind that backpass reads", "ELF", "CSV")
    loop = tmp_path / "loop.npz"
    loop.symlink_to(loop)
    with pytest.raises(DataError) as error:
        load(loop)
    says(error, "symbolic links")


def test_odd_files_never_hang(tmp_path: Path) -> None:
    """In a process of its own, so that a hang is a failure and not the end of the tests."""
    os.mkfifo(tmp_path / "pipe.npz")
    folder = idx_folder(tmp_path / "idx")
    (folder / NAMES[1]).unlink()
    os.mkfifo(folder / NAMES[1])
    code = (
        "import sys\nfrom backpass.data import load, load_rows\nfrom backpass.errors import DataError\n"
        "for read, path in ((load, sys.argv[1]), (load_rows, sys.argv[1]), (load, sys.argv[2])):\n"
        "    try: read(path)\n    except DataError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pipe.npz"), str(folder)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(REPO / "src")},
    )  # fmt: skip
    assert run.stdout.count("is a pipe") == 3, run.stdout + run.stderr


def test_pipe_that_comes_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that takes the file's place after the look at it: opening it must not wait for a writer."""
    os.mkfifo(tmp_path / "pipe.npz")
    monkeypatch.setattr(stat, "S_ISFIFO", lambda mode: False)

    def late(*_: Any) -> None:
        raise TimeoutError("load waits for a writer")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    try:
        with pytest.raises(DataError, match="not an ordinary file"):
            load(tmp_path / "pipe.npz")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_socket_device_and_folder_in_a_files_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may be only 107 long
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("s.npz")
        with pytest.raises(DataError) as error:
            load("s.npz")
        says(error, "is a socket")
    with pytest.raises(DataError) as error:
        load("/dev/zero")
    says(error, "is a device")
    folder = idx_folder(tmp_path / "idx")
    (folder / NAMES[0]).unlink()
    (folder / NAMES[0]).mkdir()
    with pytest.raises(DataError) as error:
        load(folder)
    says(error, NAMES[0], "is a folder")


def test_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "d.npz"
    np.savez(file, X=X4, y=Y4)

    def refuse(*_: Any) -> int:  # by hand, because root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(formats.os, "open", refuse)
    with pytest.raises(DataError) as error:
        load(file)
    says(error, str(file), "permission denied", "chmod u+r")


def test_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "d.npz"
    np.savez(file, X=X4, y=Y4)
    real = formats.read_npy

    def slow(*args: Any) -> Any:
        with file.open("ab") as more:
            more.write(b"x")
        return real(*args)

    monkeypatch.setattr(formats, "read_npy", slow)
    with pytest.raises(DataError) as error:
        load(file)
    says(error, "changed while it was read")


# -------------------------------------------------------------------------------------------------- arrays


def layouts() -> list[Any]:
    base = np.array([[1.5, -2.0, 3.0], [0.0, 5.25, 1e-3], [7.0, 8.0, -9.0]])
    wide = np.zeros((6, 6))
    wide[::2, ::2] = base
    frozen = base.copy()
    frozen.flags.writeable = False
    odd = np.zeros(base.nbytes + 1, dtype=np.uint8)[1:].view(np.float64).reshape(3, 3)
    odd[...] = base
    return [
        base, np.asfortranarray(base), wide[::2, ::2], base[::-1, ::-1].copy()[::-1, ::-1],
        base.astype(">f8"), frozen, odd, base.tolist(), base.T.copy().T,
    ]  # fmt: skip


def test_every_layout_gives_the_same_copy() -> None:
    expected = from_arrays(layouts()[0], [0, 1, 0])
    for X in layouts():
        for y in (np.array([0, 1, 0], ">i4"), np.array([0, 9, 1, 9, 0, 9])[::2], [0, 1, 0]):
            data = from_arrays(X, y)
            assert data.X.tobytes() == expected.X.tobytes()
            assert data.X.flags.c_contiguous
            assert data.X.flags.writeable
            assert data.X.dtype == np.dtype(np.float64)
            assert data.X.dtype.isnative
            assert data.fingerprint() == expected.fingerprint()
            assert not np.shares_memory(data.X, X)


def test_the_users_arrays_are_not_shared() -> None:
    X, y = X4.copy(), np.array([0, 1, 0, 1])
    data = from_arrays(X, y)
    before = data.fingerprint()
    X[0, 0] = 99
    y[0] = 1
    assert data.fingerprint() == before
    data.inputs()[0, 0] = 77
    data.targets()[0, 0] = 77
    assert data.fingerprint() == before


def test_fingerprint_tells_apart() -> None:
    base = from_arrays(X4, [0, 1, 0, 1]).fingerprint()
    changed = X4.copy()
    changed[3, 1] = np.nextafter(4.0, 5.0)
    prints = {
        base,
        from_arrays(changed, [0, 1, 0, 1]).fingerprint(),
        from_arrays(X4, [0, 1, 1, 0]).fingerprint(),
        from_arrays(X4.astype("f4"), [0, 1, 0, 1]).fingerprint(),
        from_arrays(X4.reshape(4, 2, 1)[:, ::-1], [0, 1, 0, 1]).fingerprint(),
    }
    assert len(prints) == 5
    # The width of text is no part of its meaning.
    labels = ["a", "b", "a", "b"]
    assert from_arrays(X4, np.array(labels, "U30")).fingerprint() == from_arrays(X4, labels).fingerprint()


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("g", "f8"), ("?", "f4"), ("i1", "f4"), ("u1", "u1"),
     ("i2", "f4"), ("u2", "f4"), ("i4", "f8"), ("i8", "f8"), ("u8", "f8"), (object, "f8")],
)  # fmt: skip
def test_kinds_of_numbers(dtype: Any, kept: str) -> None:
    X = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)
    data = from_arrays(X, [0, 1, 0])
    assert data.X.dtype == np.dtype(kept)
    assert data.X.tolist() == X.astype(float).tolist()
    assert data.scale == (1 / 255 if kept == "u1" else 1)


def test_lost_digits_are_told() -> None:
    with pytest.warns(UserWarning, match=r"more digits.*row 1, column 0"):
        as_rows(np.array([[1], [2**53 + 1]]))
    with pytest.warns(UserWarning, match="more digits"):
        as_rows(np.array([[1], [2**63 + 1]], dtype=np.uint64))
    if np.finfo(np.longdouble).nmant > 52:
        with pytest.warns(UserWarning, match="more digits"):
            as_rows(np.array([[np.longdouble(1) / 3]]))
        with pytest.raises(DataError) as error:
            as_rows(np.array([[1, np.longdouble("1e400")]]))
        says(error, "row 0, column 1", "too large for float64")


class Frame:
    """As much of a data frame as any library has."""

    def __init__(self, columns: dict[str, list[Any]], names: list[str] | None = None) -> None:
        self.columns = names or list(columns)
        self.values = np.array(list(columns.values()), dtype=object).T

    def to_numpy(self) -> np.ndarray:
        return self.values


class NAType:
    """Stands for pandas.NA, whose comparisons are not bools."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


BAD_X: list[tuple[Any, list[str]]] = [
    (
        np.where(np.arange(8).reshape(4, 2) > 4, np.nan, 1.0),
        ["missing values (NaN) in 3 places", "row 2, column 1", "median"],
    ),
    ([[1, 2], [np.inf, 2], [-np.inf, 1], [1, 1]], ["infinity in 2 places", "row 1, column 0", "division"]),
    (np.array([[1], [np.nan]], dtype=np.float16), ["missing values (NaN) in 1 place,", "row 1, column 0"]),
    ([["1", "2"], ["3", "nan"]], ["missing values (NaN) in 1 place,", "row 1, column 1"]),
    ([[1, None], [None, 2]], ["missing values (NaN) in 2 places,", "row 0, column 1"]),
    ([[1, "red"], [2, "blue"]], ["row 0, column 1", "'red'", "Encode"]),
    ([["1", "x"], ["2", ""]], ["row 0, column 1", "'x'"]),
    ([["1", "2"], ["2", ""]], ["row 1, column 1", "''"]),
    (Frame({"age": [1, 2], "colour": [3, "red"]}), ["row 1", "column 'colour'", "'red'"]),
    (
        Frame({"age": [1, NAType()], "b": [1, 2]}),
        ["missing values (NaN) in 1 place,", "column 'age'", "row 1"],
    ),
    (Frame({"a": [1, 2], "b": [1, 2]}, ["a", "a"]), ["two columns named 'a'"]),
    (Frame({"a": [1, np.datetime64("2020-01-01")]}), ["column 'a'", "2020", "not a number"]),
    (Frame({"a": [1, np.complex64(1j)]}), ["column 'a'", "1j", "not a number"]),
    (Frame({"a": [1, [2, 3]]}), ["column 'a'", "[2, 3]", "not a number"]),
    ([1.0, 2.0], ["two dimensions", "(2,)", "reshape(1, -1)", "reshape(-1, 1)"]),
    ("abc", ["two dimensions", "type str"]),
    ({1, 2}, ["two dimensions", "type set"]),
    (None, ["missing (None)"]),
    (np.zeros((2, 1, 1, 1, 1)), ["5 dimensions"]),
    (np.zeros((0, 3)), ["0 rows"]),
    ([], ["two dimensions", "(0,)"]),
    (np.zeros((3, 0)), ["0 columns"]),
    ([[1, 2], [3]], ["different length", "row 0 has 2", "row 1"]),
    (np.array([[1j, 2]]), ["complex", "two columns"]),
    (np.array([["2020-01-01"]], dtype="M8[D]"), ["dates", "numbers first"]),
    (np.array([[1]], dtype="m8[s]"), ["time spans"]),
    (np.ma.masked_greater(np.arange(4).reshape(2, 2), 2), ["masked array", "1 masked", "filled"]),
    (np.zeros(3, dtype=[("a", "f8"), ("b", "f8")]), ["structured", "'a', 'b'", "structured_to_unstructured"]),
    (np.zeros((1, 1), dtype="V4"), ["|V4", "astype"]),
    (scipy.sparse.csr_array([[1j, 0]]), ["sparse", "complex"]),
]


@pytest.mark.filterwarnings("ignore:.*written as text")
@pytest.mark.parametrize(("X", "words"), BAD_X)
def test_bad_rows(X: Any, words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        from_arrays(X, [0, 1])
    says(error, "X", *words)
    assert len(str(error.value)) < 400, "the array was dumped into the message"


def test_text_numbers_are_accepted_with_a_word() -> None:
    with pytest.warns(UserWarning, match="numbers written as text"):
        rows, _ = as_rows([["1", "2.5"], ["-3e2", " 4 "]])
    assert rows.tolist() == [[1, 2.5], [-300, 4]]
    with pytest.warns(UserWarning, match="numbers written as text"):
        rows, _ = as_rows(np.array([[1, "2"]], dtype=object))
    assert rows.tolist() == [[1, 2]]
    rows, _ = as_rows(np.array([[1, 2.5], [True, np.float32(4)]], dtype=object))
    assert rows.tolist() == [[1, 2.5], [1, 4]]


def test_rows_that_are_all_equal() -> None:
    with pytest.warns(UserWarning, match="no information in X"):
        from_arrays(np.ones((200, 2)), [0, 1] * 100)
    X = np.ones((200, 2))
    X[-1, 1] = 2
    from_arrays(X, [0, 1] * 100)


def test_images() -> None:
    data = from_arrays(np.zeros((4, 3, 2)) + np.arange(4)[:, None, None], [0, 1, 0, 1])
    assert data.image_shape == (3, 2)
    assert data.X.shape == (4, 6)
    colour = np.arange(2 * 3 * 2 * 3, dtype=np.uint8).reshape(2, 3, 2, 3)
    assert from_arrays(colour, [0, 1]).image_shape == (3, 2, 3)


BAD_Y: list[tuple[Any, dict[str, Any], list[str]]] = [
    ([0, 1, 0], {}, ["X has 4 rows and y has 3 labels, 1 fewer"]),
    ([0, 1, 0, 1, 0, 1], {}, ["X has 4 rows and y has 6 labels, 2 more"]),
    (["a", None, "b", None], {}, ["missing in 2 rows: 1, 3"]),
    (["a", NAType(), "b", "b"], {}, ["missing in 1 row: 1"]),
    (["a", float("nan"), "b", "b"], {}, ["missing in 1 row: 1"]),
    ([1.0, np.nan, 2.0, np.nan], {}, ["missing in 2 rows: 1, 3"]),
    ([1.0, np.inf, 2.0, 1.0], {}, ["infinite in 1 row: 1"]),
    ([[1.0, 2.0], [1.0, np.nan], [2.0, 1.0], [1.0, 1.0]], {}, ["missing in 1 row: 1"]),
    ([1, 1, 1, 1], {}, ["1 in all 4 rows", "one class", "at least two"]),
    (["a"] * 4, {}, ["'a' in all 4 rows"]),
    (["a", 1, "b", 2], {}, ["mixes kinds", "row 0 is 'a' (str), row 1 is 1 (int)"]),
    ([0.37, 1.0, 2.0, 3.0], {"task": "classification"}, ["row 0 is 0.37", "a quantity", "regression"]),
    (["a", "b", "a", "b"], {"task": "regression"}, ["row 0", "'a'", "not a number"]),
    ([[0, 1, 1], [1, 0, 0], [1, 0, 0], [0, 1, 0]], {}, ["row 0 is not one-hot", "0, 1, 1"]),
    ([[0.1, 0.9], [1, 0], [1, 0], [0, 1]], {"task": "classification"}, ["row 0 is not one-hot"]),
    (np.zeros((4, 2, 2)), {}, ["shape (n,) or (n, columns)", "(4, 2, 2)"]),
    (np.zeros((4, 0)), {}, ["shape (n,) or (n, columns)", "(4, 0)"]),
    (None, {}, ["y is missing"]),
    (3, {}, ["label for each row", "got int"]),
    (np.array([1j, 2, 1, 2]), {}, ["complex"]),
    (np.array(["2020"] * 4, dtype="M8[Y]"), {}, ["dates"]),
    (np.ma.masked_equal([0, 1, 0, 1], 1), {}, ["masked array", "2 masked"]),
    ([b"\xff", b"a", b"b", b"a"], {}, ["not UTF-8"]),
    (np.array([2**64 - 1, 0, 0, 1], dtype=np.uint64), {}, ["64-bit", "text"]),
    ([2**70, 0, 0, 1], {}, ["64 bits", "text"]),
    ([object(), object(), object(), object()], {}, ["type object"]),
    ([[1], [2], [3, 4], [5]], {}, ["different length", "row 2"]),
]


@pytest.mark.parametrize(("y", "options", "words"), BAD_Y)
def test_bad_labels(y: Any, options: dict[str, Any], words: list[str]) -> None:
    if isinstance(y, list) and any(isinstance(v, (str, bytes, float, NAType)) or v is None for v in y):
        y = np.array(y, dtype=object)  # as it comes from a frame; numpy would make it all text
    with pytest.raises(DataError) as error:
        from_arrays(X4, y, **options)
    says(error, "y", *words)


def test_bad_settings() -> None:
    with pytest.raises(UsageError) as error:
        from_arrays(X4, Y4, task="clasification")  # type: ignore[arg-type]
    says(error, "Did you mean 'classification'", "regression")
    with pytest.raises(UsageError) as error:
        from_arrays(X4, Y4, scale=0)
    says(error, "scale=0")
    with pytest.raises(UsageError) as error:
        from_arrays(X4, Y4).inputs(np.float16)
    says(error, "float32 or float64", "float16")
    with pytest.raises(UsageError) as error:
        from_arrays(X4, [0.1, 0.2, 0.3, 0.4]).codes()
    says(error, "regression")


def many(values: list[Any], times: int) -> tuple[np.ndarray, Any]:
    y = values * times
    return np.arange(len(y), dtype=float)[:, None], y


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        ([0, 1, 2, 0], "classification", (0, 1, 2)),
        ([True, False, True, False], "classification", (False, True)),
        (["b", "a", "b", "c"], "classification", ("a", "b", "c")),
        ([b"b", b"a", b"b", b"a"], "classification", ("a", "b")),
        (np.array(["b", "a", "b", "é"], dtype=object), "classification", ("a", "b", "é")),
        ([0.0, 1.0, 1.0, 0.0], "classification", (0, 1)),  # XOR
        ([3.0, 7.0, 12.0, 7.0], "regression", ()),  # 3 different values in 4 rows
        ([0.5, 1.0, 1.0, 0.5], "regression", ()),
        ([1e300, 1.0, 1.0, 1e300], "regression", ()),  # no integer holds it
        (list(map(float, range(20))) * 2, "classification", tuple(range(20))),
        (list(map(float, range(21))) * 2, "regression", ()),
        ([[1], [2], [1], [2]], "classification", (1, 2)),
        ([[1.5], [2.5], [1.5], [2.0]], "regression", ()),
        ([[0, 1], [1, 0], [0, 1], [1, 0]], "classification", (0, 1)),
        ([[0.0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]], "classification", (0, 1, 2)),
        ([[0.5, 1], [1, 0], [0, 1], [1, 0]], "regression", ()),
    ],
)
def test_recognised_task(y: Any, task: str, classes: tuple[Any, ...]) -> None:
    data = from_arrays(np.arange(len(y), dtype=float)[:, None], y)
    assert (data.task, data.classes) == (task, classes)
    assert [type(c) for c in data.classes] == [type(c) for c in classes]
    hot = data.targets(np.float64)
    assert hot.dtype == np.float64
    assert hot.flags.c_contiguous
    if task == "classification":
        assert data.y.ndim == 1
        assert data.y.dtype.kind in "biU"
        assert hot.shape == (len(y), len(classes))
        assert (hot.sum(axis=1) == 1).all()
        assert [classes[k] for k in hot.argmax(axis=1)] == data.y.tolist()
        assert data.codes().tolist() == hot.argmax(axis=1).tolist()
    else:
        assert data.y.dtype.kind == "f"
        assert hot.tolist() == np.asarray(y).reshape(len(y), -1).tolist()


def test_task_overrides() -> None:
    data = from_arrays(X4, [1, 2, 3, 4], task="regression")
    assert (data.task, data.y.dtype, data.classes) == ("regression", np.dtype("f8"), ())
    assert data.targets().shape == (4, 1)
    assert from_arrays(X4, [3.0, 7.0, 12.0, 7.0], task="classification").classes == (3, 7, 12)
    assert from_arrays(X4, [[0, 1], [1, 0]] * 2, task="regression").y.shape == (4, 2)
    assert from_arrays(X4, [[0, 2], [1, 1]] * 2, task="regression").targets().shape == (4, 2)
    with pytest.warns(UserWarning, match="written as text"):
        assert from_arrays(X4, ["1.5", "2", "3", "4"], task="regression").y.tolist() == [1.5, 2, 3, 4]
    assert from_arrays(X4, [1, 1, 1, 1], task="regression").task == "regression"


def test_a_quantity_taken_as_classes_is_told() -> None:
    X = np.arange(40.0)[:, None]
    with pytest.warns(UserWarning, match="40 different labels in 40 rows.*task='regression'"):
        from_arrays(X, np.arange(40))


def test_test_part() -> None:
    data = from_arrays(X4, Y4, test=(X4[:2] + 1, ["b", "b"]))
    assert data.test is not None
    assert data.test.targets().tolist() == [[0, 1], [0, 1]]
    assert data.test.scale == data.scale
    for test, words in (
        ((X4[:, :1], Y4), ["X_test has 1 columns", "X has 2 columns"]),
        ((X4, ["a", "b", "z", "b"]), ["y_test in row 2 is 'z'", "'a', 'b'", "does not have"]),
        ((X4, Y4[:2]), ["X_test has 4 rows and y_test has 2 labels"]),
        ((X4 * np.nan, Y4), ["X_test has missing values"]),
    ):
        with pytest.raises(DataError) as error:
            from_arrays(X4, Y4, test=test)
        says(error, *words)


# ------------------------------------------------------------------------------------------------- scaling


def test_bytes_are_scaled_as_by_division() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for kind in (np.float32, np.float64):
        got = scaled(values, 1 / 255, kind)
        assert got[15, 15] == 1
        np.testing.assert_allclose(got, values / 255, rtol=np.finfo(kind).eps)
        assert got.dtype == kind


def test_too_large_for_float32() -> None:
    data = from_arrays([[1.0, 2.0], [3.0, -1e200]], [0, 1])
    assert data.inputs(np.float64)[1, 1] == -1e200
    with pytest.raises(DataError) as error:
        data.inputs(np.float32)
    says(error, "X in row 1, column 1", "-1e+200", "float32", "train in float64")
    with pytest.raises(DataError) as error:
        from_arrays(X4, [0.5, 1e200, 1.0, 2.0]).targets(np.float32)
    says(error, "y in row 1, column 0", "1e+200")


# ---------------------------------------------------------------------------------------- split and orders


def test_split_is_a_partition_and_a_function_of_the_seed() -> None:
    for n in (3, 10, 101, 1797):
        parts = split(n, 0.2, 0.3, seed=5)
        _, validation, test = parts
        assert sorted(np.concatenate(parts).tolist()) == list(range(n))
        assert len(validation) == int(n * 0.2 + 0.5)
        assert len(test) == int(n * 0.3 + 0.5)
        for part, again in zip(parts, split(n, 0.2, 0.3, seed=5), strict=True):
            assert part.dtype == np.int64
            assert part.tolist() == sorted(part.tolist()) == again.tolist()
    assert split(100, 0.5, seed=1)[0].tolist() != split(100, 0.5, seed=2)[0].tolist()
    assert [len(part) for part in split(7, seed=0)] == [7, 0, 0]


def test_split_known_answer() -> None:
    """Bits that another version of NumPy must give again: a recorded run depends on them."""
    _, validation, test = split(12, 0.25, 0.25, seed=2**63 + 1)
    assert (validation.tolist(), test.tolist()) == ([1, 5, 8], [0, 3, 4])
    assert epoch_order(8, seed=3, epoch=2).tolist() == [0, 7, 3, 6, 1, 4, 2, 5]


def test_split_stratified() -> None:
    y = np.array(["a"] * 700 + ["b"] * 250 + ["c"] * 50)[np.random.default_rng(0).permutation(1000)]
    for part, size in zip(split(y, 0.1, 0.2, seed=0), (700, 100, 200), strict=True):
        assert len(part) == size
        names, counts = np.unique(y[part], return_counts=True)
        assert names.tolist() == ["a", "b", "c"]
        np.testing.assert_allclose(counts / size, [0.7, 0.25, 0.05], atol=1e-9)
    plain = split(y, 0.1, 0.2, seed=0, stratify=False)
    assert [p.tolist() for p in plain] == [p.tolist() for p in split(1000, 0.1, 0.2, seed=0)]
    quantity = np.random.default_rng(0).random(1000)
    assert split(quantity, 0.1, 0.2, seed=0)[2].tolist() == plain[2].tolist()


def test_split_represents_each_class_where_it_can() -> None:
    rng = np.random.default_rng(7)
    for trial in range(600):
        counts = rng.choice([1, 2, 3, 4, 9, 60], rng.integers(2, 8))
        y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        fractions = rng.uniform(0.02, 0.45 + 0.4 * (trial % 2), 2)
        sizes = [int(len(y) * f + 0.5) for f in fractions]
        if min(sizes) == 0 or sum(sizes) >= len(y) or sum(fractions) >= 1:
            continue
        parts = split(y, *fractions, seed=trial)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(y)))
        assert [len(p) for p in parts[1:]] == sizes
        train, validation, test = (set(y[p].tolist()) for p in parts)
        for label, count in enumerate(counts):
            if len(parts[0]) >= len(counts):
                assert label in train, (counts, fractions)
            # a part with a place for each class has each class that has a row to spare
            if min(sizes) >= len(counts) and count >= 3 and len(parts[0]) >= len(counts):
                assert label in validation, (counts, fractions)
                assert label in test, (counts, fractions)


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        ((10, -0.1), UsageError, ["validation=-0.1", "0 <= validation < 1"]),
        ((10, 0.0, 1.0), UsageError, ["test=1.0"]),
        ((10, float("nan")), UsageError, ["validation=nan"]),
        ((10, 0.5, 0.5), UsageError, ["no rows to train on"]),
        ((3, 0.1), DataError, ["validation=0.1 of 3 rows", "would be empty", "0.17"]),
        ((2, 0.45, 0.45), DataError, ["train would be empty"]),
        ((0, 0.5), DataError, ["no rows"]),
        (("abc", 0.5), UsageError, ["'abc'"]),
        ((True, 0.5), UsageError, ["True"]),
    ],
)
def test_split_errors(args: tuple[Any, ...], kind: type[Exception], words: list[str]) -> None:
    with pytest.raises(kind) as error:
        split(*args, seed=0)
    says(error, *words)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "1", None])
def test_bad_seeds(seed: Any) -> None:
    for call in (
        lambda: split(5, 0.2, seed=seed),
        lambda: epoch_order(5, seed, 0),
        lambda: orders(5, 1, 1, seed),
    ):
        with pytest.raises(UsageError) as error:
            call()
        says(error, "seed=", "2**64 - 1")


def test_shuffles() -> None:
    for n in (1, 2, 3, 64, 65, 1000):
        for epoch in range(3):
            rows = epoch_order(n, seed=9, epoch=epoch)
            assert rows.dtype == np.int64
            assert sorted(rows.tolist()) == list(range(n))
    seen = {tuple(epoch_order(50, s, e)) for s in range(5) for e in range(5)}
    assert len(seen) == 25
    # epoch 7 does not need the epochs before it
    alone = epoch_order(50, 1, 7)
    in_turn = [rows for rows, _ in orders(50, 8, 8, 1)][7]
    assert alone.tolist() == in_turn.tolist()


def test_shuffles_are_even() -> None:
    """Each row comes first, and each of the 24 orders of 4 comes, as often as it should (chi-squared)."""
    tables = np.array([epoch_order(4, 0, epoch) for epoch in range(4800)])
    _, counts = np.unique(tables @ [1000, 100, 10, 1], return_counts=True)
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 71  # 23 degrees of freedom
    first = np.bincount([epoch_order(10, seed, 3)[0] for seed in range(2000)], minlength=10)
    assert ((first - 200) ** 2 / 200).sum() < 45  # 9 degrees of freedom
    # the split says nothing about the order of epoch 0
    assert set(split(64, 0.5, seed=0)[1].tolist()) != set(epoch_order(64, 0, 0)[:32].tolist())


def test_explicit_orders() -> None:
    assert epoch_order(4, 0, 9, "sequential").tolist() == [0, 1, 2, 3]
    assert epoch_order(4, 0, 9, [3, 3, 0]).tolist() == [3, 3, 0]
    table = np.array([[0, 1], [3, 2]], dtype=np.uint8)
    assert epoch_order(4, 0, 1, table).tolist() == [3, 2]
    assert epoch_order(4, 0, 1, table).dtype == np.int64
    assert epoch_order(4, 0, 2, lambda epoch: [epoch, 0]).tolist() == [2, 0]
    mine = np.array([0, 1])
    assert not np.shares_memory(epoch_order(4, 0, 0, mine), mine)


BAD_ORDERS: list[tuple[Any, type[Exception], list[str]]] = [
    ([0, 4], DataError, ["order[1] is 4", "0 to 3"]),
    ([0, -1, 9], DataError, ["order[1] is -1", "2 numbers are out of range"]),
    ([[0, 1], [2, 7]], DataError, ["order[1, 1] is 7"]),
    ([[0, 1]], UsageError, ["rows for 1 epochs", "epoch 1"]),
    ([[], []], DataError, ["empty"]),
    ([], DataError, ["empty"]),
    ([[[1]], [[1]]], DataError, ["shape (m,) or (epochs, m)"]),
    ([0.0, 1.0], DataError, ["whole row numbers", "float64"]),
    ([True, False, True, True], DataError, ["bool", "flatnonzero"]),
    ([[1, 2], [3]], DataError, ["differ in length"]),
    ("sequental", UsageError, ["Did you mean 'sequential'"]),
    (lambda epoch: [5], DataError, ["order(1)[0] is 5"]),
    (lambda epoch: [], DataError, ["order(1) is empty"]),
    (lambda epoch: [[1, 2]], DataError, ["order(1)", "(1, 2)"]),
]


@pytest.mark.parametrize(("order", "kind", "words"), BAD_ORDERS)
def test_bad_orders(order: Any, kind: type[Exception], words: list[str]) -> None:
    with pytest.raises(kind) as error:
        epoch_order(4, 0, 1, order)
    says(error, *words)
    if not callable(order):
        with pytest.raises(kind):
            orders(4, 2, 2, 0, order)  # at the call, not at the epoch


def test_batches() -> None:
    assert batch_starts(10, 4).tolist() == [0, 4, 8, 10]
    assert batch_starts(8, 4).tolist() == [0, 4, 8]
    assert batch_starts(3, 100).tolist() == batch_starts(3, 2**70).tolist() == [0, 3]
    assert batch_starts(1, 1).tolist() == [0, 1]
    assert batch_starts(10, np.int32(4)).dtype == np.int64
    for n in range(1, 30):
        for batch in range(1, 35):
            assert (np.diff(batch_starts(n, batch)) >= 1).all()
    for bad in (0, -1, 1.5, True, "4"):
        with pytest.raises(UsageError) as error:
            batch_starts(10, bad)  # type: ignore[arg-type]
        says(error, f"batch={bad!r}", "1 or more")
    with pytest.raises(UsageError) as error:
        batch_starts(0, 4)
    says(error, "n=0")
    with pytest.raises(UsageError) as error:
        orders(4, 2, -1, 0)
    says(error, "epochs=-1")
    assert [starts.tolist() for _, starts in orders(9, 2, 1, 0, order=[1, 2, 3])] == [[0, 2, 3]]


# -------------------------------------------------------------------------------------------- the real one


def test_mnist() -> None:
    folder = SHARED / "mnist"
    if not folder.is_dir():
        pytest.skip(f"MNIST is not at {folder}; set BACKPASS_DATA to the folder that has mnist/ in it")
    data = load(folder)
    assert data.X.shape == (60_000, 784)
    assert data.X.dtype == np.uint8
    assert np.bincount(data.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.image_shape == (28, 28)
    assert data.test is not None
    assert data.test.X.shape == (10_000, 784)
    assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert round(float(data.X.mean()) / 255, 4) == 0.1307  # the mean that everyone normalises by
    assert load_rows(folder).shape == (10_000, 784)


@pytest.mark.parametrize(
    "name", ["arrays", "bundled", "dataset", "frames", "images", "sources", "sparse", "split"]
)
def test_examples(name: str) -> None:
    importlib.import_module(f"backpass.data.{name}")
    failed, tried = doctest.testmod(sys.modules[f"backpass.data.{name}"])
    assert tried > 0
    assert failed == 0


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, backpass.data; print([m for m in ('sklearn', 'scipy', 'llvmlite') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(REPO / "src")},
    )  # fmt: skip
    assert run.stdout.strip() == "[]"
