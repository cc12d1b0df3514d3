"""Reading tables: what is understood, and what is said of the rest, by the words a reader needs."""

from __future__ import annotations

import doctest
import gzip
import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backpass.data.table import Table
from backpass.data.tables import read_table
from backpass.errors import DataError, UsageError

SHARED = Path(os.environ.get("BACKPASS_DATA", Path(__file__).parents[2] / "shared" / "data"))


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def says(error: pytest.ExceptionInfo[Exception], *words: str) -> None:
    for word in words:
        assert word in str(error.value), f"{word!r} is not in:\n{error.value}"


# -------------------------------------------------------------------------------------------------- reading


def test_kinds_of_columns(tmp_path: Path) -> None:
    text = (
        "whole,real,word,day,flag,half,moment\n"
        "1,1.5,a,2020-02-29,true,true,2020-01-02T03:04:05\n"
        "-2,+1e3,,2021-01-01,FALSE,,2020-01-02 03:04\n"
        '?,NaN,"x, ""y""",,true,false,NA\n'
    )
    table = read_table(written(tmp_path, text))
    assert table.kinds == {
        "whole": "number", "real": "number", "word": "text", "day": "date", "flag": "bool", "half": "text",
        "moment": "date",
    }  # fmt: skip
    np.testing.assert_array_equal(table["whole"], [1, -2, np.nan])
    np.testing.assert_array_equal(table["real"], [1.5, 1000, np.nan])
    assert table["word"].tolist() == ["a", None, 'x, "y"']
    assert table["day"].astype(str).tolist() == [
        "2020-02-29T00:00:00.000000",
        "2021-01-01T00:00:00.000000",
        "NaT",
    ]
    assert table["flag"].tolist() == [True, False, True]
    assert table["half"].tolist() == ["true", None, "false"]  # a bool has no holes, two words do
    assert str(table["moment"][1]).startswith("2020-01-02T03:04:00")
    assert np.isnat(table["moment"][2])


@pytest.mark.parametrize("sep", [",", ";", "\t", "|", " "])
def test_separators_are_found(tmp_path: Path, sep: str) -> None:
    table = read_table(written(tmp_path, sep.join(["a", "b", "c"]) + "\n" + sep.join(["1", "x", "2"]) + "\n"))
    assert table.names == ("a", "b", "c")
    assert table["b"].tolist() == ["x"]


def test_runs_of_blanks_are_one_separator(tmp_path: Path) -> None:
    table = read_table(
        written(tmp_path, "  18.0   8 \t ford\n9.5  4   mini\n", "auto.data"), ["mpg", "n", "make"]
    )
    assert table["mpg"].tolist() == [18.0, 9.5]
    assert table["make"].tolist() == ["ford", "mini"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marks_of_encodings(tmp_path: Path, encoding: str) -> None:
    table = read_table(written(tmp_path, "größe,n\nzwölf,12\n".encode(encoding)))
    assert table.names == ("größe", "n")
    assert table["größe"].tolist() == ["zwölf"]


def test_encodings_that_are_given(tmp_path: Path) -> None:
    latin = written(tmp_path, "a,b\n1,caf\xe9\n".encode("latin-1"))
    assert read_table(latin, encoding="latin-1")["b"].tolist() == ["café"]
    with pytest.raises(UsageError) as error:
        read_table(latin, encoding="latin-one")
    says(error, "latin-one", "Did you mean 'latin-1'")
    bare = written(tmp_path, ("a,b\n" + "1,2\n" * 30).encode("utf-16-le"))
    with pytest.raises(DataError) as error:
        read_table(bare)
    says(error, "every other byte is 0", "utf-16-le")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path: Path, end: str) -> None:
    table = read_table(written(tmp_path, end.join(["a,b", "1,2", "3,4", ""])))
    assert table["b"].tolist() == [2.0, 4.0]


def test_line_ends_of_several_kinds(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, b"a,b\r\n1,2\r\n3,4\r5,6\n7,8\r\n"))
    assert table["a"].tolist() == [1, 3, 5, 7]


