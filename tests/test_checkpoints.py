"""Checkpoints: where they are, what they cost, which stay; and that they leave the memory for the disk."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backpass as bp
from backpass.errors import RecordError, UsageError
from backpass.record import store
from backpass.record.checkpoints import (
    Checkpoints,
    Spacing,
    carried_bytes,
    digest,
    spacing_for,
    step_seconds,
)
from backpass.training.optimisers import SGD, Adam
from backpass.training.step import step_graph


def program(*sizes: int, optimiser: object = None) -> bp.Graph:
    hidden = [bp.Dense(n, "relu") for n in sizes[1:-1]]
    net = bp.Network([*hidden, bp.Dense(sizes[-1], "softmax")])
    return step_graph(net, "cross_entropy", optimiser or Adam(), sizes[0])


# ---- where they are


@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 3000))
def test_never_more_stay_than_there_is_room_for(first: int, kept: int, steps: int) -> None:
    plan, marks = Spacing(first, kept), [0]
    for done in range(first, steps + 1, first):
        assert plan.next(done - 1) == done
        marks = [mark for mark in [*marks, done] if plan.stays(mark, done)]
        assert len(marks) <= kept + 2  # the start, and the newest
        assert done in marks
        spacing = plan.at(done)
        assert set(range(0, done + 1, spacing)) <= set(marks)  # none is missing that should be there
        assert (done // spacing) * 2 >= kept or spacing == first


@pytest.mark.parametrize(
    ("sizes", "batch", "steps"),
    [
        ((784, 300, 100, 10), 128, 100_000),
        ((784, 100, 10), 32, 50_000),
        ((64, 32, 10), 32, 300_000),
        ((8, 4, 2), 8, 10_000_000),
        ((784, 2000, 2000, 10), 128, 20_000),
    ],
)
@pytest.mark.parametrize("megabytes", [1.0, 20.0, 200.0, 5000.0])
def test_what_is_planned_fits_the_budget_and_costs_little(
    sizes: tuple[int, ...], batch: int, steps: int, megabytes: float
) -> None:
    step = program(*sizes)
    plan = spacing_for(step, batch, steps, "compiled", megabytes)
    size = carried_bytes(step)
    assert plan.first >= 1
    if plan.kept:
        assert (plan.kept + 4) * size <= megabytes * 1e6
    else:
        assert 5 * size > megabytes * 1e6
    each = step_seconds(step, batch, "compiled")
    assert (0.004 + size / 300e6) / (plan.first * each) <= 0.0201  # of a run goes into writing
    if plan.kept and steps >= plan.first:
        final = plan.at(steps)
        write = (0.004 + size / 300e6) / each
        cheapest = math.sqrt(2 * steps * write / 100)
        wanted = max(cheapest, 50 * write, steps / (int(megabytes * 1e6) // size - 3))
        assert wanted * 0.999 <= final <= 1.2 * wanted + 2 ** (final // plan.first)


def test_a_run_of_100_000_steps_has_the_checkpoints_that_200_mb_hold() -> None:
    step = program(784, 300, 100, 10)
    plan = spacing_for(step, 128, 100_000, "compiled", 200.0)
    assert carried_bytes(step) == 3 * 4 * 266_610 + 8  # weights, two slots each, two counts
    assert 55 <= 100_000 // plan.at(100_000) <= 58


def test_nothing_in_between_is_written_where_there_is_no_room_or_no_need() -> None:
    assert spacing_for(program(64, 32, 10), 32, 10_000, "compiled", 0.0) == Spacing(0, 0)
    tiny = spacing_for(program(784, 300, 10), 32, 10_000, "compiled", 1e-3)
    assert tiny.kept == 0
    assert tiny.first > 0  # the newest alone, for a run that is killed


# ---- in a run


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    return rng.standard_normal((90, 6)) + 2 * np.eye(3, 6)[y], y


def train(**options: object) -> bp.Run:
    net = bp.Network([bp.Dense(8, "sigmoid"), bp.Dense(3, "softmax")])
    given = {"batch": 7, "epochs": 30, "executor": "reference", "optimizer": SGD(0.2, 0.9)}
    return bp.train(net, data(), **{**given, **options})


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small runs with many checkpoints, as large ones have them; and the disk is written to at once."""
    monkeypatch.setattr("backpass.fit.spacing_for", lambda *_: Spacing(10, 5))
    monkeypatch.setattr(store, "_PAUSE", 0.0)


@pytest.mark.usefixtures("dense")
def test_checkpoints_thin_out_in_memory_and_on_the_disk(tmp_path: Path) -> None:
    run = train(out=tmp_path / "a")
    assert run.steps == 390
    assert list(run.record.checkpoints) == [0, 80, 160, 240, 320, 390]
    on_disk = sorted(int(p.stem) for p in (tmp_path / "a" / "checkpoints").iterdir())
    assert on_disk == list(run.record.checkpoints)
    assert sorted(run.record.hashes) == [*range(0, 391, 10)]  # of those that went, too
    loaded = bp.load(tmp_path / "a")
    assert loaded.record.hashes == run.record.hashes
    assert loaded.verify() == 390


@pytest.mark.usefixtures("dense")
def test_a_run_that_ends_early_has_dense_checkpoints() -> None:
    run = train(callbacks=[lambda p: "stop" if p.epoch == 3 else None])
    assert list(run.record.checkpoints) == [0, 10, 20, 30, 39]


