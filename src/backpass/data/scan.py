"""DuckDB reads the bytes; what they mean, and what is said when they mean nothing, is ours.

All columns of a file of text come as text. Their kinds are guessed from the first rows, and the cast to that
kind runs inside DuckDB in the one scan that brings the values; a cell that does not fit becomes a mark
(infinity, the year 9999), so that a column that turns out different is seen at no cost and looked into alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backpass.data.sniff import HOLES, is_hole, is_number, not_text
from backpass.data.table import Array, Kind, warn_rounded
from backpass.errors import DataError, StorageError, UsageError

#: A kind of column, and for dates the way they are written.
Reading = tuple[Kind, str]

#: How dates are written besides ISO 8601, which is tried first.
DATE_FORMS = (
    "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S",
    "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%b %d, %Y", "%d-%b-%Y",
)  # fmt: skip

_ISO = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}(:?\d{2})?)?")
_MARK = "9999-12-31 23:59:58"  # a date that does not fit
_MARKED = np.datetime64(_MARK)
_LEAST, _A_THREAD = 128 * 2**20, 128 * 2**20
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
_MOST = 0.9

_ADVICE_WORDS = (
    "  Correct it, name it as a hole (holes=[{0!r}]), or read the column as words: kinds={{{1!r}: 'text'}}."
)


@dataclass
class Relation:
    """Something that DuckDB can scan: its columns are called c0, c1, ...

    Attributes
    ----------
    sql : str
        What stands after FROM.
    names : tuple of str
        Ours, in the order of c0, c1, ...
    types : tuple of str
        "VARCHAR" is text whose meaning is found by us; others are DuckDB's.
    path : Path
        The file, for messages.
    holes : tuple of str
    first_line : int
        Lines before the first row of data.
    text : bool
        A file of lines, so that a row has a line that can be named.
    file : Path
        What is read: the file, or its copy in UTF-8.
    sep : str
    seen : tuple of str
        Words for holes that the first rows use.
    """

    sql: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    path: Path
    holes: tuple[str, ...] = HOLES
    first_line: int = 0
    text: bool = True
    file: Path = Path()
    sep: str = ","
    seen: tuple[str, ...] = ()

    def words(self, at: int) -> str:
        """Column `at` as text."""
        return f"json_extract_string(c{at}, '$')" if self.types[at] == "JSON" else f"c{at}"


def connect(memory: int, folder: Path | str, database: str = ":memory:", *, read_only: bool = False) -> Any:
    """A DuckDB connection that installs nothing, and spills into `folder` beyond its memory."""
    import duckdb

    memory = max(memory, _LEAST)
    return duckdb.connect(
        database,
        read_only=read_only,
        config={
            # A thread that reads or writes a table holds buffers of its own.
            "threads": str(max(1, min(available_threads(), memory // _A_THREAD))),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": f"{memory // 2**20}MiB",
            "temp_directory": str(folder),
            "preserve_insertion_order": "true",
        },
    )


def quoted(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def literal_path(path: Path) -> str:
    """A path as SQL writes it, taken as it is: DuckDB would take * and ? and [ for patterns."""
    return quoted("".join(f"[{c}]" if c in "*?[" else c for c in str(path)))


# --------------------------------------------------------------------------------------------------- kinds


def guess(cells: Sequence[str | None], holes: Sequence[str] = HOLES) -> Reading:
    """The kind of a column by some of its cells.

    Examples
    --------
    >>> guess(["1", " 2.5e3", "?"]), guess(["2020-01-31", ""]), guess(["31.1.2020"]), guess(["a", "1"])
    (('number', ''), ('date', 'iso'), ('date', '%d.%m.%Y'), ('text', ''))
    """
    full = [cell.strip() for cell in cells if cell is not None and not is_hole(cell, holes)]
    if not full:
        return "number", ""
    numbers = sum(
        is_number(cell) or bool(_THOUSANDS.fullmatch(cell) or _COMMA.fullmatch(cell)) for cell in full
    )
    if numbers >= _MOST * len(full):
        return "number", ""
    if all(cell.lower() in ("true", "false") for cell in full):
        return "bool", ""
    if sum(_ISO.fullmatch(cell) is not None for cell in full) >= _MOST * len(full):
        return "date", "iso"
    some = full[:2000]
    for form in DATE_FORMS:
        if _fits(some[0], form) and sum(_fits(c, form) for c in some) >= _MOST * len(some):
            return "date", form
    return "text", ""


def _fits(cell: str, form: str) -> bool:
    import datetime

    try:
        datetime.datetime.strptime(cell, form)
    except ValueError:
        return False
    return True


def expression(relation: Relation, at: int, reading: Reading) -> str:
    """The SQL that reads column `at` as this kind: holes are NULL or NaN, what does not fit is marked."""
    kind, form = reading
    type_, column = relation.types[at], relation.words(at)
    if type_ not in ("VARCHAR", "JSON"):
        if kind == "number":
            return f"coalesce(c{at}::double, 'nan'::double)"
        if kind == "date":
            return f"c{at}::timestamp"
        return f"coalesce(c{at}::utinyint, 2::utinyint)"
    if kind == "text":
        return column
    # CASE leaves out what it does not need. COALESCE, and IN with many words, would look at every cell.
    words = "|".join(re.escape(hole) for hole in relation.holes)
    pattern = quoted(rf"(?i)[ \t]*(?:{words})[ \t]*")
    hole = f"({column} is null or regexp_full_match({column}, {pattern}))"
    if kind == "bool":
        return (
            f"case lower(trim({column})) when 'true' then 1::utinyint when 'false' then 0::utinyint "
            f"else case when {hole} then 2::utinyint else 3::utinyint end end"
        )
    if kind == "number":
        cast, none, mark = f"try_cast({column} as double)", "'nan'::double", "'inf'::double"
    else:
        written = f"try_strptime(trim({column}), {quoted(form)})"
        cast = f"try_cast({column} as timestamp)" if form == "iso" else written
        none, mark = "null", f"timestamp '{_MARK}'"
    return f"case when {cast} is not null then {cast} when {hole} then {none} else {mark} end"


def finished(values: Any, reading: Reading, holes: Sequence[str]) -> Array:
    """What `fetchnumpy` gave for a column, as one of the kinds of a Table; marks stay in it."""
    kind = reading[0]
    if kind == "number":
        return np.ma.filled(values, np.nan).astype(np.float64, copy=False)
    if kind == "date":
        return np.ma.filled(values.astype("datetime64[us]", copy=False), np.datetime64("NaT"))
    if kind == "bool":
        return np.ma.filled(values, 2)
    column: Array = np.ma.filled(values.astype(object, copy=False), None)
    known = _Words(holes)
    column[:] = [known[word] for word in column]
    return column


class _Words(dict[Any, Any]):
    """Each word once: stripped, holes as None. A column of few words then takes 8 bytes a row."""

    def __init__(self, holes: Sequence[str]) -> None:
        super().__init__({None: None})
        self.holes = frozenset(holes)

    def __missing__(self, word: str) -> str | None:
        bare = word.strip()
        if bare.lower() in self.holes:
            self[word] = None
            return None
        kept: str = bare if bare == word else self[bare]
        self[word] = kept
        return kept


def as_bools(codes: Array) -> Array:
    """0, 1 and 2 for a hole as bools; with holes as the words true and false."""
    if not (codes >= 2).any():
        return codes.astype(bool)
    words = np.array(["false", "true", None], dtype=object)
    column: Array = words[np.minimum(codes, 2)]
    return column


def marked(values: Array, reading: Reading) -> Array:
    """The rows whose cell did not fit the kind."""
    kind = reading[0]
    if kind == "number":
        return np.flatnonzero(np.isinf(values)) if not np.isfinite(_extent(values)) else _NONE
    if kind == "date":
        return np.flatnonzero(values == _MARKED)
    if kind == "bool":
        return np.flatnonzero(values == 3)
    return _NONE


def available_threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_NONE = np.empty(0, dtype=np.int64)


def _extent(values: Array) -> float:
    """The largest absolute value that is not NaN."""
    if not len(values):
        return 0.0
    high, low = np.fmax.reduce(values), np.fmin.reduce(values)
    most = max(abs(float(high)), abs(float(low)))
    return 0.0 if most != most else most


def check_whole(values: Array, name: str) -> None:
    """Warn where whole numbers are too long for float64."""
    if _extent(values) >= 2.0**53:
        large = values[np.abs(values) >= 2.0**53]
        if (large < 1e20).all() and (values[np.isfinite(values)] % 1 == 0).all():
            warn_rounded(name)


# ---------------------------------------------------------------------------------------------- what failed


def settle(con: Any, relation: Relation, at: int, reading: Reading, bad: int, full: int, row: int) -> Reading:
    """What to do with a column of which `bad` of `full` cells do not fit: another kind, or an error.

    Raises
    ------
    DataError
        A column of numbers with a few words in it, or with infinities, or with commas.
    """
    name, kind = relation.names[at], reading[0]
    found = con.execute(f"select {relation.words(at)} from {relation.sql} limit 1 offset {row}").fetchall()[
        0
    ][0]
    word = "" if found is None else str(found).strip()
    where = f"{relation.path}{_line(relation, row)}: column {name!r}, row {row} (counted from 0),"
    if kind == "date":
        other = reading[1].translate(str.maketrans("dm", "md"))  # day and month the other way round
        later = DATE_FORMS[DATE_FORMS.index(reading[1]) + 1 :] if reading[1] in DATE_FORMS else ()
        if other in later and _fits(word, other):
            return "date", other
    wrong = is_number(word) or _THOUSANDS.fullmatch(word) or _COMMA.fullmatch(word)
    if kind != "number" or (full - bad < _MOST * full and not wrong):
        if kind == "date" and full - bad >= _MOST * full:
            raise DataError(
                f"{where} is {word[:60]!r}, and other cells of the column are dates.\n"
                + _ADVICE_WORDS.format(word[:60], name)
            )
        return "text", ""
    others = f" ({bad:,} such cells)" if bad > 1 else ""
    if is_number(word):
        raise DataError(
            f"{where} is {word[:60]!r}{others}: infinite, or too large for float64.\n"
            "  Correct it, or make it a hole (an empty cell), which is filled in."
        )
    if _THOUSANDS.fullmatch(word):
        raise DataError(
            f"{where} is {word[:60]!r}{others}: a number with a comma for thousands, which could as well be "
            "a decimal comma.\n  Write the numbers without it, e.g. "
            f"{word.replace(',', '')}; in pandas: read_csv(..., thousands=',')."
        )
    if _COMMA.fullmatch(word):
        raise DataError(
            f"{where} is {word[:60]!r}{others}: a number with a decimal comma.\n"
            f"  Write {word.replace(',', '.')}; in pandas: read_csv(..., decimal=',')."
        )
    raise DataError(
        f"{where} is {word[:60]!r}{others}, and the rest of the column are numbers.\n"
        + _ADVICE_WORDS.format(word[:60], name)
    )


def _line(relation: Relation, row: int) -> str:
    """Where a row stands in the file, if that can be said in reasonable time."""
    if not relation.text or row > 2_000_000:
        return ""
    import csv
    import gzip

    with open(relation.file, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opener: Any = gzip.open if packed else open
    with opener(relation.file, "rt", encoding="utf-8", errors="replace", newline="") as lines:
        for _ in range(relation.first_line):
            next(lines, "")
        reader = csv.reader(lines, delimiter=relation.sep, skipinitialspace=True)
        seen = -1
        for record in reader:
            seen += bool(record) or len(relation.names) == 1
            if seen == row:
                return f", line {relation.first_line + reader.line_num}"
    return ""


@contextmanager
def explained(relation: Relation, encoding: str = "utf-8") -> Iterator[None]:
    """DuckDB's errors in our words, with the line."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise StorageError(
            f"{relation.path} does not fit the memory or the disk that backpass may use: {_first(error)}\n"
            "  Raise the budget (BACKPASS_MEMORY=4GB), or free disk space in the cache folder."
        ) from None
    except duckdb.Error as error:
        said = str(error)
        line = re.search(r"CSV Error on Line: (\d+)", said)
        at = f"{relation.path}, line {line[1]}" if line else str(relation.path)
        shown = re.search(r"Original Line: ?\n?(.*)", said)
        text = f"\n  {shown[1][:120]}" if shown and shown[1] else ""
        counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", said)
        if counts:
            more = int(counts[2]) > int(counts[1])
            cause = (
                "A cell with the separator in it must be quoted."
                if more
                else "Is the line cut, or do separators lack at its end? A hole is written as an empty cell."
            )
            raise DataError(f"{at}: expected {counts[1]} values, got {counts[2]}.{text}\n  {cause}") from None
        if "unterminated quote" in said or ("quote" in said and "should be followed" in said):
            raise DataError(
                f'{at}: a quote (") is opened and not closed.{text}\n'
                '  Close it; a quote inside a quoted cell is written twice ("").'
            ) from None
        if "unicode" in said.lower():
            raise not_text(relation.path, encoding) from None
        if "aximum line size" in said:
            raise DataError(
                f"{at}: a line is longer than 2 MB. Is a quote opened and not closed, or is this no table?"
            ) from None
        if "No space left" in said or "Disk quota" in said:
            raise StorageError(f"the disk is full while reading {relation.path}: {_first(error)}") from None
        raise DataError(f"{at}: cannot be read as a table: {_first(error)}{text}") from None