def test_gzip_comment_blank_lines_and_a_path_with_patterns(tmp_path: Path) -> None:
    text = "|a comment, of two\n39, State-gov, <=50K\n\n?, Private, >50K\n\n"
    file = written(tmp_path, gzip.compress(text.encode()), "a[1]*?.data.gz")
    written(tmp_path, "9,9,9\n", "a1xx.data")
    table = read_table(file, names=["age", "work", "pay"])
    np.testing.assert_array_equal(table["age"], [39, np.nan])
    assert table["pay"].tolist() == ["<=50K", ">50K"]
    assert any("line 1 is a comment" in note for note in table.notes)


def test_header_or_not(tmp_path: Path) -> None:
    data = read_table(written(tmp_path, "1,x\n2,y\n"))
    assert data.names == ("c0", "c1")
    assert any("no header" in note for note in data.notes)
    named = read_table(written(tmp_path, "age,job\n1,x\n"), names=["a", "b"])
    assert (named.names, len(named)) == (("a", "b"), 1)
    assert any("holds names (age, job)" in note for note in named.notes)
    words = read_table(written(tmp_path, "fruit,taste\nfig,sweet\nlime,sour\n"))
    assert words.names == ("fruit", "taste")
    assert any("header=False if not" in note for note in words.notes)
    again = read_table(written(tmp_path, "fig,sweet\nlime,sour\nfig,ripe\n"))
    assert len(again) == 3
    assert len(read_table(written(tmp_path, "fruit,taste\nfig,sweet\n"), header=False)) == 2


def test_dates_as_people_write_them(tmp_path: Path) -> None:
    for cells, first in (
        ("31.12.2020 1.2.2021", "2020-12-31"),
        ("12/31/2020 1/2/2021", "2020-12-31"),
        ("31/12/2020 1/2/2021", "2020-12-31"),
        ("2020/12/31 2021/1/2", "2020-12-31"),
    ):
        table = read_table(written(tmp_path, "d,n\n" + "".join(f"{c},1\n" for c in cells.split())))
        assert table.kinds["d"] == "date", cells
        assert str(table["d"][0]).startswith(first)
    # month first for 7,000 rows and more than the head of the file, then a day that is no month
    rows = "01/02/2020,0.123456789012345678901234567890\n" * 7000 + "31/03/2020,1\n"
    table = read_table(written(tmp_path, "d,n\n" + rows))
    assert str(table["d"][-1]).startswith("2020-03-31")
    assert str(table["d"][0]).startswith("2020-02-01")
    assert any("%d/%m/%Y" in note for note in table.notes)


def test_a_column_that_turns_out_to_be_words(tmp_path: Path) -> None:
    """The kind is guessed from the first rows; what comes later decides."""
    rows = [f"{n},{n}" for n in range(60_000)] + [f"{n},w{n % 7}" for n in range(60_000)]
    table = read_table(written(tmp_path, "a,b\n" + "\n".join(rows)))
    assert table.kinds == {"a": "number", "b": "text"}
    assert table["b"][59_999] == "59999"
    assert table["b"][-1] == "w2"


def test_kinds_and_holes_that_are_given(tmp_path: Path) -> None:
    file = written(tmp_path, "zip,n\n01234,1\n99999,unknown\n")
    table = read_table(file, kinds={"zip": "text"}, holes=["Unknown"])
    assert table["zip"].tolist() == ["01234", "99999"]
    assert table.kinds["n"] == "number"
    with pytest.raises(UsageError) as error:
        read_table(file, kinds={"zap": "text"})
    says(error, "'zap'", "Did you mean 'zip'")


def test_long_numbers_warn(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"'a'.*more digits than float64"):
        read_table(written(tmp_path, "a,b\n9007199254740993,1\n"))


