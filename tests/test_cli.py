"""The command line: what is printed, where, and with which exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backpass.cli import EXAMPLES, HELP, main
from backpass.cli.app import _COMMANDS
from backpass.cli.check import shared_out
from backpass.cli.options import DEFAULTS, NetOptions, parse_layers
from backpass.cli.output import clean, duration, percent
from backpass.errors import UsageError
from backpass.exec.choose import EXECUTORS
from backpass.nn import ACTIVATIONS, LOSSES

REPO = Path(__file__).resolve().parents[1]


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def object(self) -> Any:
        """The last line of standard output, which must be JSON."""
        return json.loads(self.out.rstrip("\n").split("\n")[-1], parse_constant=pytest.fail)

    def fails(self, code: int, *words: str) -> None:
        """It ends with this code and a message with these words, and no traceback."""
        assert self.code == code, (self.code, self.out, self.err)
        assert "error: " in self.err
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err, f"{word!r} is not in: {self.err}"


Command = Callable[..., Said]


@pytest.fixture
def backpass(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    for name in ("BACKPASS_DEBUG", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = main(words)
        return Said(code, *capsys.readouterr())

    return run


def small(folder: Path, name: str = "small.npz", **other: Any) -> str:
    """A data set that is learned in no time: two clouds."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    arrays = {"X": rng.normal(size=(60, 3)) + 3 * y[:, None], "y": np.array(["no", "yes"])[y], **other}
    np.savez(folder / name, **{k: v for k, v in arrays.items() if v is not None})
    return name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small.npz and a finished run of it; tests copy what they change."""
    folder = tmp_path_factory.mktemp("trained")
    small(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        code = main(["train", "small.npz", "--layers", "4,3", "--epochs", "3", "--batch", "10", "--quiet"])
    finally:
        os.chdir(before)
    assert code == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, backpass: Command) -> Path:
    """The trained folder, copied to where the test runs."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def script(*words: str, **more: Any) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src"), "PYTHONUNBUFFERED": "1"}
    environment.pop("BACKPASS_DEBUG", None)
    return subprocess.Popen(
        [sys.executable, "-m", "backpass.cli", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **more,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------- general


def test_alone_it_prints_help(backpass: Command) -> None:
    said = backpass()
    assert said.code == 0
    assert all(word in said.out for word in ("Usage", "train", "predict", "show", "check", "why"))
    assert said.err == ""


def test_help_is_one_text(backpass: Command) -> None:
    assert backpass("--help").out == backpass("-h").out == backpass().out
    assert max(map(len, HELP.split("\n"))) <= 100
    assert list(EXAMPLES) == list(_COMMANDS)


@pytest.mark.parametrize("command", ["train", "predict", "show", "check", "why"])
def test_each_command_has_help(backpass: Command, command: str) -> None:
    said = backpass(command, "--help")
    assert said.code == 0
    assert "--json" in said.out
    assert "--no-json" not in said.out


def test_version(backpass: Command) -> None:
    import backpass as package

    assert backpass("--version").out.strip() == package.__version__


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from backpass.cli import main; main(['--help']); "
        "print([m for m in ('numpy', 'numba', 'sklearn', 'scipy', 'msgspec', 'sqlite3') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
    )  # fmt: skip
    assert done.stdout.strip().split("\n")[-1] == "[]"


def test_choices_are_those_of_the_library() -> None:
    from typing import get_args, get_type_hints

    def choices(name: str) -> set[str]:
        hint = get_type_hints(NetOptions)[name]
        return {value for part in get_args(hint) for value in get_args(part)}

    assert choices("activation") == set(ACTIVATIONS) - {"softmax"}
    assert choices("loss") == set(LOSSES)
    from backpass.cli.train import train

    assert get_args(get_type_hints(train)["executor"]) == EXECUTORS


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian", "digits"], ["trian", "Did you mean 'train'?"]),
        (["digits"], ["backpass train digits"]),
        (["train"], ["missing", "backpass train digits"]),
        (["why", "runs/digits-1"], ["missing", "W2[3,1]"]),
        (["train", "digits", "--layrs", "30"], ["--layrs", "--layers", "backpass train --help"]),
        (["train", "digits", "--layers"], ["--layers"]),
        (["train", "digits", "more"], ["'more'"]),
        (["train", "digits", "--activation", "sigmiod"], ["sigmiod", 'Did you mean "sigmoid"?']),
        (["train", "digits", "--loss", "mse"], ["mse", "squared_error"]),
        (["train", "digits", "--optimizer", "adam"], ["adam", "momentum"]),
        (["train", "digits", "--executor", "gpu"], ["gpu", "compiled"]),
        (["train", "digits", "--dtype", "f16"], ["f16", "f64"]),
        (["train", "digits", "--lr", "fast"], ["--lr", "fast"]),
        (["train", "digits", "--lr", "-1"], ["lr", "-1"]),
        (["train", "digits", "--lr", "nan"], ["lr", "nan"]),
        (["train", "digits", "--momentum", "1"], ["momentum", "below 1"]),
        (["train", "digits", "--batch", "0"], ["--batch", "at least 1"]),
        (["train", "digits", "--batch", "1.5"], ["--batch", "whole number"]),
        (["train", "digits", "--epochs", "0"], ["--epochs", "at least 1"]),
        (["train", "digits", "--seed", "-3"], ["--seed", "at least 0"]),
        (["train", "digits", "--layers", "30,x"], ["'x'", "30,20"]),
        (["train", "digits", "--layers", "0"], ["'0'"]),
        (["train", "digits", "--layers", "lstm:32"], ["lstm:32"]),
        (["train", "digits", "--test", "1.5"], ["--test", "fraction"]),
        (["train", "digits", "--validation", "-0.1"], ["--validation", "fraction"]),
        (["train", "digits", "--validation", "0.5", "--test", "0.5"], ["no rows to train on"]),
        (["train", "digts"], ["digts", "Did you mean 'digits'?"]),
        (["show", "digits", "--format", "latx"], ["latx", "latex"]),
        (["show", "digits", "--format", "json", "--backward"], ["--backward"]),
        (["check", "digits", "--batch", "0"], ["--batch"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_usage_errors(
    backpass: Command, tmp_path: Path, words: Sequence[str], expected: Sequence[str]
) -> None:
    backpass(*words).fails(2, *expected)
    assert list(tmp_path.iterdir()) == [], "a command that cannot begin leaves nothing behind"


def test_errors_under_json_are_objects(backpass: Command) -> None:
    said = backpass("train", "digts", "--json")
    said.fails(2)
    assert said.object["error"]["type"] == "UsageError"
    assert said.object["error"]["exit_code"] == 2
    assert "digits" in said.object["error"]["message"]


def test_an_unexpected_error_is_one_line_and_how_to_report_it(
    backpass: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(spec: str) -> None:
        raise ZeroDivisionError("who would have thought")

    monkeypatch.setattr("backpass.data.load", fall)
    backpass("train", "digits").fails(1, "ZeroDivisionError", "who would have thought", "BACKPASS_DEBUG=1")
    assert backpass("train", "digits", "--json").object["error"]["exit_code"] == 1
    monkeypatch.setenv("BACKPASS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        backpass("train", "digits")


def test_ctrl_c_in_any_command(backpass: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(spec: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("backpass.data.load", fall)
    for command in ("show", "check", "train"):
        said = backpass(command, "digits")
        assert said.code == 130
        assert "stopped" in said.err
        assert "Traceback" not in said.err


# ---------------------------------------------------------------------------------------------------- train


def test_train_says_what_it_does(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", "--layers", "4,3", "--epochs", "3", "--batch", "10")
    assert said.code == 0
    for words in (
        "60 rows of 3 columns, 2 classes",
        "3 - 4 relu - 3 relu - 2 softmax, 39 weights and biases",
        "lr 0.05, momentum 0.9",
        "executor",
        "train", "validation", "test", "accuracy",
        "the most frequent class",
        "runs/small-1",
        "backpass show runs/small-1",
        "backpass why runs/small-1 'W3[",
    ):  # fmt: skip
        assert words in said.out, words
    assert "\x1b" not in said.out + said.err
    assert max(map(len, said.out.split("\n"))) <= 100


def test_train_json(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", "--epochs", "3", "--json")
    found = said.object
    assert said.out.count("\n") == 1, "all else goes to standard error"
    assert "weights and biases" in said.err
    assert found["run"] == str(Path("runs") / "small-1")
    assert (found["task"], found["epochs"], found["steps"]) == ("classification", 3, 6)
    assert found["executor"] in EXECUTORS
    assert found["seconds"] > 0
    for part in ("train", "validation", "test"):
        assert set(found["metrics"][part]) == {"loss", "accuracy"}
    assert 0.4 < found["baseline"]["accuracy"]["test"] < 0.6


def test_train_quiet(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", "--epochs", "1", "--quiet")
    assert (said.out, said.err) == (f"{Path('runs') / 'small-1'}\n", "")


def test_runs_are_numbered_and_never_overwritten(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    names = [backpass("train", "small.npz", "--epochs", "1", "--json").object["run"] for _ in range(2)]
    assert [Path(name).name for name in names] == ["small-1", "small-2"]
    backpass("train", "small.npz", "--epochs", "1", "--out", names[0]).fails(6, "not empty")
    assert backpass("train", "small.npz", "--epochs", "1", "--out", "mine", "--json").object["run"] == "mine"


def test_train_regression(backpass: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(80, 2))
    small(tmp_path, X=x, y=x @ [1.0, -2.0] + 0.5)
    said = backpass("train", "small.npz", "--layers", "none", "--json")
    assert said.object["task"] == "regression"
    assert said.object["metrics"]["test"]["r2"] > 0.95
    assert "baseline" not in said.object
    out = backpass("predict", said.object["run"], "small.npz").out
    assert out.startswith("row,prediction\n0,")
    assert "R²" in backpass("train", "small.npz", "--layers", "none").out


def test_a_network_that_has_learned_nothing_is_called_that(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path, y=np.arange(60) * 1.5)
    said = backpass("train", "small.npz", "--lr", "1e-9")
    assert "learned nothing" in said.out
    assert "--lr" in said.out


def test_parts_can_be_left_out_or_be_the_source_s_own(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    metrics = backpass(
        "train", "small.npz", "--epochs", "1", "--validation", "0", "--test", "0", "--json"
    ).object["metrics"]
    assert metrics["validation"] is None
    assert metrics["test"] is None
    small(tmp_path, "own.npz", X_test=np.zeros((7, 3)), y_test=np.array(["no"] * 7))
    said = backpass("train", "own.npz", "--epochs", "1")
    assert "54 to train on, 6 to watch it (validation), 7 for the test at the end" in said.out


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.arange(59) % 2}, ["60", "59"]),
        ({"X": np.full((60, 3), np.nan)}, ["small.npz", "NaN"]),
        ({"X": np.full((60, 3), np.inf)}, ["small.npz", "inf"]),
        ({"y": np.zeros(60, int)}, ["class"]),
        ({"X": np.zeros((0, 3)), "y": np.zeros(0)}, ["empty", "0 x 3"]),
        ({"X": np.zeros((60, 0))}, ["empty", "60 x 0"]),
        ({"y": None}, ["y"]),
        ({"X": np.array([["a", "b", "c"]] * 60)}, ["'a'"]),
    ],
    ids=["lengths", "nan", "infinity", "one class", "empty", "no columns", "no labels", "words"],
)  # fmt: skip
def test_bad_data(backpass: Command, tmp_path: Path, arrays: dict[str, Any], words: Sequence[str]) -> None:
    small(tmp_path, **arrays)
    backpass("train", "small.npz").fails(3, *words)
    said = backpass("train", "small.npz", "--json")
    assert said.object["error"]["exit_code"] == 3
    assert not (tmp_path / "runs").exists()


def test_data_that_are_not_there(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    backpass("train", "smal.npz").fails(3, "Did you mean 'small.npz'?")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "small.npz").read_bytes()[:200])
    backpass("train", "torn.npz").fails(3, "torn.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    backpass("train", "empty.npz").fails(3, "empty")


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_divergence_stops_with_code_5_and_a_readable_run(
    backpass: Command, tmp_path: Path, executor: str
) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", "--lr", "1e30", "--executor", executor, "--json")
    said.fails(5, "diverged at step", "is not finite", "learning rate", "runs")
    found = said.object
    assert found["error"]["type"] == "NonFinite"
    assert found["step"] == found["steps"] + 1
    assert found["tensor"] in said.err
    assert found["status"] == "diverged"
    shown = backpass("show", found["run"], "--update")
    assert shown.code == 0
    assert "lr = 1e+30" in shown.out
    assert "diverged" in backpass("predict", found["run"], "small.npz").err


def test_no_colour_off_a_terminal_and_with_no_color(
    backpass: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in backpass("train", "digts").err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in backpass("train", "digts").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in backpass("train", "digts").err


def _long_training(folder: Path) -> subprocess.Popen[str]:
    small(folder)
    words = (
        "train",
        "small.npz",
        "--layers",
        "5",
        "--epochs",
        "10000000",
        "--executor",
        "reference",
        "--json",
    )
    process = script(*words, cwd=folder)
    started = time.monotonic()
    while not list(folder.glob("runs/*/record.sqlite")) and time.monotonic() - started < 60:
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
    time.sleep(0.5)
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_keeps_the_run(
    backpass: Command, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = _long_training(tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    said = Said(process.returncode, out, err)
    assert said.code == code, err
    found = said.object
    assert found["error"]["exit_code"] == code
    assert found["status"] == "interrupted"
    assert found["steps"] > 0
    assert f"stopped: after step {found['steps']:,}" in err
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.glob("runs/*/*.sqlite*")) == ["record.sqlite"], (
        "the log is folded in"
    )
    assert backpass("why", found["run"], "W2[0,0]", "--json").object["step"] == found["steps"]
    assert "interrupted" in backpass("predict", found["run"], "small.npz").err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_kill_leaves_a_readable_run(backpass: Command, tmp_path: Path) -> None:
    process = _long_training(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    (run,) = (tmp_path / "runs").iterdir()
    assert backpass("show", str(run)).code == 0
    said = backpass("predict", str(run), "small.npz")
    assert said.code == 0
    assert "running" in said.err


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from backpass.cli.train import _Stop\n"
        "with _Stop() as stop:\n"
        "    stop.stepping = True\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('first', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('second', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "first\n")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    process = script("show", "digits", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert err == ""


# ---------------------------------------------------------------------------------------------- show, check


def test_show_data(backpass: Command) -> None:
    pytest.importorskip("sklearn")
    said = backpass("show", "digits", "--layers", "30", "--backward")
    assert said.code == 0
    lines = said.out.split("\n")
    assert lines[0].startswith("# ")
    assert any(line.startswith("δ1 ") and "W2.T" in line for line in lines)
    assert "import" not in said.out, "the prelude comes with the whole program only"
    assert not any(line.startswith("W1_new") for line in lines)
    whole = backpass("show", "digits", "--layers", "30", "--optimizer", "sgd", "--lr", "0.25")
    assert whole.out.count("lr = 0.25") == 4
    assert "def relu" in whole.out
    compile(whole.out, "program", "exec")


def test_show_formats(backpass: Command, here: Path) -> None:
    run = "runs/small-1"
    assert "δ" not in backpass("show", run, "--format", "ascii").out.replace("# ", "")
    latex = backpass("show", run, "--format", "latex").out
    assert r"\begin{aligned}" in latex
    assert latex.startswith("% ")
    assert r"\eta = 0.05" in latex
    from backpass.ir.wire import from_json

    graph = from_json(backpass("show", run, "--format", "json").out)
    assert "dW1" in graph.outputs


def test_show_json_and_work(backpass: Command, here: Path) -> None:
    said = backpass("show", "runs/small-1", "--work", "--json", "--forward", "--update")
    found = said.object
    assert found["format"] == "text"
    assert found["sections"] == ["forward", "update"]
    assert found["inputs"]["W1"] == "f32[3,4]"
    assert found["outputs"]["C"] == "f32[]"
    assert found["numbers"] == {"lr": 0.05, "momentum": 0.9}
    assert found["work"]["batch"] == 10
    assert found["work"]["flops"] == sum(found["work"]["flops_by_section"].values()) > 0
    assert backpass("show", "runs/small-1", "--json").object["work"] is None
    compile(backpass("show", "runs/small-1", "--work").out, "program", "exec")


def test_options_of_the_network_do_not_go_with_a_run(backpass: Command, here: Path) -> None:
    backpass("show", "runs/small-1", "--layers", "3").fails(2, "--layers", "runs/small-1")
    backpass("check", "runs/small-1", "--activation", "tanh").fails(2, "--activation")
    backpass("train", "runs/small-1").fails(2, "is a run")


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_check_passes(backpass: Command, tmp_path: Path, activation: str) -> None:
    small(tmp_path)
    said = backpass("check", "small.npz", "--layers", "4,3", "--activation", activation)
    assert said.code == 0, said.out
    assert "39 of 39 entries compared" in said.out
    assert "passed" in said.out
    found = backpass("check", "small.npz", "--layers", "4,3", "--activation", activation, "--json").object
    assert found["passed"] is True
    assert (found["checked"], found["of"]) == (39, 39)
    assert set(found["worst"]) == {"name", "analytic", "numeric", "error"}
    assert set(found["parameters"]) == {"W1", "b1", "W2", "b2", "W3", "b3"}
    assert found["rows"] == 32


def test_check_fails_for_a_wrong_gradient(
    backpass: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backpass.ops import Relu

    small(tmp_path)
    right = Relu.vjp
    monkeypatch.setattr(Relu, "vjp", lambda op, adj, y, x: tuple(1.001 * a for a in right(op, adj, y, x)))
    said = backpass("check", "small.npz", "--layers", "4", "--json")
    assert said.code == 1
    assert said.object["passed"] is False
    assert "FAILED" in said.err
    assert said.object["worst"]["name"][:2] in ("W1", "b1")
    assert said.object["parameters"]["b1"]["worst"]["error"] == pytest.approx(1e-3, rel=0.01)
    assert said.object["parameters"]["W2"]["worst"]["error"] < 1e-6


def test_check_takes_a_sample_of_a_large_network(
    backpass: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backpass.cli.check._SAMPLE", 200)
    small(tmp_path)
    said = backpass("check", "small.npz", "--layers", "100,60", "--batch", "5")
    assert "200 of 6,582 entries compared (a sample; --all for every one)" in said.out


def test_check_run(backpass: Command, here: Path) -> None:
    said = backpass("check", "runs/small-1", "--json")
    assert said.code == 0
    assert said.object["checked"] == 39


# --------------------------------------------------------------------------------------------- predict, why


def test_predict(backpass: Command, here: Path) -> None:
    x = np.load(here / "small.npz")["X"][:4]
    np.save(here / "new.npy", x)
    said = backpass("predict", "runs/small-1", "new.npy")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert list(rows[0]) == ["row", "prediction", "p_no", "p_yes"]
    assert [row["row"] for row in rows] == ["0", "1", "2", "3"]
    from backpass.run import load

    run = load(here / "runs" / "small-1")
    assert [row["prediction"] for row in rows] == run.predict(x).tolist()
    given = np.array([[float(row["p_no"]), float(row["p_yes"])] for row in rows], np.float32)
    assert np.array_equal(given, run.predict_raw(x)), "the table has every digit"

    written = backpass("predict", "runs/small-1", "new.npy", "--out", "predictions.csv")
    assert (here / "predictions.csv").read_text() == said.out
    assert "predictions.csv" in written.out
    found = backpass("predict", "runs/small-1", "new.npy", "--json").object
    assert found["predictions"] == run.predict(x).tolist()
    assert found["classes"] == ["no", "yes"]
    assert np.allclose(np.sum(found["probabilities"], axis=1), 1)


def test_predict_refuses_what_does_not_fit(backpass: Command, here: Path) -> None:
    np.save(here / "wide.npy", np.zeros((2, 5)))
    backpass("predict", "runs/small-1", "wide.npy").fails(3, "wide.npy", "5 values", "rows of 3")
    np.save(here / "nan.npy", np.array([[0, 0, np.nan]]))
    backpass("predict", "runs/small-1", "nan.npy").fails(3, "NaN")
    backpass("predict", "runs/small-1", "none.npy").fails(3, "none.npy")
    np.save(here / "new.npy", np.zeros((1, 3)))
    backpass("predict", "runs/small-1", "new.npy", "--out", "no/such/folder.csv").fails(6, "folder.csv")


def test_why(backpass: Command, here: Path) -> None:
    said = backpass("why", "runs/small-1", "W2[3,1]", "--step", "4")
    assert said.code == 0
    assert "W2[3,1]" in said.out
    found = backpass("why", "runs/small-1", "W2[3,1]", "--step", "4", "--json").object
    assert found["step"] == 4
    assert sum(p["value"] for p in found["parts"]) + found["rounding"] == pytest.approx(
        found["update"], abs=1e-12
    )
    assert abs(found["rounding"]) <= found["bound"]
    assert {"row", "value"} <= set(found["examples"][0])
    assert backpass("why", "runs/small-1", "b1[0]", "--json").object["step"] == 15


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["W2[3,1]", "--step", "0"], ["no step 0", "1 to 15"]),
        (["W2[3,1]", "--step", "16"], ["no step 16", "1 to 15"]),
        (["W2[4,0]"], ["W2"]),
        (["W9[0,0]"], ["W9", "W3"]),
        (["W2"], ["W2"]),
        (["W2[a,b]"], ["W2"]),
        (["x[0,0]"], ["x"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_why_of_what_does_not_exist(
    backpass: Command, here: Path, words: Sequence[str], expected: Sequence[str]
) -> None:
    backpass("why", "runs/small-1", *words).fails(2, *expected)


# ------------------------------------------------------------------------------------------------ run folders


def test_a_run_that_is_not_there(backpass: Command, here: Path) -> None:
    backpass("show", "runs/smal-1").fails(4, "runs/smal-1", "Did you mean runs/small-1?")
    backpass("why", "small-1", "W1[0,0]").fails(4, "runs/small-1")
    backpass("predict", "small.npz", "small.npz").fails(4, "not a run folder", "runs/small-1")
    shutil.copytree("runs/small-1", "runs/small-2")
    backpass("show", "runs/small-3").fails(4, "runs/small-1, runs/small-2")
    shutil.rmtree("runs")
    backpass("why", "runs/small-1", "W1[0,0]").fails(4, "no runs", "backpass train digits")


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.mark.parametrize(
    "command", [["show"], ["predict", "small.npz"], ["why", "W1[0,0]"], ["check"]], ids=lambda c: c[0]
)
def test_run_folders_that_cannot_be_read(backpass: Command, here: Path, command: list[str]) -> None:
    run = here / "runs" / "small-1"

    def tried(*words: str) -> None:
        backpass(command[0], "runs/small-1", *command[1:]).fails(4, *words)
        shutil.rmtree(run)
        shutil.copytree(here / "whole", run)

    shutil.copytree(run, here / "whole")
    (run / "run.json").unlink()
    tried("run.json")
    (run / "run.json").write_bytes((here / "whole" / "run.json").read_bytes()[:100])
    tried("torn")
    (run / "graph.json").write_bytes((here / "whole" / "graph.json").read_bytes()[:100])
    tried("graph.json")
    _edit(run / "run.json", lambda v: v.update(format=99, version="9.9"))
    tried("9.9", "newer")
    _edit(run / "run.json", lambda v: v.update(evil=1))
    tried("evil")
    _edit(run / "graph.json", lambda v: v["nodes"][-1].update(op="system"))
    tried("system")
    _edit(
        run / "run.json",
        lambda v: v["settings"].update(layers=[{"units": 10**9, "activation": "relu", "init": None}]),
    )
    tried("runs/small-1")
    shutil.rmtree(run / "checkpoints")
    tried("checkpoint")


# --------------------------------------------------------------------------------------------------- numbers


def test_small_helpers() -> None:
    assert parse_layers("30, 20") == [30, 20]
    assert parse_layers("none") == []
    for wrong in ("", "30,", "-1", "3.5", "²", "1e3"):
        with pytest.raises(UsageError):
            parse_layers(wrong)
    assert percent(0.99999) == "99.99 %"
    assert percent(1.0) == "100.00 %"
    assert duration(3661) == "1:01:01"
    assert clean({"a": np.float32("nan"), "b": (np.int64(1), np.zeros(2))}) == {
        "a": None,
        "b": [1, [0.0, 0.0]],
    }
    assert sum(shared_out({"W1": 1000, "b1": 10, "W2": 300}, 500).values()) == 500
    assert NetOptions(optimizer="sgd").sgd().numbers == {"lr": DEFAULTS.lr_sgd}
    assert NetOptions(optimizer="sgd", momentum=0.5).sgd().numbers["momentum"] == 0.5
    assert NetOptions().sgd().numbers == {"lr": DEFAULTS.lr, "momentum": DEFAULTS.momentum}


@pytest.mark.slow
def test_digits_without_options(backpass: Command) -> None:
    pytest.importorskip("sklearn")
    scores = []
    for seed in range(10):
        began = time.perf_counter()
        scores.append(
            backpass("train", "digits", "--seed", str(seed), "--json").object["metrics"]["test"]["accuracy"]
        )
        assert time.perf_counter() - began < 15
    assert np.mean(scores) >= 0.97
    assert min(scores) >= 0.955


def test_mnist_as_in_the_issue(backpass: Command, data_folder: Path) -> None:
    if not (data_folder / "mnist").is_dir():
        pytest.skip("no MNIST among the data sets")
    said = backpass(
        "show", str(data_folder / "mnist"), "--layers", "30", "--activation", "sigmoid", "--optimizer", "sgd",
        "--lr", "0.5", "--update",
    )  # fmt: skip
    assert said.code == 0
    assert "f32[784,30], lr = 0.5" in said.out