def _first(error: Exception) -> str:
    return str(error).split("\n")[0][:200]


def check_kinds(
    kinds: Mapping[str, str] | None, names: Sequence[str]
) -> dict[str, Literal["number", "text", "date", "bool"]]:
    """The kinds that were asked for, by column."""
    from backpass.errors import nearest

    out: dict[str, Any] = {}
    for name, kind in (kinds or {}).items():
        if name not in names:
            raise UsageError(f"kinds names a column {name!r} that is not there. {nearest(str(name), names)}")
        if kind not in ("number", "text", "date"):
            raise UsageError(f"kinds[{name!r}] is {kind!r}. {nearest(str(kind), ['number', 'text', 'date'])}")
        out[name] = kind
    return out


def said(relation: Relation, readings: Mapping[str, Reading]) -> tuple[str, ...]:
    """What was assumed about the cells, in words."""
    notes = []
    if relation.seen:
        notes.append(
            f"{' and '.join(relation.seen)} {'stand' if len(relation.seen) > 1 else 'stands'} for a hole"
        )
    forms: dict[str, list[str]] = {}
    for name, (kind, form) in readings.items():
        if kind == "date" and form != "iso":
            forms.setdefault(form, []).append(name)
    for form, names in forms.items():
        notes.append(f"dates in {', '.join(names)} are read as {form} (day %d, month %m, year %Y)")
    return tuple(notes)


def check_words(values: Array, name: str, path: Path) -> None:
    """Refuse a NUL in a column of text."""
    for word in set(values):
        if word is not None and "\0" in word:
            row = next(i for i, v in enumerate(values) if v == word)
            raise nul_in(name, row, path)


def nul_in(name: str, row: int, path: Path) -> DataError:
    """The error for a NUL character in a cell."""
    return DataError(
        f"{path}: column {name!r}, row {row} (counted from 0) holds a NUL character: damaged, or no "
        "text.\n  Write it again as text, or give encoding= if it is UTF-16."
    )
