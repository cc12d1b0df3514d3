"""How a file of text is laid out: encoding, separator, header. Found from its first bytes, by us.

Readers guess in silence: they take a Latin-1 file for bytes, a file with ``;`` for one column, a first row of
data for names. Here each guess is either sure, or told in `Layout.notes`, or an error.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backpass.data.formats import open_file
from backpass.data.table import check_names
from backpass.errors import DataError, UsageError, nearest

#: Bytes of text that the guesses are made from.
HEAD = 1 << 18

#: What stands for a missing value, in lower case, blanks around it taken off.
HOLES = ("", "?", "na", "n/a", "#n/a", "nan", "null", "none")

#: Runs of blanks and tabs as separator, as in old ``.data`` files.
BLANKS = "blanks"

_SEPARATORS = (",", ";", "\t", "|", " ")
_SAID = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank", BLANKS: "runs of blanks"}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d{1,2}:\d{2}(:\d{2}.*)?", re.ASCII)


@dataclass(frozen=True)
class Layout:
    """How to read a file of text.

    Attributes
    ----------
    names : tuple of str
        Of the columns, in order.
    sep : str
        One character, or `BLANKS`.
    header : bool
        The first line (after those left out) holds names.
    skip : int
        Lines before that which are left out.
    encoding : str
        Python's name of it.
    packed : bool
        gzip.
    plain : bool
        One kind of line end, UTF-8 and one separator: the file can be read as it is.
    sample : list of list of str
        The first rows of data.
    notes : tuple of str
        What was assumed.
    """

    names: tuple[str, ...]
    sep: str
    header: bool
    skip: int
    encoding: str
    packed: bool
    plain: bool
    sample: list[list[str]]
    notes: tuple[str, ...]


def is_number(word: str) -> bool:
    """Whether a cell holds a number (infinity is one, and is refused later, by its place)."""
    return _NUMBER.fullmatch(word.strip()) is not None


def is_hole(word: str, holes: Sequence[str] = HOLES) -> bool:
    """Whether a cell stands for a missing value."""
    return word.strip().lower() in holes


def sniff(
    path: Path,
    *,
    names: Sequence[str] | None = None,
    sep: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    holes: Sequence[str] = HOLES,
) -> Layout:
    """Find the layout of a file; what is given is taken, the rest is guessed.

    Raises
    ------
    DataError
        An empty file, one without rows, not text, two columns of one name, the wrong number of names.
    UsageError
        An unknown encoding or a separator of several characters.
    """
    raw, packed, whole = head_of(path)
    text, code = _decoded(raw, path, encoding, whole)
    if not text.strip():
        raise DataError(f"{path} holds nothing but blank lines. Was its writing cut short?")
    # A quoted cell may hold line ends of its own, so only the kinds of line end in the head are counted.
    mixed = len(set(re.findall(r"\r\n|\n|\r", text))) > 1
    if sep is None:
        sep = _separator(text, path)
    elif sep in ("\\t", "tab"):
        sep = "\t"
    elif sep != BLANKS and len(sep) != 1:
        raise UsageError(f"sep={sep!r} must be one character, such as ',' or ';' or '\\t'.")
    records, lines = parsed(text, sep)
    if not records:
        raise DataError(f"{path} holds no rows.")
    usual = Counter(len(r) for r in records[1:] or records).most_common(1)[0][0]
    skip, notes = 0, []
    while len(records) > 1 and records[0][:1] and records[0][0].startswith(("|", "#", "%")):
        if len(records[0]) == usual and records[0][0].startswith("#"):
            break  # the names themselves, commented
        notes.append(f"line {lines[0]} is a comment and was left out")
        skip = lines[0]
        records, lines = records[1:], lines[1:]
    given = list(names) if names is not None else None
    header, said = _header(records, given, header, holes)
    notes += said
    first = [cell.strip() for cell in records[0]]
    if usual != len(first) and len(records) > 1 and header and usual == len(first) - 1 and not first[-1]:
        first = first[:-1]  # a separator at the end of the header only
    sample = records[1:] if header else records
    if not sample:
        raise DataError(
            f"{path} has a header and no rows of data below it: {_few(first)}.\n"
            "  If that line is data, give header=False."
        )
    if given is not None:
        if len(given) != len(first):
            raise DataError(
                f"names has {len(given)} names and line {lines[0]} of {path} has {len(first)} values "
                f"(separator: {_SAID.get(sep, sep)}): {_few(first)}.\n  Give a name for each column."
            )
        found = [str(name) for name in given]
    elif header:
        found = first
        found[0] = found[0].lstrip("#% ") or found[0]
        if found[0] == "" and len(set(found)) == len(found):
            found[0] = "index"  # a data frame written with its row labels
            notes.append("the first column has no name (row labels of a data frame?); it is called 'index'")
    else:
        found = [f"c{at}" for at in range(len(first))]
        notes.append(f"there is no header; the columns are called {found[0]} to {found[-1]}")
    check_names(found, str(path))
    if len(found) == 1:
        other = [s for s in _SEPARATORS[:-1] if s != sep and s in found[0]]
        if other:
            raise DataError(
                f"{path} read with sep={sep!r} has one column, {found[0][:60]!r}. Give sep={other[0]!r}."
            )
    plain = code in ("utf-8", "utf-8-sig") and not mixed and sep != BLANKS
    return Layout(tuple(found), sep, header, skip, code, packed, plain, sample, tuple(notes))


def head_of(path: Path) -> tuple[bytes, bool, bool]:
    """The first bytes of a file, unpacked; whether it is gzip; whether that is all of it."""
    with open_file(path) as (file, size):
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            return file.read(HEAD), False, size <= HEAD
        try:
            with gzip.open(file) as inner:
                raw = inner.read(HEAD)
                return raw, True, not inner.read(1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is a torn gzip file ({error}): get it again.") from None


def opened(path: Path, packed: bool) -> IO[bytes]:
    """The bytes of a file, unpacked on the way."""
    return gzip.open(path, "rb") if packed else open(path, "rb")  # type: ignore[return-value]


def _decoded(raw: bytes, path: Path, encoding: str | None, whole: bool) -> tuple[str, str]:
    if encoding is None:
        encoding = next((code for bom, code in _BOMS if raw.startswith(bom)), "utf-8")
        if encoding == "utf-8" and len(raw) > 3 and raw[:64:2].count(0) + raw[1:64:2].count(0) > 8:
            raise DataError(
                f"{path} is not UTF-8 text: every other byte is 0, as in UTF-16 without its mark.\n"
                "  Give encoding='utf-16-le' or encoding='utf-16-be'."
            )
    try:
        codecs.lookup(encoding)
    except LookupError:
        known = ["utf-8", "utf-16", "latin-1", "cp1252"]
        raise UsageError(f"encoding={encoding!r} is unknown. {nearest(encoding, known)}") from None
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(raw, final=whole)
    except UnicodeError:
        raise not_text(path, encoding) from None
    if not whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    if "\0" in text:
        raise nul(path, text[: text.index("\0")].count("\n") + 1)
    return text.removeprefix("\ufeff"), codecs.lookup(encoding).name


def nul(path: Path, line: int) -> DataError:
    """The error for a NUL character."""
    return DataError(
        f"{path}, line {line}: there is a NUL character, so this is no text file or a damaged one."
        "\n  Write it again as text, or give encoding= if it is UTF-16."
    )


def not_text(path: Path, encoding: str) -> DataError:
    """The error for bytes that are not of the encoding: finds the first of them."""
    decoder = codecs.getincrementaldecoder(encoding)()
    at, line = 0, 1
    with open_file(path) as (file, _):
        packed = file.read(2) == b"\x1f\x8b"
    with opened(path, packed) as stream:
        while True:
            block = stream.read(1 << 20)
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at += error.start - held
                line += block[: max(error.start - held, 0)].count(b"\n")
                byte = error.object[error.start]
                return DataError(
                    f"{path}, line {line}: byte {at:,} (counted from 0) is 0x{byte:02x}, which is not "
                    f"{encoding.upper()} text.\n  If the file is of an older program, give "
                    "encoding='latin-1' (or 'cp1252'); else write it again as UTF-8."
                )
            if not block:
                return DataError(f"{path} is not {encoding.upper()} text. Give encoding=.")
            at += len(block)
            line += block.count(b"\n")


def parsed(text: str, sep: str, limit: int | None = None) -> tuple[list[list[str]], list[int]]:
    """The records of a text and the line that each ends on; blank lines are left out."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=" " if sep == BLANKS else sep, skipinitialspace=True
    )
    if sep == BLANKS:
        reader = csv.reader(
            (line.strip().replace("\t", " ") for line in io.StringIO(text)),
            delimiter=" ", skipinitialspace=True,
        )  # fmt: skip
    records, lines = [], []
    try:
        for record in reader:
            if record:
                records.append(record)
                lines.append(reader.line_num)
                if limit is not None and len(records) >= limit:
                    break
    except csv.Error:  # the reader proper says what is wrong, and where
        pass
    return records, lines


