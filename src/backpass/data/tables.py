"""`read_table`: CSV, TSV, Parquet and JSON lines become a `Table` of raw columns."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backpass.data import scan
from backpass.data.budget import memory_budget
from backpass.data.formats import open_file
from backpass.data.scan import Reading, Relation
from backpass.data.sniff import BLANKS, HOLES, Layout, is_hole, not_text, opened, parsed, sniff
from backpass.data.table import Array, Table, check_names
from backpass.errors import DataError

#: Names that `read_table` takes; each may have ``.gz`` behind it, but for Parquet.
SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".data", ".test", ".parquet", ".pq", ".jsonl", ".ndjson")

_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "REAL", "BIGNUM")


def read_table(
    path: str | os.PathLike[str],
    names: Sequence[str] | None = None,
    *,
    sep: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    holes: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    memory: int | str | None = None,
) -> Table:
    """Read a table. Nothing is scaled, encoded or filled in.

    Parameters
    ----------
    path : str or path
        CSV, TSV and other text with a separator (``.gz`` as well), Parquet, or JSON lines; told apart by
        content, and by the names ``.jsonl`` and ``.ndjson``.
    names : sequence of str, optional
        Names of the columns, for a file without a header (or in place of the one it has).
    sep : str, optional
        The separator, one character, or "blanks" for runs of blanks and tabs. Found if left out.
    header : bool, optional
        Whether the first line holds names. Found if left out; what was assumed is in `Table.notes`.
    encoding : str, optional
        UTF-8 (with or without its mark), or UTF-16 or 32 by their mark, if left out.
    holes : sequence of str
        Words for a missing value besides the usual ones: an empty cell, ?, NA, N/A, #N/A, nan, null, none in
        upper or lower case.
    kinds : mapping of column name to {"number", "text", "date"}, optional
        Overrides what is found, e.g. ``{"zip": "text"}``.
    memory : int or str, optional
        See `memory_budget`. A table that would be larger stays on disk, in the cache folder.

    Returns
    -------
    Table
        With `in_memory` False if it was too large.

    Raises
    ------
    DataError
        A line with more or fewer cells than the first, a quote left open, bytes that are no text, a column of
        numbers with words in it, a name twice, no rows. The message names line or row and column.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "people.csv"
    ...     _ = file.write_text("age,job\\n39, cook\\n?, smith\\n")
    ...     table = read_table(file)
    >>> table
    Table(2 rows x 2 columns: age (number), job (text))
    >>> table["age"].tolist(), table["job"].tolist()
    ([39.0, nan], ['cook', 'smith'])
    """
    where = Path(os.path.abspath(os.path.expanduser(os.fspath(path))))
    with open_file(where) as (file, size):
        start = file.read(4)
        stamp = (size, os.fstat(file.fileno()).st_mtime_ns)
    budget = memory_budget(memory)
    words = (*HOLES, *(word.strip().lower() for word in holes))
    with tempfile.TemporaryDirectory(prefix="backpass-", ignore_cleanup_errors=True) as temporary:
        con = scan.connect(budget // 2, temporary)
        try:
            if start == b"PAR1":
                relation, readings, estimate = _parquet(con, where, names, words)
                notes: tuple[str, ...] = ()
            elif where.name.removesuffix(".gz").lower().endswith((".jsonl", ".ndjson")):
                relation, readings, estimate = _json_lines(con, where, names, words, size)
                notes = ()
            else:
                layout = sniff(where, names=names, sep=sep, header=header, encoding=encoding, holes=words)
                relation, readings, estimate = _text(where, layout, words, Path(temporary), size)
                notes = layout.notes
            for name, kind in scan.check_kinds(kinds, relation.names).items():
                form = "iso" if kind == "date" and readings[name][0] != "date" else readings[name][1]
                readings[name] = (kind, form)
            settings = {"names": relation.names, "sql": relation.sql.replace(temporary, ""), "holes": words,
                        "kinds": dict(kinds or {}), "stamp": stamp, "path": str(where)}  # fmt: skip
            if 2 * estimate > budget:
                from backpass.data.stored import store

                table: Table = store(con, relation, readings, settings, budget, notes)
            else:
                table = _fetch(con, relation, readings, notes)
        finally:
            con.close()
    now = os.stat(where)
    if (now.st_size, now.st_mtime_ns) != stamp:
        raise DataError(f"{where} changed while it was read: try again when it is written.")
    table.source, table.stamp = str(where), stamp
    if len(table) == 0:
        raise DataError(f"{where} has no rows of data.")
    return table


def _fetch(con: Any, relation: Relation, readings: dict[str, Reading], notes: tuple[str, ...]) -> Table:
    """All columns in one scan; those that turn out to be of another kind once more."""
    columns: dict[str, Array] = {}
    wanted = list(relation.names)
    while wanted:
        places = [relation.names.index(name) for name in wanted]
        parts = [f"{scan.expression(relation, at, readings[relation.names[at]])} as c{at}" for at in places]
        with scan.explained(relation):
            got = con.sql(f"select {', '.join(parts)} from {relation.sql}").fetchnumpy()
        again = []
        for name, at in zip(wanted, places, strict=True):
            values = scan.finished(got.pop(f"c{at}"), readings[name], relation.holes)
            rows = scan.marked(values, readings[name])
            if rows.size:
                full = (
                    int((values != 2).sum()) if readings[name][0] == "bool" else int((values == values).sum())
                )
                readings[name] = scan.settle(con, relation, at, readings[name], len(rows), full, int(rows[0]))
                again.append(name)
                continue
            if readings[name][0] == "number":
                scan.check_whole(values, name)
            elif readings[name][0] == "text" and relation.text:
                scan.check_words(values, name, relation.path)
            columns[name] = scan.as_bools(values) if values.dtype == "u1" else values
        wanted = again
    notes = notes + scan.said(relation, readings)
    return Table({name: columns[name] for name in relation.names}, notes=notes)


# ---------------------------------------------------------------------------------------------------- text


def _text(
    path: Path, layout: Layout, holes: tuple[str, ...], temporary: Path, size: int
) -> tuple[Relation, dict[str, Reading], int]:
    file, packed, sep = path, layout.packed, layout.sep
    if not layout.plain:
        file, packed, sep = _rewritten(path, layout, temporary), False, "," if sep == BLANKS else sep
    columns = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(layout.names)))
    sql = (
        f"read_csv({scan.literal_path(file)}, auto_detect=false, header={str(layout.header).lower()}, "
        f"skip={layout.skip}, delim={scan.quoted(sep)}, quote='\"', escape='\"', strict_mode=true, "
        f"null_padding=false, hive_partitioning=false, "
        f"compression='{'gzip' if packed else 'none'}', columns={{{columns}}})"
    )
    width = len(layout.names)
    readings = {
        name: scan.guess([row[at] for row in layout.sample if at < len(row)], holes)
        for at, name in enumerate(layout.names)
    }
    relation = Relation(
        sql, layout.names, ("VARCHAR",) * width, path, holes,
        first_line=layout.skip + layout.header, text=True, file=file, sep=sep,
        seen=_holes_seen(layout.sample, holes),
    )  # fmt: skip
    row = sum(len(cell) + 1 for cells in layout.sample for cell in cells) / len(layout.sample)
    unpacked = _unpacked(path, size) if packed else size
    return relation, readings, int(unpacked / row * 8 * width * 1.25)


def _holes_seen(sample: list[list[str]], holes: tuple[str, ...]) -> tuple[str, ...]:
    """The words of holes that the first rows use, but for the empty one."""
    return tuple(sorted({c.strip() for row in sample for c in row if c.strip() and is_hole(c, holes)}))


def _unpacked(path: Path, size: int) -> int:
    """The unpacked size of a gzip file: what its end says (modulo 4 GiB), or a usual ratio if more."""
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        said = int.from_bytes(file.read(4), "little")
    return max(said, 4 * size)


def _rewritten(path: Path, layout: Layout, temporary: Path) -> Path:
    """The file once more in UTF-8 with one kind of line end (and commas for runs of blanks)."""
    import csv
    import io

    copy = temporary / "copy.csv"
    try:
        with opened(path, layout.packed) as raw, open(copy, "w", encoding="utf-8", newline="") as out:
            # newline=None turns \r\n and a lone \r into \n, which is what readers differ about.
            lines = io.TextIOWrapper(raw, encoding=layout.encoding, newline=None)
            if layout.sep == BLANKS:
                writer = csv.writer(out, lineterminator="\n")
                for line in lines:
                    cells, _ = parsed(line, BLANKS)
                    writer.writerows(cells or [[]])
            else:
                while block := lines.read(1 << 20):
                    out.write(block)
    except UnicodeError:
        raise not_text(path, layout.encoding) from None
    return copy


# --------------------------------------------------------------------------------------- Parquet, JSON lines


def _parquet(
    con: Any, path: Path, names: Sequence[str] | None, holes: tuple[str, ...]
) -> tuple[Relation, dict[str, Reading], int]:
    plain = f"read_parquet({scan.literal_path(path)}, hive_partitioning=false)"
    relation = Relation(plain, (), (), path, holes, text=False, file=path)
    with scan.explained(relation):
        described = con.execute(f"describe select * from {plain}").fetchall()
        # DuckDB renames "a" beside "A"; the file's own names stand in its schema.
        schema = con.execute(
            f"select name, num_children from parquet_schema({scan.literal_path(path)})"
        ).fetchall()
        count = con.execute(f"select count(*) from {plain}").fetchall()[0][0]
    own = [row[0] for row in described]
    if all(not row[1] for row in schema[1:]) and len(schema) - 1 == len(own):
        own = [row[0] for row in schema[1:]]
    if count == 0:
        raise DataError(f"{path} has no rows.")
    found = _renamed(own, names, path)
    parts, types = [], []
    for at, (name, (_, type_, *_rest)) in enumerate(zip(found, described, strict=True)):
        if "[" in type_ or type_.startswith(("STRUCT", "MAP", "UNION", "LIST")):
            raise DataError(
                f"{path}: column {name!r} holds nested values ({type_[:60]}), and a table has one value a "
                "cell.\n  Spread them over columns of their own, or leave the column out of the file."
            )
        if type_.startswith(("BLOB", "INTERVAL", "GEOMETRY", "BIT")):
            raise DataError(f"{path}: column {name!r} holds {type_} values: give numbers, text or dates.")
        plain_type = (
            type_ == "BOOLEAN" or type_.startswith(("DATE", "TIMESTAMP")) or any(n in type_ for n in _NUMBERS)
        )
        types.append(type_ if plain_type else "VARCHAR")
        parts.append(f"c{at}" if plain_type else f"c{at}::varchar as c{at}")
    places = ", ".join(f"c{at}" for at in range(len(found)))
    sql = f"(select {', '.join(parts)} from {plain} as t({places}))"
    relation = replace(relation, sql=sql, names=tuple(found), types=tuple(types))
    return relation, _guessed(con, relation), count * len(found) * 10


def _json_lines(
    con: Any, path: Path, names: Sequence[str] | None, holes: tuple[str, ...], size: int
) -> tuple[Relation, dict[str, Reading], int]:
    with open_file(path) as (file, _):
        packed = file.read(2) == b"\x1f\x8b"
    with opened(path, packed) as stream:
        head = stream.read(1 << 16).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head.startswith(b"{"):
        raise DataError(
            f'{path} must hold one JSON object on each line, such as {{"age": 39}}; it begins with '
            f"{head[:20].decode('utf-8', 'replace')!r}."
        )
    plain = (
        f"read_json({scan.literal_path(path)}, format='newline_delimited', maximum_depth=1, sample_size=-1, "
        f"hive_partitioning=false, compression='{'gzip' if packed else 'none'}')"
    )
    relation = Relation(plain, (), (), path, holes, text=False, file=path)
    try:
        with scan.explained(relation):
            own = [row[0] for row in con.execute(f"describe select * from {plain}").fetchall()]
            if own == ["json"]:  # what DuckDB makes of lines that are no objects
                _check_lines(path, packed)
            found = _renamed(own, names, path)
            places = ", ".join(f"c{at}" for at in range(len(found)))
            sql = f"(select {places} from {plain} as t({places}))"
            nested = ", ".join(
                f"bool_or(json_type(c{at}) in ('OBJECT', 'ARRAY'))" for at in range(len(found))
            )
            flags = con.execute(f"select {nested} from {sql}").fetchall()[0]
    except DataError:
        _check_lines(path, packed)
        raise
    for at, flag in enumerate(flags):
        if flag:
            raise DataError(
                f"{path}: column {found[at]!r} holds nested values (a list or an object), and a table has "
                "one value a cell.\n  Spread them over keys of their own, or leave the key out of the file."
            )
    relation = replace(relation, sql=sql, names=tuple(found), types=("JSON",) * len(found))
    return relation, _guessed(con, relation), 2 * (_unpacked(path, size) if packed else size)


def _check_lines(path: Path, packed: bool) -> None:
    """Find the first line that is no JSON object: DuckDB counts them otherwise than people do."""
    with opened(path, packed) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except ValueError as error:
                raise DataError(f"{path}, line {number}: this is not JSON ({error}).") from None
            if not isinstance(value, dict):
                raise DataError(f'{path}, line {number}: a JSON object was expected, such as {{"age": 39}}.')


def _renamed(own: list[str], names: Sequence[str] | None, path: Path) -> list[str]:
    if names is not None and len(names) != len(own):
        raise DataError(
            f"names has {len(names)} names and {path} has {len(own)} columns: {', '.join(own[:8])}."
        )
    found = [str(name) for name in names] if names is not None else own
    check_names(found, str(path))
    return found


def _guessed(con: Any, relation: Relation) -> dict[str, Reading]:
    """The kinds of the columns, by their types, and those of text by the first rows."""
    readings: dict[str, Reading] = {}
    texts = [at for at, type_ in enumerate(relation.types) if type_ in ("VARCHAR", "JSON")]
    rows: list[tuple[Any, ...]] = []
    if texts:
        with scan.explained(relation):
            picked = ", ".join(relation.words(at) for at in texts)
            rows = con.execute(f"select {picked} from {relation.sql} limit 5000").fetchall()
    for at, (name, type_) in enumerate(zip(relation.names, relation.types, strict=True)):
        if type_ == "BOOLEAN":
            readings[name] = "bool", ""
        elif type_.startswith(("DATE", "TIMESTAMP")):
            readings[name] = "date", "iso"
        elif type_ in ("VARCHAR", "JSON"):
            readings[name] = scan.guess([row[texts.index(at)] for row in rows], relation.holes)
            if type_ == "VARCHAR" and readings[name][0] == "number":
                warnings.warn(
                    f"column {name!r} of {relation.path.name} holds numbers written as text; they are read "
                    f"as numbers (kinds={{{name!r}: 'text'}} if they are words).",
                    stacklevel=5,
                )
        else:
            readings[name] = "number", ""
    return readings
