"""Records: any step again bit for bit, whatever happens to the process; and files that cannot be trusted."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import backpass as bp
from backpass.errors import BackpassError, RecordError, ReplayMismatch, StorageError, UsageError
from backpass.exec.choose import executor_named
from backpass.nn import Apply, BatchNorm, Dropout
from backpass.record import store
from backpass.training.optimisers import SGD, Adam, AdamW, RMSprop
from backpass.training.schedules import Cosine, OnPlateau, WarmUp
from backpass.training.stopping import EarlyStopping


def train(executor: str = "compiled", momentum: float = 0.9, **options: object) -> bp.Run:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    X = rng.standard_normal((90, 6)) + 2 * np.eye(3, 6)[y]
    net = options.pop("network", bp.Network([bp.Dense(8, "sigmoid"), bp.Dense(3, "softmax")]))
    settings = {"batch": 7, "epochs": 20, "executor": executor, "optimizer": bp.SGD(0.2, momentum)}
    return bp.train(net, (X, y), **{**settings, **options})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "a"
    train().save(path)
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "a"))


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_any_step_in_any_order_is_the_runs_own(executor: str) -> None:
    """States of visits against an independent run that stops at each step."""
    run = train(executor)
    record, rows = run.record, run.rows.arrays
    record.checkpoints = {k: v for k, v in record.checkpoints.items() if k in (0, 130, run.steps)}
    other = executor_named(executor).compile_loop(run.graph, rows, record.settings.batch)
    other.load(record.checkpoints[0])
    states = [other.state()]
    for s in range(run.steps):
        other.run(*record.batches.span(s, s + 1), record.numbers(s, s + 1))
        states.append(other.state())
    rng = np.random.default_rng(1)
    for step in rng.permutation(np.arange(1, run.steps + 1))[:60]:
        visit = run.at(int(step))
        for name, array in visit.before.items():
            assert array.tobytes() == states[step - 1][name].tobytes()
        for name, array in visit.after.items():
            assert array.tobytes() == states[step][name].tobytes()
    assert run.verify() == run.steps


def _layers() -> list:
    return [bp.Dense(8, "tanh"), Dropout(0.3), BatchNorm(), bp.Dense(3, "softmax")]


EVERYTHING = {
    "adam": {"optimizer": Adam(0.02)},
    "adamw, clipped, warmed up": {"optimizer": AdamW(WarmUp(Cosine(0.02), steps=30), clip_norm=0.5)},
    "rmsprop, clipped": {"optimizer": RMSprop(0.01, clip=0.01, decay=0.1)},
    "nesterov, penalties": {"optimizer": SGD(0.1, 0.9, nesterov=True), "l1": 1e-4, "l2": 1e-3},
    "dropout and batch normalisation": {"layers": _layers, "optimizer": SGD(0.1)},
    "all at once": {
        "layers": _layers,
        "optimizer": Adam(OnPlateau(0.05, patience=2), clip_norm=1.0, decay=0.01),
        "validation": 0.2,
        "stop": EarlyStopping(patience=7),
        "class_weight": "balanced",
        "l2": 1e-3,
    },
}


def _cases() -> list:
    """All of them; the slow ones are those whose kernels take long to compile."""
    first = "adamw, clipped, warmed up"
    quick = [(first, "reference"), (first, "compiled"), ("dropout and batch normalisation", "reference")]
    slow = [(case, executor) for case in EVERYTHING for executor in ("reference", "compiled")]
    return quick + [pytest.param(*c, marks=pytest.mark.slow) for c in slow if c not in quick]


@pytest.mark.parametrize(("case", "executor"), _cases())
def test_whatever_a_run_uses_it_is_replayed_bit_for_bit(case: str, executor: str, tmp_path: Path) -> None:
    options = dict(EVERYTHING[case])
    if "layers" in options:
        options["network"] = bp.Network(options.pop("layers")())
    run = train(executor, **options)
    assert run.settings.executor == executor, run.settings.executor_why
    assert np.isfinite(run.costs).all()
    marks = run.record.checkpoints
    one = executor_named(executor).compile_loop(
        run.graph, run.rows.arrays | run.record.row_data, run.settings.batch
    )
    run.record.load(one, marks[0])  # an independent run that stops at each step
    states = [run.record.state(one)]
    for s in range(run.steps):
        chunk = one.run(*run.record.batches.span(s, s + 1), run.record.numbers(s, s + 1))
        assert chunk.watched[0] == run.costs[s]
        states.append(run.record.state(one))
    run.save(tmp_path / "a")
    for visited in (run, bp.load(tmp_path / "a")):
        for step in (1, 30, run.steps, 12):
            visit = visited.at(step)
            assert visit["C"] == pytest.approx(run.costs[step - 1], rel=1e-4)
            for name in run.record.carried:
                assert visit.before[name].tobytes() == states[step - 1][name].tobytes()
                assert visit.after[name].tobytes() == states[step][name].tobytes()
        assert visited.verify() == run.steps
        assert visited.predict_raw(np.ones((2, 6))).tobytes() == run.predict_raw(np.ones((2, 6))).tobytes()


def test_a_best_state_that_is_torn_is_said(tmp_path: Path) -> None:
    run = train("reference", **_stopping())
    run.save(tmp_path / "a")
    best = run.record.outcome.best_step
    assert 0 < best < run.steps
    (tmp_path / "a" / "checkpoints" / f"{best:09d}.safetensors").write_bytes(b"torn")
    loaded = bp.load(tmp_path / "a")
    assert f"the best state, after step {best}, is torn" in loaded.record.outcome.notes[-1]
    assert loaded.weights["W1"].tobytes() == run.record.last()["W1"].tobytes()


def _stopping() -> dict:
    return {"validation": 0.3, "stop": EarlyStopping(patience=3), "optimizer": SGD(2.0), "epochs": 40}


def test_whenever_the_process_ends_the_folder_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each single change of the disk, what is there loads and verifies."""
    true, seen = os.replace, []

    def check(*given: object) -> None:
        true(*given)
        if (tmp_path / "a" / "run.json").exists():  # with its first outcome it is a run
            copy = shutil.copytree(tmp_path / "a", tmp_path / f"copy{len(seen)}")
            monkeypatch.setattr(os, "replace", true)
            loaded = bp.load(copy)
            assert loaded.verify() == loaded.steps
            seen.append((loaded.steps, loaded.record.outcome.best_step, loaded.status))
            assert loaded.record.outcome.notes == []
            shutil.rmtree(copy)
            monkeypatch.setattr(os, "replace", check)

    monkeypatch.setattr(os, "replace", check)
    monkeypatch.setattr(store, "_PAUSE", 0.0)
    falling = SGD(OnPlateau(1.0, factor=0.3, patience=1))
    run = train(
        "reference",
        out=tmp_path / "a",
        **{**_stopping(), "optimizer": falling, "epochs": 8, "stop": EarlyStopping(9)},
    )
    assert len({best for _, best, _ in seen}) > 3  # better states came and went meanwhile
    dropped = run.record.outcome.events[0].step  # and the rate fell between two of them
    assert any(best and best > dropped for _, best, _ in seen)
    assert seen[-1] == (run.steps, run.record.outcome.best_step, run.status)
    assert seen == sorted(seen, key=lambda found: found[0])