def _separator(text: str, path: Path) -> str:
    """The separator that gives most records one number of cells, more than one."""
    best: tuple[float, int, str] = (0.0, 0, ",")
    for sep in (*_SEPARATORS, BLANKS):
        records, _ = parsed(text, sep, 200)
        usual, count = Counter(len(r) for r in records).most_common(1)[0] if records else (0, 0)
        if usual < 2:
            continue
        share = count / len(records)
        if sep in (" ", BLANKS) and share < 1:
            continue  # prose has blanks too
        # Blanks come last: "a, b" has both, and the comma is meant.
        if (share, 0 if sep in (" ", BLANKS) else usual) > best[:2]:
            best = (share, 0 if sep in (" ", BLANKS) else usual, sep)
    if best[0] >= 0.5 or path.suffix.lower() not in (".tsv", ".tab"):
        return best[2]
    return "\t"


def _header(
    records: list[list[str]], names: list[str] | None, header: bool | None, holes: Sequence[str]
) -> tuple[bool, list[str]]:
    """Whether the first record holds names, and what to say about it."""
    first = [cell.strip() for cell in records[0]]
    rest = records[1:101]
    data = [bool(is_number(c) or _DATE.fullmatch(c) or (c and is_hole(c, holes))) for c in first]
    if header is not None:
        if header and all(data):
            return True, [f"the first line looks like data ({_few(first)}), but header=True was given"]
        return header, []
    if names is not None and [n.strip() for n in names] == first:
        return True, ["the first line repeats the names that were given"]
    if any(data) or len(set(first)) < len(first):
        repeated = len(set(first)) < len(first) and not any(data)
        if repeated and _numbers_below(first, rest):
            return True, []  # names, one of them twice: refused where names are checked
        return False, []
    if _numbers_below(first, rest):
        if names is not None:
            return True, [f"the first line holds names ({_few(first)}); those given replace them"]
        return True, []
    if names is not None:
        return False, []
    if any(cell in {row[at].strip() for row in rest if at < len(row)} for at, cell in enumerate(first)):
        return False, [
            "the first line is read as data, because its words come again below; header=True if not"
        ]
    return True, [
        f"all columns are words; the first line is read as names ({_few(first)}); header=False if not"
    ]


def _numbers_below(first: list[str], rest: list[list[str]]) -> bool:
    """Whether some column is of numbers or dates below a first row that is words."""
    for at in range(len(first)):
        cells = [row[at] for row in rest if at < len(row) and not is_hole(row[at])]
        if cells and sum(is_number(c) or bool(_DATE.fullmatch(c.strip())) for c in cells) >= 0.9 * len(cells):
            return True
    return False


def _few(cells: Sequence[str]) -> str:
    shown = ", ".join(cell[:20] for cell in cells[:5])
    return shown + (", ..." if len(cells) > 5 else "")
