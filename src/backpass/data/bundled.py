"""Data sets that come with backpass: five of scikit-learn's, and small ones that are made here.

What is made is a function of the name alone: the random bits are Philox's, and coordinates are rounded to
four decimals, so that a difference in the last bit of a sine between machines changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.data.arrays import build
from backpass.data.dataset import Array, Dataset
from backpass.data.table import Table
from backpass.errors import UsageError, nearest

#: Rows and noise of the three sets in the plane, where the name does not say.
ROWS, NOISE = 1000, {"moons": 0.15, "circles": 0.08, "spirals": 0.1}

_STORIES = {
    "digits": "1,797 handwritten digits of 8 x 8 grey pixels: which digit is it? (scikit-learn; NIST)",
    "iris": "150 irises measured in centimetres: which of three species? (Fisher 1936)",
    "wine": "178 wines by 13 chemical measurements: which of three cultivars? (Forina 1988)",
    "breast_cancer": "569 tumours by 30 measurements of cell nuclei: benign or malignant? (Wolberg 1993)",
    "diabetes": "442 patients by 10 measurements: how far has the disease gone a year on? (Efron 2004)",
    "company": (
        "Two salespeople report orders, three managers judge both reports (7 in all at least, 7 each at "
        "most), one CEO accepts if all three consent: a 2-3-1 net"
    ),
    "xor": "Four rows: is exactly one of the two inputs 1? What no net without a hidden layer can learn.",
    "parity-3": "All words of n bits (parity-2 to parity-12): is the number of ones odd? (Rumelhart 1986)",
    "encoder-8": (
        "n rows with a single 1 (encoder-2 to encoder-256), to be given back through few hidden units: "
        "8-3-8 finds a code of three bits (Rumelhart 1986)"
    ),
    "symmetry": "All 64 words of six bits: does the second half mirror the first? (Rumelhart 1986)",
    "moons": "1,000 points of two half moons that reach into each other (moons:500:0.2: rows, noise)",
    "circles": "1,000 points of two rings, one inside the other (circles:500:0.2: rows, noise)",
    "spirals": "1,000 points of two spirals that wind around each other (spirals:500:0.2: rows, noise)",
}

BUNDLED = tuple(_STORIES)
"""Names that `load` takes besides paths; of parity and encoder any size, e.g. parity-4."""


def find(name: str) -> Callable[[], Dataset] | None:
    """What makes the bundled set of this name; None if no name of ours is meant.

    Raises
    ------
    UsageError
        A name of ours with a size, a number of rows or a noise that is not possible.

    Examples
    --------
    >>> find("parity-4")()
    Dataset('parity-4', classification, 16 rows x 4 columns, 2 classes)
    >>> find("my.csv") is None
    True
    """
    plain = name.lower().replace("_", "-")
    sized = re.fullmatch(r"(parity|encoder)-?(\d{1,9})?", plain)
    if sized:
        kind, size = sized[1], int(sized[2] or {"parity": 3, "encoder": 8}[sized[1]])
        most = {"parity": 12, "encoder": 256}[kind]
        if not 2 <= size <= most:
            raise UsageError(f"{name}: give {kind}-2 to {kind}-{most}, e.g. {kind}-4.")
        make = {"parity": _parity, "encoder": _encoder}[kind]
        return lambda: make(size)
    shape = re.fullmatch(r"(moons|circles|spirals)((?::[^:]*)*)", plain)
    if shape:
        return lambda: _plane(shape[1], *_rows_and_noise(name, shape[1], shape[2].split(":")[1:]))
    makers: dict[str, Callable[[], Dataset]] = {
        "digits": _digits,
        "iris": lambda: _measured("iris", "species"),
        "wine": lambda: _measured("wine", "cultivar"),
        "breast-cancer": lambda: _measured("breast_cancer", "diagnosis"),
        "diabetes": lambda: _measured("diabetes", "progression"),
        "company": _company,
        "xor": _xor,
        "symmetry": _symmetry,
    }
    return makers.get(plain)


def describe(name: str) -> str:
    """One line on what a bundled set is.

    Raises
    ------
    UsageError

    Examples
    --------
    >>> describe("iris")
    'iris: 150 irises measured in centimetres: which of three species? (Fisher 1936)'
    """
    for key, story in _STORIES.items():
        if isinstance(name, str) and key.replace("_", "-") == name.lower().replace("_", "-"):
            return f"{key}: {story}"
    make = find(name) if isinstance(name, str) else None
    if make is None:
        raise UsageError(f"there is no bundled data set {name!r}. {nearest(str(name), BUNDLED)}")
    data = make()
    return f"{data.name}: {data.story}"


def _arrays(name: str, X: Any, y: Any, suggests: tuple[int, ...], like: str, **more: Any) -> Dataset:
    data = build(X, y, name, source=name, copy=False, scale=more.pop("scale", 1.0))
    return replace(data, story=_STORIES[like], suggests=suggests, **more)


def _table(name: str, columns: dict[str, Any], target: str, suggests: tuple[int, ...]) -> Dataset:
    from backpass.data.frames import table_dataset

    data = table_dataset(Table.from_columns(columns), (target,), name=name, source=name)
    return replace(data, story=_STORIES[name], suggests=suggests)


# ---------------------------------------------------------------------------------------- scikit-learn's


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # heavy: only where it is asked for

    bunch = load_digits()
    X, y = bunch.data, bunch.target
    return _arrays("digits", X, y, (), "digits", scale=1 / 16, image_shape=(8, 8))


def _measured(name: str, target: str) -> Dataset:
    """One of scikit-learn's tables, in its own units, with words for classes."""
    from sklearn import datasets

    load = getattr(datasets, f"load_{name}")
    bunch = load(scaled=False) if name == "diabetes" else load()
    names = [str(column).replace(" ", "_").replace("_(cm)", "_cm") for column in bunch.feature_names]
    columns: dict[str, Any] = dict(zip(names, bunch.data.T, strict=True))
    classes = getattr(bunch, "target_names", None)
    columns[target] = bunch.target if classes is None else np.asarray(classes)[bunch.target]
    return _table(name, columns, target, ())


