"""Tables larger than the memory budget: the numbers are those of memory; files are kept and removed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backpass as bp
import backpass.ops
from backpass.data import cache, mapped
from backpass.data.budget import memory_budget
from backpass.data.frames import table_dataset
from backpass.data.labels import Labels
from backpass.data.stored import StoredTable
from backpass.data.streaming import prepare
from backpass.data.table import Table
from backpass.data.tables import read_table
from backpass.errors import DataError, RecordError, StorageError, UsageError

ROWS = 5000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path / "cache"))


def people(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["age,job,day,flag,half,pay"]
    for n in range(ROWS):
        age = "?" if n % 50 == 0 else f"{rng.normal(40, 9):.3f}"
        job = ["cook", "smith", "", " miller"][rng.integers(4)]
        half = ["true", "false", ""][n % 3]
        lines.append(f"{age},{job},2020-01-{1 + n % 28:02d},{n % 7 == 0},{half},{rng.normal():.4f}")
    file = folder / "people.csv"
    file.write_text("\n".join(lines))
    return file


def same(a: Table, b: Table) -> None:
    assert a.kinds == b.kinds
    for name in a.names:
        if a.kinds[name] == "text":
            assert a[name].tolist() == b[name].tolist(), name
        else:
            np.testing.assert_array_equal(a[name], b[name])


def test_a_stored_table_is_the_table(tmp_path: Path) -> None:
    file = people(tmp_path)
    small, large = read_table(file), read_table(file, memory="50KB")
    assert small.in_memory
    assert isinstance(large, StoredTable)
    assert len(large) == ROWS
    same(small, large)
    assert small.fingerprint() == large.fingerprint()
    blocks = list(large.blocks())
    assert len(blocks) == 5  # the budget allows 1024 rows
    assert [start for start, _ in blocks] == list(range(0, ROWS, 1024))
    same(blocks[2][1], small.take(slice(2048, 3072)))
    rows = np.random.default_rng(1).integers(0, ROWS, 3000)
    same(large.take(rows), small.take(rows))
    same(large.take(slice(None, None, 7)), small.take(slice(None, None, 7)))
    same(large.take(np.array([], dtype=int)), small.take(slice(0, 0)))
    same(large.drop(["age", "flag"]).take([3, 1]), small.drop(["age", "flag"]).take([3, 1]))


def test_prepared_files_hold_what_memory_would(tmp_path: Path) -> None:
    file = people(tmp_path)
    rng = np.random.default_rng(2)
    mixed = rng.permutation(ROWS)
    parts = {"train": np.sort(mixed[:3500]), "validation": mixed[3500:4000], "test": np.sort(mixed[4000:])}
    got: dict[str, Any] = {}
    for memory in (None, "50KB"):
        data = table_dataset(read_table(file, memory=memory), ["pay"], name="people")
        got[str(memory)] = prepare(data, parts, np.float32, memory=memory)
    (inside, arrays), (outside, mapped) = got["None"], got["50KB"]
    for ours, theirs in zip(inside.describe()["columns"], outside.describe()["columns"], strict=True):
        for key, value in ours.items():  # sums over other blocks differ in the last bits
            assert theirs[key] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)
    for part in parts:
        for which in (0, 1):
            assert isinstance(mapped[part][which], np.memmap)
            assert not mapped[part][which].flags.writeable
            np.testing.assert_allclose(mapped[part][which], arrays[part][which], rtol=1e-5, atol=1e-6)
    assert arrays["train"][0].shape == (3500, len(inside.columns))


def test_a_large_result_of_a_small_table_goes_to_files(tmp_path: Path) -> None:
    columns = {"word": [f"w{n % 40}" for n in range(2000)], "y": np.arange(2000) * 0.37}
    data = table_dataset(Table.from_columns(columns), ["y"], name="t")
    parts = {"train": np.arange(2000)}
    _, mapped = prepare(data, parts, memory="100KB")
    _, arrays = prepare(data, parts, memory="1GB")
    assert isinstance(mapped["train"][0], np.memmap)
    assert not isinstance(arrays["train"][0], np.memmap)
    np.testing.assert_array_equal(mapped["train"][0], arrays["train"][0])


def entries() -> list[str]:
    return sorted(path.name for path in cache.cache_folder().iterdir())


def test_the_cache_is_used_again_and_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = people(tmp_path)

    def run() -> list[str]:
        data = table_dataset(read_table(file, memory="50KB"), ["pay"], name="people")
        prepare(data, {"train": np.arange(4000), "test": np.arange(4000, ROWS)}, memory="50KB")
        return entries()

    first = run()
    assert len(first) == 3  # the table, and each part
    assert all(name.startswith("table-") for name in first)
    made = {name: (cache.cache_folder() / name / "made.json").stat().st_ino for name in first}
    assert run() == first
    assert {name: (cache.cache_folder() / name / "made.json").stat().st_ino for name in first} == made
    # a process that was killed, and an entry that nobody used for long
    (cache.cache_folder() / "making-999999999-x").mkdir()
    old = cache.cache_folder() / "table-old"
    old.mkdir()
    (old / "made.json").write_text(json.dumps({"source": "elsewhere"}))
    os.utime(old / "made.json", (0, 0))
    file.write_text(file.read_text() + "\n50,cook,2020-01-01,True,true,1.5")
    third = run()
    assert len(third) == 3  # those of the file as it was are gone, with the two others
    assert not set(third) & set(first)
    assert cache.clear_cache() > 0
    assert entries() == []


def test_an_entry_without_its_mark_is_made_again(tmp_path: Path) -> None:
    file = people(tmp_path)
    read_table(file, memory="50KB")
    entry = cache.cache_folder() / entries()[0]
    (entry / "made.json").unlink()
    assert len(read_table(file, memory="50KB")) == ROWS


def test_errors_of_large_tables_name_the_place(tmp_path: Path) -> None:
    file = people(tmp_path)
    text = file.read_text()
    file.write_text(text + "\noops,cook,2020-01-01,True,true,1.5")
    with pytest.raises(DataError, match=rf"line {ROWS + 2}: column 'age', row {ROWS} .*'oops'"):
        read_table(file, memory="50KB")
    file.write_text(text + "\n1,cook")
    with pytest.raises(DataError, match=rf"line {ROWS + 2}: expected 6 values, got 2"):
        read_table(file, memory="50KB")
    assert entries() == []  # nothing half made is left


def test_a_column_that_turns_out_to_be_words(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(
        "a,b\n" + "\n".join([f"{n},{n}" for n in range(40_000)] + [f"1,w{n}" for n in range(40_000)])
    )
    table = read_table(file, memory="50KB")
    assert not table.in_memory
    assert table.kinds == {"a": "number", "b": "text"}
    assert table.take([0, 79_999])["b"].tolist() == ["0", "w39999"]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match="BACKPASS_CACHE"):
        read_table(people(tmp_path), memory="50KB")


def test_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_budget("1.5 GB") == 1_500_000_000
    assert memory_budget("2MiB") == 2 * 2**20
    assert memory_budget(10) == 10
    assert 0 < memory_budget() <= 4 * 2**30
    monkeypatch.setenv("BACKPASS_MEMORY", "3K")
    assert memory_budget() == 3000
    for wrong in ("much", "-1", "1XB"):
        with pytest.raises(UsageError, match="memory budget"):
            memory_budget(wrong)


# ---- a whole training


def trained(file: Path, memory: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> bp.Run:
    monkeypatch.setenv("BACKPASS_MEMORY", memory)
    return bp.train(
        None,
        str(file),
        target="half",
        epochs=2,
        seed=3,
        validation=0.1,
        test=0.2,
        executor="reference",
        **options,
    )


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """People whose target is a word in each row."""
    file = people(tmp_path)
    lines = file.read_text().replace(",,", ",neither,").split("\n")
    file.write_text("\n".join(lines))
    return file


def test_a_streamed_training_is_the_training(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = trained(words, "1GB", monkeypatch)
    outside = trained(words, "300KB", monkeypatch)
    assert not isinstance(inside.parts["train"][0], np.memmap)
    for x, t in outside.parts.values():
        assert isinstance(x, np.memmap)
        assert isinstance(t, np.memmap)
    assert inside.settings.data.fingerprint == outside.settings.data.fingerprint
    for part, (x, t) in inside.parts.items():
        np.testing.assert_array_equal(outside.parts[part][0], x)
        np.testing.assert_array_equal(outside.parts[part][1], t)
    for name, array in inside.weights.items():
        np.testing.assert_array_equal(outside.weights[name], array)
    assert outside.costs.tolist() == inside.costs.tolist()
    assert outside.metrics == inside.metrics
    assert outside.scores == inside.scores
    ours, theirs = inside.baselines["linear"]["parts"], outside.baselines["linear"]["parts"]
    assert theirs["test"]["accuracy"] == pytest.approx(ours["test"]["accuracy"])
    # backwards, forwards, and the whole of it, through a buffer that holds a few steps only
    for step in (200, 7, 131):
        np.testing.assert_array_equal(outside.at(step).actual("W1_new"), inside.at(step).actual("W1_new"))
        np.testing.assert_array_equal(outside.at(step).rows, inside.at(step).rows)
    assert outside.verify() == outside.steps == inside.steps


@pytest.mark.slow
def test_a_streamed_run_is_found_again(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(words, "300KB", monkeypatch, out=tmp_path / "run")
    assert not (tmp_path / "run" / "rows.safetensors").exists()
    before = entries()
    assert len(before) == 4  # the table and three parts
    code = (
        "import sys, numpy as np, backpass as bp\n"
        "run = bp.load(sys.argv[1])\n"
        "assert isinstance(run.parts['train'][0], np.memmap)\n"
        "print(run.verify(), run.scores['test']['accuracy'])\n"
    )

    def again() -> list[str]:
        got = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=False
        )
        assert got.returncode == 0, got.stderr
        return got.stdout.split()

    told = [str(run.steps), str(run.scores["test"]["accuracy"])]
    assert again() == told
    assert entries() == before
    assert cache.clear_cache() > 0
    assert again() == told  # made again from the file
    assert entries() == before
    words.write_text(words.read_text().replace("cook", "baker", 1))
    with pytest.raises(RecordError, match="have changed"):
        bp.load(tmp_path / "run").verify()


@pytest.mark.slow
def test_the_command_says_that_it_streams(words: Path, tmp_path: Path) -> None:
    environment = os.environ | {"BACKPASS_MEMORY": "300KB"}
    got = subprocess.run(
        [sys.executable, "-m", "backpass.cli", "train", str(words), "--target", "half", "--epochs", "1",
         "--out", str(tmp_path / "run")],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    said = " ".join((got.stdout + got.stderr).split())
    assert got.returncode == 0, said
    assert f"from {cache.cache_folder()}" in said
    assert "more than the 300 kB that data may take in memory" in said
    assert "Peak memory: " in said


def test_rows_in_files_are_read_as_rows_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "WINDOW", 4096)
    held = np.random.default_rng(0).normal(size=(5000, 7)).astype(np.float32)
    np.save(tmp_path / "x.npy", held)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = np.random.default_rng(1).integers(0, 5000, 9000)
    for wanted in (rows, np.sort(rows), rows[:1], rows[:0]):
        np.testing.assert_array_equal(mapped.take(x, wanted), held[wanted])
    assert not isinstance(mapped.take(x, rows), np.memmap)
    np.testing.assert_array_equal(np.concatenate([part.copy() for _, part in mapped.blocks(x, 300)]), held)
    assert mapped.some(held, 10, 0) is None
    assert mapped.some(x, 5000, 0) is None
    chosen = mapped.some(x, 100, 0)
    assert chosen is not None
    assert len(set(chosen.tolist())) == 100
    assert (np.diff(chosen) > 0).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is asked of Linux")
def test_pages_that_were_read_do_not_stay(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((50_000, 400), np.float32))  # 80 MB
    x = np.load(tmp_path / "x.npy", mmap_mode="r")

    def mapped_now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) * 1024

    before = mapped_now()
    for _, part in mapped.blocks(x, 4096):
        part.sum()
    mapped.take(x, np.random.default_rng(0).permutation(50_000))
    assert mapped_now() - before < 20e6
    x.sum()  # what happens without: the test can tell
    assert mapped_now() - before > 60e6


def test_scores_of_many_rows_in_files_are_of_a_sample(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("backpass.scoring", "backpass.scoring.baselines"):
        monkeypatch.setattr(importlib.import_module(module), "SCORED", 2000)
    inside, outside = trained(words, "1GB", monkeypatch), trained(words, "300KB", monkeypatch)
    assert (outside.scores["train"]["rows"], outside.scores["train"]["of"]) == (2000, 3500)
    assert "of" not in inside.scores["train"]
    assert inside.scores["train"]["rows"] == 3500
    assert outside.scores["test"] == inside.scores["test"]  # 1,000 rows: all of them
    assert outside.scores["train"]["accuracy"] == pytest.approx(inside.scores["train"]["accuracy"], abs=0.05)
    assert outside.metrics == inside.metrics  # of all rows either way
    assert outside.baselines["linear"]["rows"] == 2000


def test_labels_are_the_words_they_stand_for(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    wide = [f"word {k}" for k in rng.integers(0, 300, 8000)]
    file.write_text("a,y\n" + "\n".join(f"{n},{word}" for n, word in enumerate(wide)))
    small, large = (table_dataset(read_table(file, memory=m), ["y"], name="t") for m in (None, "50KB"))
    assert isinstance(large.y, Labels)
    assert large.y.places.dtype == np.uint16
    assert large.classes == small.classes
    assert large.fingerprint() == small.fingerprint()
    np.testing.assert_array_equal(np.asarray(large.y), small.y)
    np.testing.assert_array_equal(large.codes(), small.codes())
    np.testing.assert_array_equal(large.codes(np.array([7, 2])), small.codes()[[7, 2]])
    for part, other in zip(large.parts(0.1, 0.2, seed=1), small.parts(0.1, 0.2, seed=1), strict=True):
        np.testing.assert_array_equal(part, other)
    file.write_text(file.read_text() + "\n1,\n2,word 1\n3,?")
    with pytest.raises(DataError, match=r"missing in 2 rows: 8000, 8002"):
        table_dataset(read_table(file, memory="50KB"), ["y"], name="t")
    file.write_text("a,y\n" + "\n".join(f"{n},yes" for n in range(9000)))
    with pytest.raises(DataError, match="'yes' in all 9000 rows"):
        table_dataset(read_table(file, memory="50KB"), ["y"], name="t")