def test_a_network_with_a_function_of_its_own_is_loaded(tmp_path: Path) -> None:
    net = bp.Network([bp.Dense(4, "tanh"), Apply(lambda a: a * a), bp.Dense(3, "softmax")])
    run = train("reference", network=net, epochs=2)
    run.save(tmp_path / "a")
    loaded = bp.load(tmp_path / "a")
    assert loaded.verify() == run.steps
    assert loaded.predict(np.ones((2, 6))).tolist() == run.predict(np.ones((2, 6))).tolist()
    assert loaded.at(3).why("W1[0,1]").balanced


def test_a_visit_has_every_named_value_and_the_right_rows() -> None:
    run = train()
    visit = run.at(50)
    assert set(visit.keys()) == set(run.graph.named)
    assert visit["C"] == pytest.approx(run.costs[49], rel=1e-6)
    np.testing.assert_array_equal(visit["x"], run.rows.arrays["x"][visit.rows])
    np.testing.assert_allclose(visit["dW1"], visit["x"].T @ visit["δ1"], rtol=1e-5, atol=1e-7)
    assert visit.rounding("W1_new") < 1e-6
    np.testing.assert_array_equal(visit.actual("W1_new"), run.at(51).actual("W1"))
    for wrong in (0, -1, run.steps + 1, 2.5, True):
        with pytest.raises(UsageError, match=f"steps 1 to {run.steps}"):
            run.at(wrong)
    with pytest.raises(BackpassError, match="Did you mean 'dW1'"):
        visit["dw1"]