@pytest.mark.usefixtures("dense")
def test_the_hash_of_a_checkpoint_that_went_is_compared_too(tmp_path: Path) -> None:
    run = train(out=tmp_path / "a")
    run.record.hashes[130] = run.record.hashes[140]
    with pytest.raises(RecordError, match=r"between steps 120 and 130 .*step 130 do not have the hash"):
        run.verify()


@pytest.mark.usefixtures("dense")
def test_a_damaged_checkpoint_is_left_out_and_the_visit_is_the_same(tmp_path: Path) -> None:
    run = train(out=tmp_path / "a")
    before = run.at(200)["W1"].copy()
    path = tmp_path / "a" / "checkpoints" / "000000160.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    loaded = bp.load(tmp_path / "a")
    assert 160 in loaded.record.checkpoints  # its size is right, and no more was looked at
    assert loaded.at(200)["W1"].tobytes() == before.tobytes()
    assert 160 not in loaded.record.checkpoints
    assert "000000160.safetensors is damaged" in loaded.record.outcome.notes[-1]
    assert loaded.verify() == 390
    (path.parent / "000000390.safetensors").write_bytes(raw)  # of the right size, but another's bytes
    assert bp.load(tmp_path / "a").steps == 320
    (path.parent / "000000000.safetensors").write_bytes(raw)
    with pytest.raises(RecordError, match="damaged"):
        bp.load(tmp_path / "a").at(5)


@pytest.mark.usefixtures("dense")
def test_loading_reads_no_checkpoint_but_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(out=tmp_path / "a")
    from backpass.record.folder import RunFolder

    read, true = [], RunFolder.read_checkpoint

    def reading(self: RunFolder, done: int, *rest: object) -> object:
        read.append(done)
        return true(self, done, *rest)

    monkeypatch.setattr(RunFolder, "read_checkpoint", reading)
    loaded = bp.load(tmp_path / "a")
    assert read == [390]
    loaded.at(100)
    assert read == [390, 80]


@pytest.mark.usefixtures("dense")
def test_what_is_on_the_disk_leaves_the_memory(tmp_path: Path) -> None:
    run = train(out=tmp_path / "a")
    marks = run.record.checkpoints
    marks.memory = 0
    assert all(state["W1"].any() for state in marks.values())
    assert len([mark for mark in marks if mark in marks._held and mark in marks._files]) == 0
    assert run.verify() == 390


def test_recording_can_be_off(tmp_path: Path) -> None:
    run = train(record_mb=0, out=tmp_path / "a")
    assert list(run.record.checkpoints) == [0, 390]
    assert len(run.monitors) == 0
    loaded = bp.load(tmp_path / "a")
    assert loaded.settings.record_mb == 0
    assert loaded.at(200)["W1"].tobytes() == train().at(200)["W1"].tobytes()
    for wrong in (-1, float("nan"), float("inf"), "200"):
        with pytest.raises(UsageError, match="record_mb must be a number"):
            train(record_mb=wrong)


def test_a_hash_tells_names_shapes_and_types_apart() -> None:
    zero = np.zeros(4, np.float32)
    found = [
        digest(state)
        for state in (
            {"a": zero},
            {"b": zero},
            {"a": zero.reshape(2, 2)},
            {"a": zero.astype(np.float64)[:2]},
            {"a": zero[:2], "b": zero[:2]},
            {"a": -zero},
        )
    ]
    assert len(set(found)) == len(found)
    assert digest({"a": zero, "b": zero + 1}) == digest({"b": zero + 1, "a": zero})


def test_the_least_recently_asked_for_leaves_first() -> None:
    marks, asked = Checkpoints(memory=16), []

    def reader(mark: int) -> object:
        def read() -> dict[str, np.ndarray]:
            asked.append(mark)
            return {"W": np.full(1, mark, np.float64)}

        return read

    for mark in (1, 2, 3):
        marks.stored(mark, reader(mark))
    for mark in (1, 2, 1, 3, 1, 2):
        assert marks[mark]["W"][0] == mark
    assert asked == [1, 2, 3, 2]
    marks[4] = {"W": np.zeros(100)}  # not on the disk: it stays
    assert marks[4]["W"].size == 100
    del marks[4]
    assert list(marks) == [1, 2, 3]
    with pytest.raises(KeyError):
        del marks[4]


# ---- long ways


@pytest.mark.usefixtures("dense")
def test_a_long_way_is_told_of_before_it_begins_and_while_it_goes() -> None:
    run = train()
    run.record.outcome.seconds = 390 * 0.1  # as if a step took 0.1 s
    assert run.replay.estimate(121) == pytest.approx(4.0)  # from 80 to 120
    heard = []
    run.replay.told = heard.append
    run.at(121)
    assert [wait.done for wait in heard] == [*range(0, 41, 2)]
    assert {(wait.steps, round(wait.seconds, 6)) for wait in heard} == {(40, 4.0)}
    assert run.replay.estimate(121) == 0.0
    heard.clear()
    run.at(119)  # the way to 120 left states behind
    run.at(90)
    assert heard == []
    assert run.replay.estimate(119) == 0.0


def test_who_is_told_may_end_the_way() -> None:
    run = train()
    other = train()
    run.record.outcome.seconds = 390 * 0.1

    def enough(wait: object) -> None:
        if wait.done >= 50:
            raise KeyboardInterrupt

    run.replay.told = enough
    with pytest.raises(KeyboardInterrupt):
        run.at(300)
    run.replay.told = None
    assert run.at(300)["W1"].tobytes() == other.at(300)["W1"].tobytes()
