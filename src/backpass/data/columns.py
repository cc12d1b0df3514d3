"""How one raw column becomes input columns: what is counted in the training rows, and what is made of it.

Counting goes by blocks of rows (`Tally`), so that a table of any size is fitted in one pass; what comes out
is a plain dict (an *encoding*), which is all that a prediction needs, and all that is written down.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.data.table import Array, Kind

Encoding = dict[str, Any]
Floats = NDArray[np.float64]

#: A column of words with more different ones keeps the most frequent; the rest is one column, "other".
MOST_LEVELS = 50
#: A column of numbers, none negative, that leans further than this to small values enters as log(1 + x).
SKEWED = 2.0
#: The median is taken from so many training rows, at most.
SAMPLE = 100_000
#: Different words that are counted; a column with more has an identifier in it.
MOST_WORDS = 200_000
#: A number that goes along with the target so closely is said to give it away.
TELLS = 0.999
#: So many different words that are numbers may well be codes; more are told of.
FEW_NUMBERS = 20

_ID = re.compile(r"(^|[ _.-])(id|ids|index|idx|uuid|guid|key|row|nr|no|number|#)$|^unnamed", re.IGNORECASE)
_DAY = np.timedelta64(1, "D")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Sums:
    """Count, mean, variance, skewness of values that come in blocks; all shifted, for precision."""

    def __init__(self) -> None:
        self.n, self.shift = 0, 0.0
        self.s1 = self.s2 = self.s3 = 0.0

    def add(self, values: Floats) -> Floats:
        """Add a block without holes, give back the shifted values."""
        if not self.n:
            self.shift = float(values.mean())
        v = values - self.shift
        square = v * v
        self.n += len(v)
        self.s1, self.s2 = self.s1 + float(v.sum()), self.s2 + float(square.sum())
        self.s3 += float((square * v).sum())
        return v

    @property
    def mean(self) -> float:
        return self.shift + self.s1 / self.n

    @property
    def std(self) -> float:
        """Over n, not n - 1."""
        return float(np.sqrt(max(self.s2 / self.n - (self.s1 / self.n) ** 2, 0.0)))

    @property
    def skewness(self) -> float:
        m = self.s1 / self.n
        third = self.s3 / self.n - 3 * m * self.s2 / self.n + 2 * m**3
        return third / self.std**3 if self.std > 0 else 0.0


class Tally:
    """What is counted of one column in the training rows.

    Parameters
    ----------
    name : str
    kind : {"number", "text", "date", "bool"}
    rows : int
        Training rows that will come.
    targets : int
        Columns of the target: classes, or quantities.
    classes : bool
        Whether the target has classes.
    """

    def __init__(self, name: str, kind: Kind, rows: int, targets: int, classes: bool) -> None:
        self.name, self.kind, self.rows, self.classes = name, kind, rows, classes
        self.plain, self.logged = Sums(), Sums()
        self.low, self.high = np.inf, -np.inf
        self.whole = self.rising = True
        self.last = -np.inf
        self.holes = self.seen = 0
        self.sample: list[Array] = []
        self.words: Counter[Any] = Counter()
        self.too_many = False
        self.class_of: dict[Any, int] = {}  # of a word, while it has one class only
        self.mixed = False
        self.range = np.array([[np.inf] * targets, [-np.inf] * targets])
        self.cross, self.target = np.zeros(targets), [Sums() for _ in range(targets)]
        self.days: set[int] = set()
        self.clock = False
        self._stride = max(1, -(-rows // SAMPLE))

    def add(self, values: Array, target: Array) -> None:
        """Count a block: the values of some training rows, and their class numbers (n,) or targets (n, k)."""
        if self.kind == "text":
            self._add_words(values, target)
        else:
            if self.kind == "date":
                self._add_dates(values)
                values = as_days(values)
            self._add_numbers(values.astype(np.float64, copy=False), target)

    def _add_numbers(self, values: Floats, target: Array) -> None:
        there = ~np.isnan(values)
        self.holes += int(len(values) - there.sum())
        v = values if there.all() else values[there]
        t = target if there.all() else target[there]
        first = (-self.seen) % self._stride
        self.sample.append(v[first :: self._stride].copy())  # a view would keep the block
        self.seen += len(v)
        if not len(v):
            return
        self.low, self.high = min(self.low, float(v.min())), max(self.high, float(v.max()))
        self.whole = self.whole and bool((v == np.floor(v)).all())
        self.rising = self.rising and v[0] > self.last and bool((np.diff(v) > 0).all())
        self.last = float(v[-1])
        shifted = self.plain.add(v)
        if self.low >= 0:
            self.logged.add(np.log1p(v))
        if self.classes:
            np.minimum.at(self.range[0], t, v)
            np.maximum.at(self.range[1], t, v)
        else:
            for k, sums in enumerate(self.target):
                self.cross[k] += float(shifted @ sums.add(t[:, k]))

    def _add_words(self, values: Array, target: Array) -> None:
        counts = Counter(values.tolist())
        self.holes += counts.pop(None, 0)
        self.seen += sum(counts.values())
        if self.too_many:
            return
        self.words.update(counts)
        self.too_many = len(self.words) > MOST_WORDS
        if self.classes and not self.mixed:
            for word, label in set(zip(values.tolist(), target.tolist(), strict=True)):
                if word is not None and self.class_of.setdefault(word, label) != label:
                    self.mixed = True
                    break

    def _add_dates(self, values: Array) -> None:
        real = values[~np.isnat(values)]
        self.days |= set(((real.astype("datetime64[D]").astype(np.int64) + 3) % 7).tolist())
        self.clock = self.clock or bool((real != real.astype("datetime64[D]")).any())

    # ------------------------------------------------------------------------------------- what comes of it

    def encoding(self, warn: list[str]) -> Encoding | str:
        """The encoding of the column, or why it is left out; what a person should know goes to `warn`."""
        if not self.seen:
            return "has no values in the training rows"
        self._tells(warn)
        if self.kind == "text":
            return self._category(warn)
        if self.low == self.high and not self.holes:
            return f"is {self._shown(self.low)} in all training rows"
        if self.kind == "bool":
            return {"name": self.name, "how": "bool"}
        sample = np.concatenate(self.sample)
        if self.kind == "date":
            return self._date(sample)
        distinct = self.rising or len(np.unique(sample)) == len(sample)
        if self.whole and distinct and self.seen >= 20 and not self.holes:
            if _ID.search(self.name.strip()):
                return "numbers the rows (its name says so, and no value comes twice)"
            if self.rising:
                warn.append(
                    f"column {self.name!r} rises by every row: if it only numbers the rows, leave it out."
                )
        log = self._takes_log()
        sums = self.logged if log else self.plain
        fill = float(np.median(sample))
        constant = self.low == self.high
        return {
            "name": self.name, "how": "number", "log": log, "mean": sums.mean,
            "std": 1.0 if constant or sums.std == 0 else sums.std, "fill": fill, "holes": self.holes > 0,
            "constant": constant,
        }  # fmt: skip

    def _shown(self, value: float) -> str:
        if self.kind == "bool":
            return str(bool(value)).lower()
        if self.kind == "date":
            return str(np.datetime64(round(value * 86_400_000_000), "us"))
        return f"{value:.6g}"

    def _takes_log(self) -> bool:
        if self.low < 0 or self.logged.n != self.plain.n:
            return False
        return self.plain.skewness > SKEWED and abs(self.logged.skewness) < self.plain.skewness

    def _category(self, warn: list[str]) -> Encoding | str:
        n, different = self.seen, len(self.words)
        written = different > FEW_NUMBERS and all(map(_is_number, islice(self.words, 1000)))
        if self.too_many or (different > MOST_LEVELS and different > 0.9 * n):
            return f"holds {different:,} different words in {n:,} rows, as names and identifiers do" + (
                ", and they are numbers written as text: convert the column if it is a quantity"
                if written
                else ""
            )
        if written:
            warn.append(
                f"column {self.name!r} holds numbers written as text, such as {next(iter(self.words))!r}: "
                "they are taken as words. Convert the column if it is a quantity."
            )
        if different == 1 and not self.holes:
            return f"is {next(iter(self.words))!r} in all training rows"
        levels, other = sorted(self.words), False
        if different > MOST_LEVELS:
            often = sorted(self.words, key=lambda word: (-self.words[word], word))[:MOST_LEVELS]
            levels, other = sorted(often), True
            kept = sum(self.words[word] for word in often)
            warn.append(
                f"column {self.name!r} has {different:,} different words: the {MOST_LEVELS} most frequent "
                f"have a column each, the others ({(n - kept) / n:.1%} of the rows) share one."
            )
        return {
            "name": self.name,
            "how": "category",
            "levels": levels,
            "other": other,
            "holes": self.holes > 0,
        }

    def _date(self, sample: Floats) -> Encoding:
        parts = []
        if self.high - self.low > 60:
            parts.append("season")
        if len(self.days) > 1:
            parts.append("weekday")
        if self.clock:
            parts.append("hour")
        return {
            "name": self.name, "how": "date", "mean": self.plain.mean, "std": self.plain.std or 1.0,
            "fill": float(np.median(sample)), "parts": parts, "holes": self.holes > 0,
        }  # fmt: skip

    def _tells(self, warn: list[str]) -> None:
        """Whether the column alone gives the target away."""
        told = False
        if self.seen >= 20 and self.kind == "text":
            told = self.classes and not self.mixed and 1 < len(self.words) <= self.seen / 5
        elif self.seen >= 20 and self.classes:
            low, high = (bound[np.isfinite(bound)] for bound in self.range)
            order = np.argsort(low)
            told = len(low) > 1 and bool((high[order][:-1] < low[order][1:]).all())
        elif self.seen >= 20:
            told = any(abs(c) > TELLS for c in self._correlations())
        if told and self.kind != "date":
            warn.append(
                f"column {self.name!r} alone tells the target in the training rows. Is it known at the time "
                "of a prediction? If not, leave it out."
            )

    def _correlations(self) -> list[float]:
        out, n = [], self.plain.n
        for cross, sums in zip(self.cross, self.target, strict=True):
            scale = self.plain.std * sums.std
            out.append((cross / n - self.plain.s1 * sums.s1 / n**2) / scale if scale > 0 else 0.0)
        return out


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def as_days(values: Array) -> Floats:
    """Dates as days since 1970-01-01, holes as NaN."""
    days = values.astype("datetime64[us]").astype(np.int64) / 86_400_000_000
    return np.where(np.isnat(values), np.nan, days)


def column_names(encoding: Encoding) -> list[str]:
    """The names of the input columns that an encoding makes, in order."""
    name, how = encoding["name"], encoding["how"]
    if how == "bool":
        return [name]
    if how == "number":
        names = [] if encoding["constant"] else [f"log1p({name})" if encoding["log"] else name]
    elif how == "category":
        names = [f"{name}={level}" for level in encoding["levels"]]
        if encoding["other"]:
            names.append(f"{name}: other")
    else:
        names = [name]
        if "season" in encoding["parts"]:
            names += [f"{name}: sin(year)", f"{name}: cos(year)"]
        if "weekday" in encoding["parts"]:
            names += [f"{name}: {day}" for day in _WEEKDAYS]
        if "hour" in encoding["parts"]:
            names += [f"{name}: sin(day)", f"{name}: cos(day)"]
    return names + ([f"{name}: missing"] if encoding["holes"] else [])


def encode(encoding: Encoding, values: Array, out: Array) -> tuple[int, Any]:
    """Write the input columns of a raw column into `out`, shape (n, k).

    Returns
    -------
    unknown : int
        Rows whose word or hole the training rows did not have.
    first : object
        The first such word; None for a hole.
    """
    how = encoding["how"]
    if how == "bool":
        filled = np.where(np.isnan(v := values.astype(np.float64)), 0.5, v)
        out[:, 0] = filled
        return int(np.isnan(v).sum()), None
    if how == "category":
        return _encode_words(encoding, values, out)
    v = as_days(values) if how == "date" else values.astype(np.float64)
    hole = np.isnan(v)
    if hole.any():
        v = np.where(hole, encoding["fill"], v)
    if how == "number":
        if not encoding["constant"]:
            w = np.log1p(np.maximum(v, 0)) + np.minimum(v, 0) if encoding["log"] else v
            out[:, 0] = (w - encoding["mean"]) / encoding["std"]
    else:
        out[:, 0] = (v - encoding["mean"]) / encoding["std"]
        _encode_date(encoding["parts"], v, out)
    if encoding["holes"]:
        out[:, -1] = hole
        return 0, None
    return int(hole.sum()), None


def _encode_words(encoding: Encoding, values: Array, out: Array) -> tuple[int, Any]:
    levels = encoding["levels"]
    place = {level: at for at, level in enumerate(levels)}
    if encoding["holes"]:
        place[None] = out.shape[1] - 1
    rest = len(levels) if encoding["other"] else -1
    words = values.tolist()
    at = np.fromiter((place.get(word, rest) for word in words), dtype=np.int64, count=len(words))
    out[...] = 0
    known = np.flatnonzero(at >= 0)
    out[known, at[known]] = 1
    unknown = np.flatnonzero(at < 0)
    return len(unknown), words[unknown[0]] if len(unknown) else None


def _encode_date(parts: list[str], days: Floats, out: Array) -> None:
    at = 1
    if "season" in parts:
        turn = 2 * np.pi * days / 365.2425
        out[:, at], out[:, at + 1] = np.sin(turn), np.cos(turn)
        at += 2
    if "weekday" in parts:
        weekday = (np.floor(days).astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        out[:, at : at + 7] = weekday[:, None] == np.arange(7)
        at += 7
    if "hour" in parts:
        turn = 2 * np.pi * (days - np.floor(days))
        out[:, at], out[:, at + 1] = np.sin(turn), np.cos(turn)