def test_looking_does_not_change_what_is_seen() -> None:
    run = train()
    first = run.at(77)["δ1"].copy()
    for step in (3, 200, 77, 1, 78):
        run.at(step).why("W2[1,1]")
    assert run.at(77)["δ1"].tobytes() == first.tobytes()
    assert run.verify() == run.steps


def test_a_flipped_bit_is_found() -> None:
    run = train()
    mark = sorted(run.record.checkpoints)[-1]
    run.record.checkpoints[mark]["W1"].view(np.uint32)[2, 3] ^= 1
    with pytest.raises(ReplayMismatch, match=f"and {mark}.*W1 differs"):
        run.verify()


def test_a_loaded_run_is_the_run(folder: Path) -> None:
    run, loaded = train(), bp.load(folder)
    assert loaded.status == "finished"
    assert loaded.costs.tobytes() == run.costs.tobytes()
    assert loaded.metrics == run.metrics
    assert loaded.graph.digest == run.graph.digest
    X = np.random.default_rng(3).standard_normal((5, 6))
    np.testing.assert_array_equal(loaded.predict(X), run.predict(X))
    assert loaded.at(100)["δ1"].tobytes() == run.at(100)["δ1"].tobytes()
    assert loaded.at(100).why("W1[2,3]").to_dict() == run.at(100).why("W1[2,3]").to_dict()
    assert loaded.verify() == run.steps


def test_explicit_orders_are_kept(tmp_path: Path) -> None:
    run = train(order=lambda epoch: np.random.default_rng(epoch + 7).permutation(90)[: 40 + epoch])
    run.save(tmp_path / "a")
    loaded = bp.load(tmp_path / "a")
    assert loaded.verify() == run.steps
    assert list(loaded.at(60).rows) == list(run.at(60).rows)


def test_data_from_a_source_are_read_again_and_must_be_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 3)), rng.integers(0, 2, 40)
    np.savez(tmp_path / "d.npz", X=X, y=y)
    net = bp.Network([bp.Dense(2, "softmax")])
    run = bp.train(net, str(tmp_path / "d.npz"), epochs=2, validation=0.25, out=tmp_path / "r")
    assert not (tmp_path / "r" / "rows.safetensors").exists()
    loaded = bp.load(tmp_path / "r")
    assert loaded.at(2)["x"].tobytes() == run.at(2)["x"].tobytes()
    assert list(loaded.at(2).rows) == list(run.at(2).rows)
    X[0, 0] += 1
    np.savez(tmp_path / "d.npz", X=X, y=y)
    with pytest.raises(RecordError, match="data of this run have changed"):
        bp.load(tmp_path / "r").at(2)
    assert len(bp.load(tmp_path / "r").predict(X)) == 40  # predicting needs no training data


# ---- what can happen to a process

#: Of a command in the background a shell has Ctrl-C ignored, and its children inherit that.
_LONG = """
import signal, sys, numpy as np, backpass as bp
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
X, y = rng.standard_normal((500, 10)), rng.integers(0, 3, 500)
net = bp.Network([bp.Dense(16, "tanh"), bp.Dense(3, "softmax")])
def tell(p):
    print(p.step, flush=True)
bp.train(net, (X, y), epochs=1_000_000, batch=50, out=sys.argv[1], executor="reference", progress=tell)
"""


