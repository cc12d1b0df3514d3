"""The part of an exported script for networks that learned from tables: columns are read and prepared.

Everything below the line is copied into the script. COLUMNS, HOLES, NAMES and DTYPE are defined before it;
`encode` and `column_names` come after it, copied from `backpass.data.columns` letter for letter.
"""

# ruff: noqa: F821
# mypy: ignore-errors
import csv
import datetime
import re
import sys
import warnings

import numpy as np

# --------------------------------------------------------------------------------------------- read, prepare

#: What the command line takes.
ACCEPTS = ["rows.csv", "-"]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
ISO = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6})\d*)?)?)?"
    r"(?:Z|([+-])(\d{2}):?(\d{2})?)?"
)
DATE_FORMS = (
    "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S",
    "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%b %d, %Y", "%d-%b-%Y",
)  # fmt: skip


class BadRows(ValueError):
    """Rows that cannot be predicted; the message says which and why."""


def inputs(columns):
    """Raw columns as they enter the network: a mapping of name to values, or a data frame."""
    wanted = [encoding["name"] for encoding in COLUMNS]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise BadRows(f"there is no column {', '.join(missing)}; needed are {', '.join(wanted)}")
    count = len(columns[wanted[0]])
    out = np.empty((count, sum(len(column_names(encoding)) for encoding in COLUMNS)), DTYPE)
    at = 0
    for encoding in COLUMNS:
        width = len(column_names(encoding))
        values = column(encoding, columns[encoding["name"]])
        if len(values) != count:
            raise BadRows(
                f"column {encoding['name']!r} has {len(values)} rows, and {wanted[0]!r} has {count}"
            )
        with np.errstate(over="ignore"):
            unknown, word = encode(encoding, values, out[:, at : at + width])
        if unknown:
            what = "holes" if word is None else f"words that training did not have, such as {word!r}"
            warnings.warn(f"column {encoding['name']!r}: {unknown} {what}", stacklevel=3)
        at += width
    return out


def column(encoding, values):
    """The values of one column as the kind that it had in training; holes are NaN, NaT or None."""
    cells = [bare(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]
    full = [cell for cell in cells if cell is not None]
    how, name = encoding["how"], encoding["name"]
    if how == "category":
        out = np.empty(len(cells), dtype=object)
        out[:] = words(cells, full)
        return out
    if how == "date":
        return dates(name, cells, full)
    answers = {"true": 1.0, "false": 0.0}
    if full and all(isinstance(cell, str) and cell.lower() in answers for cell in full):
        return np.array([np.nan if cell is None else answers[cell.lower()] for cell in cells])
    return np.array([np.nan if cell is None else number(name, row, cell) for row, cell in enumerate(cells)])


def bare(value):
    """A cell without the blanks around it; None for a hole."""
    if isinstance(value, str):
        value = value.strip()
        return None if value.lower() in HOLES else value
    return None if value is None or value != value else value


def words(cells, full):
    """Words as training had them: numbers and yes or no are written in one way."""
    if full and all(isinstance(c, (bool, np.bool_)) for c in full):
        return [None if cell is None else str(cell).lower() for cell in cells]
    if full and all(isinstance(c, str) and c.lower() in ("true", "false") for c in full):
        return [None if cell is None else cell.lower() for cell in cells]
    if all(not isinstance(c, str) or NUMBER.fullmatch(c) for c in full):
        return [
            None if c is None else str(int(v)) if (v := float(c)).is_integer() else repr(v) for c in cells
        ]
    return [None if cell is None else str(cell) for cell in cells]


def number(name, row, cell):
    """A cell as a number."""
    if isinstance(cell, str) and not NUMBER.fullmatch(cell):
        raise BadRows(f"column {name!r}, row {row} (counted from 0), is {cell!r}, not a number")
    value = float(cell)
    if not np.isfinite(value):
        raise BadRows(f"column {name!r}, row {row} (counted from 0), is {cell!r}: infinite or too large")
    return value


def dates(name, cells, full):
    """Cells as dates, all written in one way."""
    out = np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[us]")
    text = [cell for cell in full if isinstance(cell, str)]
    form = next((f for f in (None, *DATE_FORMS) if all(date(cell, f) is not None for cell in text)), None)
    for row, cell in enumerate(cells):
        if cell is not None:
            found = date(cell, form) if isinstance(cell, str) else cell
            if found is None:
                raise BadRows(f"column {name!r}, row {row} (counted from 0), is {cell!r}, not a date")
            if isinstance(found, datetime.datetime) and found.tzinfo is not None:
                found = found.astimezone(datetime.UTC).replace(tzinfo=None)
            out[row] = np.datetime64(found, "us")
    return out


def date(cell, form):
    """A date in one way of writing, ISO 8601 if `form` is None; None if it is not one."""
    try:
        if form is not None:
            return datetime.datetime.strptime(cell, form)
        found = ISO.fullmatch(cell)
        if found is None:
            return None
        *parts, fraction, sign, hours, minutes = found.groups()
        moment = datetime.datetime(*(int(part or 0) for part in parts), int((fraction or "0").ljust(6, "0")))
        if sign:
            away = datetime.timedelta(hours=int(hours), minutes=int(minutes or 0))
            moment -= away if sign == "+" else -away
        return moment
    except ValueError:
        return None


def read(where):
    """The columns of a CSV file by name; "-" is standard input."""
    with sys.stdin if where == "-" else open(where, newline="", encoding="utf-8-sig") as file:
        text = file.read().splitlines(keepends=True)
    first = next((line for line in text if line.strip()), "")
    separator = max(",;\t|", key=first.count)
    lines = csv.reader(text, delimiter=separator, skipinitialspace=True)
    rows = [(lines.line_num, row) for row in lines if row]
    names = [cell.strip() for cell in rows[0][1]] if rows else []
    if not {encoding["name"] for encoding in COLUMNS} & set(names) and NAMES:
        names = NAMES  # as in training, the file has no line of names
    else:
        rows = rows[1:]
    for line, row in rows:
        if len(row) != len(names):
            raise BadRows(f"line {line} has {len(row)} values, and there are {len(names)} columns")
    return {name: [row[at] for _, row in rows] for at, name in enumerate(names)}