# --------------------------------------------------------------------------------------------- the company


def _company() -> Dataset:
    """The net of two salespeople, three managers and one CEO, as a table of 121 weeks.

    The salespeople of north and south report orders, 0 to 10 each; every pair of reports is one row. Three
    managers look at the same two reports, each for a reason of their own: *finance* wants at least 7 orders
    in all; the head of *north* can deliver at most 7 orders there, the head of *south* at most 7 as well. The
    CEO says yes only if all three consent.

    Each manager draws one straight line, so one manager is one hidden unit, and the CEO's yes is the triangle
    between three lines: a 2-3-1 net is just enough, and two hidden units are too few.
    """
    north, south = (part.reshape(-1).astype(np.float64) for part in np.mgrid[0:11, 0:11])
    yes = (north + south >= 7) & (north <= 7) & (south <= 7)
    columns = {"north": north, "south": south, "accept": np.where(yes, "yes", "no")}
    return _table("company", columns, "accept", (3,))


# ------------------------------------------------------------------------------------- the tasks of 1986


def _words(bits: int) -> NDArray[np.float64]:
    """All words of so many bits, in the order of counting, shape (2**bits, bits)."""
    numbers = np.arange(2**bits)[:, None]
    return ((numbers >> np.arange(bits)[::-1]) & 1).astype(np.float64)


def _xor() -> Dataset:
    X = _words(2)
    return _arrays("xor", X, (X.sum(axis=1) % 2).astype(np.int64), (4,), "xor")


def _parity(bits: int) -> Dataset:
    X = _words(bits)
    odd = (X.sum(axis=1) % 2).astype(np.int64)
    return _arrays(f"parity-{bits}", X, odd, (2 * bits,), "parity-3")


def _encoder(size: int) -> Dataset:
    hidden = max(1, int(np.ceil(np.log2(size))))
    return _arrays(f"encoder-{size}", np.eye(size), np.arange(size), (hidden,), "encoder-8")


def _symmetry() -> Dataset:
    X = _words(6)
    return _arrays("symmetry", X, (X[:, ::-1] == X).all(axis=1).astype(np.int64), (6,), "symmetry")


# --------------------------------------------------------------------------------------------- the plane


def _rows_and_noise(name: str, kind: str, given: list[str]) -> tuple[str, int, float]:
    try:
        rows = int(given[0]) if given else ROWS
        noise = float(given[1]) if len(given) > 1 else NOISE[kind]
    except ValueError:
        rows, noise = 0, 0.0
    if not (10 <= rows <= 10**6 and 0 <= noise <= 10) or len(given) > 2:
        raise UsageError(
            f"{name}: give {kind}, {kind}:ROWS or {kind}:ROWS:NOISE, with 10 to 1,000,000 rows and noise "
            f"from 0 to 10, e.g. {kind}:500:0.2."
        )
    return ":".join([kind, *given]), rows, noise


def _plane(kind: str, name: str, rows: int, noise: float) -> Dataset:
    """Two classes of points that no straight line parts; as even in number as they can be."""
    y = np.arange(rows) % 2
    bits = np.random.Philox(key=np.array([1986, len(kind)], dtype=np.uint64))
    raw = bits.random_raw(3 * rows).reshape(3, rows) >> np.uint64(11)
    along, radius, angle = (raw + np.float64(0.5)) / 2**53  # never 0: a logarithm follows
    if kind == "moons":
        turn = np.pi * along
        points = np.where(y == 0, (np.cos(turn), np.sin(turn)), (1 - np.cos(turn), 0.5 - np.sin(turn)))
    elif kind == "circles":
        turn = 2 * np.pi * along
        points = np.where(y == 0, 1.0, 0.5) * (np.cos(turn), np.sin(turn))
    else:  # one and a half turns, and the other class half a turn on
        far = 0.3 + 3 * np.sqrt(along)
        turn = np.pi * far + np.pi * y
        points = far * np.array((np.cos(turn), np.sin(turn)))
    # Box and Muller (1958): two even numbers make two normal ones.
    spread = noise * np.sqrt(-2 * np.log(radius))
    points = points + spread * (np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle))
    X: Array = np.round(points.T, 4) + 0.0  # no -0.0
    return _arrays(name, X, y, {"spirals": (32, 32)}.get(kind, (8,)), kind)