def _start(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _LONG, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return process


def _wait_for_step(process: subprocess.Popen[str], step: int) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= step:
            return int(line)
    raise AssertionError(process.stderr.read() if process.stderr else "")


@pytest.mark.parametrize("step", [1, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_kill_leaves_a_readable_run(tmp_path: Path, step: int) -> None:
    process = _start(tmp_path / "a")
    _wait_for_step(process, step)
    process.kill()
    process.communicate()
    run = bp.load(tmp_path / "a")
    assert run.status == "running"
    assert "stopped from outside" in run.record.outcome.message
    assert run.steps == max(run.record.checkpoints)
    assert run.verify() == run.steps
    assert len(run.predict(np.zeros((2, 10)))) == 2


def test_an_interrupt_keeps_everything(tmp_path: Path) -> None:
    process = _start(tmp_path / "a")
    seen = _wait_for_step(process, 300)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert "KeyboardInterrupt" in errors
    run = bp.load(tmp_path / "a")
    assert run.status == "interrupted"
    assert run.steps >= seen
    assert len(run.costs) == run.steps
    assert run.verify() == run.steps
    assert run.at(run.steps).why("W1[0,0]").balanced


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match="No space left"):
        train().save(tmp_path / "a")
    assert not list((tmp_path / "a").rglob("*.tmp"))


def test_a_folder_in_use_is_not_written_over(folder: Path) -> None:
    with pytest.raises(StorageError, match="is not empty"):
        train(out=folder)


# ---- files that cannot be trusted


def _edit(path: Path, change: object) -> None:
    data = json.loads(path.read_text())
    change(data)  # type: ignore[operator]
    path.write_text(json.dumps(data))


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="there is no run folder"):
        bp.load(tmp_path / "nothing")
    with pytest.raises(RecordError, match=r"no run folder, or it is torn: no run\.json"):
        bp.load(tmp_path)


def test_a_newer_run(folder: Path) -> None:
    _edit(folder / "run.json", lambda d: d.update(format=99, version="7.0"))
    with pytest.raises(RecordError, match=r"written by backpass 7\.0 .*Install the newer version"):
        bp.load(folder)


def test_an_older_run(folder: Path) -> None:
    _edit(folder / "run.json", lambda d: d.update(format=1, version="0.1.0"))
    with pytest.raises(RecordError, match=r"written by backpass 0\.1\.0 in format 1.*Install that version"):
        bp.load(folder)


@pytest.mark.parametrize("name", ["run.json", "graph.json", "predict.json"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_torn_text(folder: Path, name: str, keep: float) -> None:
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[: int(keep * len(raw))])
    with pytest.raises(RecordError, match=name.replace(".", r"\.")):
        bp.load(folder)


def test_a_torn_checkpoint_is_passed_over(folder: Path) -> None:
    marks = sorted((folder / "checkpoints").iterdir())
    last = int(marks[-1].stem)
    marks[-1].write_bytes(marks[-1].read_bytes()[:100])
    run = bp.load(folder)
    assert run.steps < last
    assert "torn" in run.record.outcome.message
    assert run.verify() == run.steps
    marks[0].write_bytes(b"")
    with pytest.raises(RecordError, match="no readable checkpoint of its start"):
        bp.load(folder)


def test_hostile_files(folder: Path) -> None:
    """Each is refused with our own error, and nothing of it is executed."""
    first = folder / "checkpoints" / "000000000.safetensors"
    whole = first.read_bytes()
    first.write_bytes((2**40).to_bytes(8, "little") + whole[8:])
    with pytest.raises(RecordError):
        bp.load(folder)
    arrays = load_file(_restore(first, whole))
    save_file({**arrays, "W1": np.zeros((2, 2), np.float32)}, first)
    with pytest.raises(RecordError, match="does not hold what"):
        bp.load(folder)
    _restore(first, whole)
    text = (folder / "graph.json").read_text()
    for wrong in (
        text.replace('"op":"sigmoid"', '"op":"__import__"'),
        text.replace('"name":"z1"', '"name":"z1;import os"'),
        text.replace("f32[B,6]", "f32[B,7]"),
        text.replace('"format":1', '"format":2'),
        "[" * 100_000,
        "null",
    ):
        assert wrong != text
        (folder / "graph.json").write_text(wrong)
        with pytest.raises(RecordError):
            bp.load(folder)
    (folder / "graph.json").write_text(text)
    for change in (
        lambda d: d["settings"].update(batch="7"),
        lambda d: d["settings"].update(unknown=1),
        lambda d: d.pop("outcome"),
        lambda d: d["settings"].update(in_features=9),
        lambda d: d["settings"].update(executor="/bin/sh"),
        lambda d: d["settings"].update(layers=[]),
        lambda d: d["settings"].update(optimiser={"name": "sgd"}),
    ):
        raw = (folder / "run.json").read_text()
        _edit(folder / "run.json", change)
        with pytest.raises(BackpassError):
            bp.load(folder).at(1)
        (folder / "run.json").write_text(raw)
    assert bp.load(folder).at(1)["C"] > 0


def _restore(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def test_costs_with_a_gap_are_read_up_to_it(folder: Path) -> None:
    database = sqlite3.connect(folder / "record.sqlite")
    database.execute("UPDATE costs SET cost = x'00'")
    database.commit()
    database.close()
    assert len(bp.load(folder).costs) == 0
    (folder / "record.sqlite").write_bytes(b"not a database, but longer than a header" * 10)
    torn = bp.load(folder)
    assert len(torn.costs) == 0
    assert "record.sqlite is torn" in torn.record.outcome.notes[-1]
    assert torn.verify() == torn.steps


def _sql(folder: Path, *statements: str) -> None:
    database = sqlite3.connect(folder / "record.sqlite")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE costs SET count = -1",
        "UPDATE costs SET count = 9000000000000000000",
        "UPDATE costs SET count = 1e300",
        "UPDATE costs SET cost = zeroblob(300000000)",
        "UPDATE costs SET cost = 'words'",
        "UPDATE costs SET first = -5",
        "DROP TABLE costs",
        "ALTER TABLE costs RENAME TO other",
    ],
)
def test_hostile_numbers_of_costs(folder: Path, statement: str) -> None:
    _sql(folder, statement)
    run = bp.load(folder)
    assert len(run.costs) == 0
    assert "record.sqlite" in run.record.outcome.notes[-1]
    assert run.verify() == run.steps


def test_a_table_that_never_ends_is_not_read(folder: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i"
    _sql(
        folder,
        "DROP TABLE costs",
        f"CREATE VIEW costs AS {endless} AS first, 1 AS count, x'0000000000000000' AS cost FROM n",
        "DROP TABLE hashes",
        f"CREATE VIEW hashes AS {endless} AS step, 'x' AS hash FROM n",
        "DROP TABLE monitors",
        f"CREATE VIEW monitors AS {endless} AS block, '' AS name, 0 AS count, x'' AS value FROM n",
    )
    run = bp.load(folder)
    assert (len(run.costs), run.record.hashes, len(run.monitors)) == (0, {}, 0)


@pytest.mark.parametrize(
    ("statement", "looks"),
    [
        ("UPDATE monitors SET count = -1 WHERE name = 'norm dW1'", 0),
        ("UPDATE monitors SET count = 9000000000000000000", 0),
        ("UPDATE monitors SET value = zeroblob(200000000) WHERE name = ''", 0),
        ("UPDATE monitors SET name = char(27) || 'norm dW1' WHERE name = 'norm dW1'", 0),
        ("UPDATE monitors SET block = 5", 0),
        ("UPDATE monitors SET value = x'ffffffffffffff7f', count = 1 WHERE name = ''", 0),
        ("DELETE FROM monitors WHERE name = ''", 0),
    ],
)
def test_hostile_monitors(folder: Path, statement: str, looks: int) -> None:
    assert len(bp.load(folder).monitors) > 2
    _sql(folder, statement)
    assert len(bp.load(folder).monitors) == looks


def test_hashes_that_are_none_are_left_alone_and_wrong_ones_are_seen(folder: Path) -> None:
    _sql(folder, "INSERT INTO hashes VALUES (-4, 'x'), (999999, 'x'), (7, x'00')")
    run = bp.load(folder)
    assert set(run.record.hashes) == {0, run.steps}
    _sql(folder, "INSERT INTO hashes VALUES (17, 'x')")
    with pytest.raises(ReplayMismatch, match="step 17 do not have the hash"):
        bp.load(folder).verify()


def _with_head(path: Path, change: object) -> None:
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8 : 8 + size])
    change(head)  # type: ignore[operator]
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head["W1"].update(shape=[-6, -8]),
        lambda head: head["W1"].update(shape=[2**40, 2**40]),
        lambda head: head["W1"].update(data_offsets=[0, 2**60]),
        lambda head: head["W1"].update(data_offsets=[192, 0]),
        lambda head: head["W1"].update(dtype="F8_E5M2"),
        lambda head: head["W1"].update(shape=[6.0, 8]),
        lambda head: head.update(W1=3),
        lambda head: head.clear(),
    ],
)
def test_headers_are_checked_before_anything_is_read(
    folder: Path, change: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.numpy

    def never(*_: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(safetensors.numpy, "load", never)
    _with_head(folder / "checkpoints" / "000000000.safetensors", change)
    with pytest.raises(RecordError):
        bp.load(folder)


@pytest.mark.skipif(os.name != "posix", reason="files of POSIX")
def test_files_that_are_larger_than_anything_are_not_read(folder: Path) -> None:
    for name in ("checkpoints/000000000.safetensors", "run.json", "graph.json", "rows.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        with open(path, "r+b") as file:  # a sparse file: it takes no room on the disk
            file.truncate(2**40)
        with pytest.raises(RecordError, match=path.name.replace(".", r"\.") + "|readable checkpoint"):
            bp.load(folder).rows  # noqa: B018
        path.unlink()
        os.mkfifo(path)  # would never end
        with pytest.raises(RecordError, match=r"no plain file|readable checkpoint"):
            bp.load(folder).rows  # noqa: B018
        path.unlink()
        path.write_bytes(whole)
    head = b'{"x":{"dtype":"F32","shape":[274877906944],"data_offsets":[0,1099511627776]}}'
    with open(folder / "rows.safetensors", "wb") as file:  # this one's header fits its size
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + 2**40)
    with pytest.raises(RecordError, match=r"holds 1,099,511,627,776 bytes .* at the most"):
        bp.load(folder).rows  # noqa: B018


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    for name in ("checkpoints/000000000.safetensors", "run.json", "rows.safetensors"):
        path = folder / name
        elsewhere = tmp_path / "elsewhere"
        shutil.move(path, elsewhere)
        path.symlink_to(elsewhere)
        with pytest.raises(RecordError, match=r"outside of the run folder|readable checkpoint"):
            bp.load(folder).rows  # noqa: B018
        path.unlink()
        shutil.move(elsewhere, path)
    moved = shutil.move(folder, tmp_path / "moved")
    folder.symlink_to(moved)  # a link to the whole folder is a user's own way of naming it
    assert bp.load(folder).verify() > 0


def test_a_field_of_a_newer_version_is_said_to_be_one(folder: Path) -> None:
    _edit(folder / "run.json", lambda d: (d.update(version="99.0"), d["settings"].update(later=1)))
    with pytest.raises(RecordError, match=r"written by backpass 99\.0"):
        bp.load(folder)


def test_a_disk_that_fills_while_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whichever write it is full: the error says so, and what was written is a run."""
    from backpass.record.checkpoints import Spacing

    monkeypatch.setattr("backpass.fit.spacing_for", lambda *_: Spacing(20, 3))
    monkeypatch.setattr(store, "_PAUSE", 0.0)
    true, ends = os.fsync, set()
    for room in range(4, 44, 3):
        left = [room]

        def fsync(handle: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            true(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        path = tmp_path / f"{room}"
        with pytest.raises(StorageError, match="No space left") as caught:
            train("reference", out=path)
        assert caught.value.exit_code == 6
        monkeypatch.setattr(os, "fsync", true)
        assert not list(path.rglob("*.tmp"))
        if (path / "run.json").exists():
            run = bp.load(path)
            assert run.verify() == run.steps
            ends.add(run.steps)
    assert len(ends) > 2