def test_parquet_and_json_lines_give_the_same(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    con = duckdb.connect()
    con.execute(
        "create table t as select * from (values (1, 2.5, 'x', true, date '2020-01-01'), "
        "(null, 1.5, null, false, null)) v(i, f, s, b, d)"
    )
    con.execute(f"copy t to '{tmp_path / 't.parquet'}'")
    con.execute(f"copy t to '{tmp_path / 't.jsonl'}' (format json)")
    for name in ("t.parquet", "t.jsonl"):
        table = read_table(tmp_path / name)
        assert list(table.kinds.values()) == ["number", "number", "text", "bool", "date"], name
        np.testing.assert_array_equal(table["i"], [1, np.nan])
        assert table["s"].tolist() == ["x", None]
        assert str(table["d"][0])[:10] == "2020-01-01"
    con.execute(f"copy (select [1, 2] as l, 1 as n) to '{tmp_path / 'l.parquet'}'")
    with pytest.raises(DataError) as error:
        read_table(tmp_path / "l.parquet")
    says(error, "'l'", "nested", "INTEGER[]")
    con.execute(f"copy (select '1' as a, 'q' as b) to '{tmp_path / 'w.parquet'}'")
    with pytest.warns(UserWarning, match="'a'.*written as text"):
        assert read_table(tmp_path / "w.parquet")["a"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{"a": {"b": 2}}\n', ["'a'", "nested"]),
        ('{"a": 1}\n{"a": 2,\n', ["line 2", "not JSON"]),
        ("[1, 2]\n", ["one JSON object on each line"]),
        ('{"a": 1}\n7\n', ["line 2", "JSON object"]),
    ],
)
def test_bad_json_lines(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        read_table(written(tmp_path, text, "t.jsonl"))
    says(error, *words)


def test_keys_that_come_late_in_json_lines(tmp_path: Path) -> None:
    text = '{"a": 1}\n' * 30_000 + '{"a": 2, "b": "x"}\n'
    table = read_table(written(tmp_path, text, "t.ndjson"))
    assert table.names == ("a", "b")
    assert table["b"][-1] == "x"


# --------------------------------------------------------------------------------------------------- errors

NUMBERS = "".join(f"{n},{n / 7}\n" for n in range(50))
LONG = "a,b\n" + NUMBERS * 1000

BAD: list[tuple[str, str | bytes, dict[str, Any], list[str]]] = [
    ("long row", "a,b\n1,2\n1,2,3\n", {}, ["line 3", "expected 2 values, got 3", "1,2,3"]),
    ("short row", "a,b\n1,2\n3\n4,5\n", {}, ["line 3", "expected 2 values, got 1"]),
    ("late short row", LONG + "7\n", {}, ["line 50002", "expected 2 values, got 1"]),
    ("open quote", 'a,b\n1,2\n1,"abc\n3,4\n', {}, ["line 3", "opened and not closed"]),
    ("latin-1", "a,b\n1,caf\xe9\n".encode("latin-1"), {}, ["line 2", "byte 9", "0xe9", "latin-1"]),
    ("late latin-1", LONG.encode() + b"1,\xe9\n", {}, ["line 50002", f"byte {len(LONG) + 2:,}", "latin-1"]),
    ("NUL", b"a,b\n1,\0x\n", {}, ["line 2", "NUL"]),
    ("late NUL", b"a,b\n" + b"x,y\n" * 90_000 + b"x,y\0\n", {}, ["'b'", "row 90000", "NUL"]),
    ("name twice", "a,b,a\n1,2,3\n", {}, ["two columns named 'a'", "columns 0 and 2"]),
    ("no name", "a,,b\n1,2,3\n", {}, ["column 1", "has no name"]),
    ("header only", "a,b\n", {}, ["no rows of data", "a, b"]),
    ("empty", "", {}, ["empty (0 bytes)"]),
    ("blank lines", "\n\n \n", {}, ["nothing but blank lines"]),
    ("wrong separator", "a;b\n1;2\n", {"sep": ","}, ["one column", "sep=';'"]),
    ("names too few", "1,2\n3,4\n", {"names": ["a"]}, ["names has 1 names", "line 1", "2 values"]),
    ("a word", LONG + "7,oops\n", {}, ["column 'b'", "row 50000", "line 50002", "'oops'", "kinds="]),
    ("a word early", "a,b\n" + NUMBERS + "7,oops\n", {}, ["column 'b'", "row 50", "line 52", "'oops'"]),
    ("infinity", "a,b\n1,2\ninf,3\n", {}, ["column 'a'", "row 1", "line 3", "'inf'", "infinite"]),
    ("too large", "a,b\n1,2\n1e400,3\n", {}, ["'1e400'", "too large for float64"]),
    ("thousands", 'a,b\n"1,000",2\n"12,345",3\n', {}, ["'1,000'", "thousands", "1000"]),
    ("decimal comma", "a;b\n" + "1;2\n" * 20 + "1;2,5\n", {}, ["'2,5'", "decimal comma", "2.5"]),
    ("all decimal commas", "a;b\n1,5;2\n2,5;3\n", {}, ["'1,5'", "decimal comma"]),
    ("not a date", "d,n\n" + "2020-01-01,1\n" * 20_000 + "soon,2\n", {}, ["'d'", "row 20000", "'soon'"]),
    ("quoted line ends", 'a,b\n"x\ny",1\n' + "z,1\n" * 30 + "z,w\n", {}, ["row 31", "line 34", "'w'"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "options", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_files(tmp_path: Path, content: str | bytes, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        read_table(written(tmp_path, content), **options)
    says(error, *words)


def test_bad_gzip_pipe_and_permission(tmp_path: Path) -> None:
    torn = gzip.compress(b"a,b\n1,2\n" * 1000)[:-20]
    with pytest.raises(DataError) as error:
        read_table(written(tmp_path, torn, "t.csv.gz"))
    says(error, "torn gzip")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError) as error:
        read_table(tmp_path / "pipe.csv")
    says(error, "is a pipe")


def test_a_change_between_reading_and_the_fingerprint(tmp_path: Path) -> None:
    file = written(tmp_path, "a,b\n1,2\n")
    table = read_table(file)
    assert table.fingerprint() == read_table(file).fingerprint()
    other = read_table(file)
    written(tmp_path, "a,b\n1,3,\n")
    with pytest.raises(DataError) as error:
        other.fingerprint()
    says(error, "has changed since it was read")


# --------------------------------------------------------------------------------------- columns from memory


def test_columns_from_memory() -> None:
    table = Table.from_columns(
        {
            "i": [1, None, 3],
            "b": [True, False, True],
            "h": [True, None, False],
            "t": ["a", None, "b"],
            "d": np.array(["2020-01-01", "NaT", "2020-01-03"], dtype="M8[D]"),
        }
    )
    assert list(table.kinds.values()) == ["number", "bool", "text", "text", "date"]
    assert table.take(np.array([2, 0]))["t"].tolist() == ["b", "a"]
    assert table.drop(["i"]).names == ("b", "h", "t", "d")
    assert [start for start, _ in table.blocks(2)] == [0, 2]
    same = Table.from_columns({"i": np.array([1, np.nan, 3], dtype=">f8")})
    assert same.fingerprint() == table.select(["i"]).fingerprint()
    holes = [
        Table.from_columns({"t": words}).fingerprint() for words in (["a", None], ["a", ""], [None, "a"])
    ]
    assert len(set(holes)) == 3


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1, 2], "b": [1]}, ["'a' has 2 rows", "'b' has 1"]),
        ({"a": [1, np.inf]}, ["'a' is infinite in row 1"]),
        ({"a": [1, "x"]}, ["'a' mixes int and str", "row 1"]),
        ({"a": [1j]}, ["'a'", "complex"]),
        ({"a": np.array([1], dtype="m8[s]")}, ["time spans"]),
        ({"a": [[1], [2]]}, ["'a'", "list"]),
        ({"a": [10**400]}, ["too large for float64"]),
        ({1: [1], "1": [2]}, ["two columns named '1'"]),
    ],
)
def test_bad_columns(columns: dict[Any, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        Table.from_columns(columns)
    says(error, *words)


# ------------------------------------------------------------------------------------------------ real data


def test_adult() -> None:
    file = SHARED / "adult" / "adult.data.gz"
    if not file.exists():
        pytest.skip(f"{file} is not there; set BACKPASS_DATA")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_table(file)
    assert len(table) == 32_561
    rows_with_holes = np.zeros(len(table), dtype=bool)
    for name in table.names:
        if table.kinds[name] == "text":
            rows_with_holes |= np.array([v is None for v in table[name]])
    assert rows_with_holes.sum() == 2399
    assert sum(v == ">50K" for v in table["c14"]) == 7841
    assert "? stands for a hole" in table.notes


@pytest.mark.parametrize("name", ["table", "tables", "scan", "budget"])
def test_examples(name: str) -> None:
    importlib.import_module(f"backpass.data.{name}")
    failed, tried = doctest.testmod(sys.modules[f"backpass.data.{name}"])
    assert tried > 0
    assert failed == 0


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, backpass.data.tables; "
        "print([m for m in ('duckdb', 'pandas', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
