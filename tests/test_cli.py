"""The command line: help, usage errors, run folders that cannot be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import REPO, Command

from backpass import defaults
from backpass.cli import EXAMPLES, HELP
from backpass.cli.app import _COMMANDS
from backpass.cli.check import shared_out
from backpass.cli.net_options import LearnOptions, NetOptions, parse_layers
from backpass.cli.output import Output, clean, duration, percent
from backpass.errors import UsageError
from backpass.exec.choose import EXECUTORS
from backpass.nn import ACTIVATIONS, LOSSES
from backpass.record import rows as _rows  # noqa: F401 (loaded first in a test, it keeps what the test replaced)


def test_alone_it_prints_help(backpass: Command) -> None:
    said = backpass()
    assert said.code == 0
    assert all(word in said.out for word in ("Usage", "train", "predict", "show", "check", "why"))
    assert said.err == ""


def test_help_is_one_text(backpass: Command) -> None:
    assert backpass("--help").out == backpass("-h").out == backpass().out
    assert max(map(len, HELP.split("\n"))) <= 100
    assert list(EXAMPLES) == list(_COMMANDS)


@pytest.mark.parametrize("command", EXAMPLES)
def test_each_command_has_help(backpass: Command, command: str) -> None:
    said = backpass(command, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: backpass {command} ")
    assert EXAMPLES[command][0] in said.out
    assert "--json" in said.out
    assert max(map(len, said.out.split("\n"))) <= 100
    assert backpass(command, "whatever", "-h").out == said.out


def test_the_help_of_a_command_tells_every_option_in_its_group(backpass: Command) -> None:
    import dataclasses
    import inspect

    from backpass.cli.data_options import DataOptions
    from backpass.cli.train import train

    lines = backpass("train", "--help").out.split("\n")
    order = [lines.index(group) for group in ("Data", "Network", "Learning", "Options")]
    assert order == sorted(order)
    told = {line.split()[0]: n for n, line in enumerate(lines) if line.startswith("  --")}
    wanted = {f.name for group in (DataOptions, NetOptions, LearnOptions) for f in dataclasses.fields(group)}
    wanted |= inspect.signature(train).parameters.keys() - {"data", "table", "net", "learning"}
    assert told.keys() == {f"--{name.replace('_', '-')}" for name in wanted} | {"--help"}
    data, network, learning, options = order
    assert data < told["--target"] < told["--rows"] < network < told["--layers"] < learning
    assert learning < told["--l2"] < told["--patience"] < options < told["--seed"]
    text = " ".join(" ".join(lines).split())
    assert "--optimizer NAME How gradients become an update. One of sgd, momentum," in text
    assert "--l1 X Penalty on the size of the weights: l1 Σ|W| is added to the cost. [0]" in text


def test_version(backpass: Command) -> None:
    import backpass as package

    assert backpass("--version").out.strip() == package.__version__


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from backpass.cli import main; main(['--help']); "
        "heavy = 'numpy', 'llvmlite', 'sklearn', 'scipy', 'msgspec', 'sqlite3'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
    )  # fmt: skip
    assert done.stdout.strip().split("\n")[-1] == "[]"


def test_choices_are_those_of_the_library() -> None:
    from typing import get_args, get_type_hints

    def choices(group: type, name: str) -> set[str]:
        hint = get_type_hints(group)[name]
        return {value for part in get_args(hint) for value in get_args(part)}

    assert choices(NetOptions, "activation") == set(ACTIVATIONS) - {"softmax", "exp", "abs", "sin"}
    assert choices(LearnOptions, "loss") == set(LOSSES)
    assert choices(LearnOptions, "optimizer") == set(defaults.LR)
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
        (["train", "digits", "--optimizer", "adan"], ["adan", 'Did you mean "adam"?']),
        (["train", "digits", "--schedule", "linear"], ["linear", "cosine"]),
        (["train", "digits", "--momentum", "0.9"], ["--momentum", "sgd", "adam"]),
        (["train", "digits", "--dropout", "1"], ["1"]),
        (["train", "digits", "--init", "glorrot"], ["glorrot", "glorot"]),
        (["train", "digits", "--warm-up", "-1"], ["--warm-up", "at least 0"]),
        (["train", "digits", "--l2", "-1"], ["l2", "-1"]),
        (["train", "digits", "--rows", "0"], ["--rows 0", "100,300,1000,all"]),
        (["train", "digits", "--rows", "10,10"], ["twice"]),
        (["train", "digits", "--rows", "10,9999"], ["--rows 9999", "1,258 rows"]),
        (["train", "digits", "--time-limit", "soon"], ["--time-limit", "soon", "5m"]),
        (["train", "digits", "--patience", "-1"], ["--patience", "at least 0"]),
        (["train", "digits", "--size", "28"], ["--size", "28x28"]),
        (["train", "digits", "--loss", "hinge", "--class-weight", "balancd"], ["balancd", "balanced"]),
        (["train", "digits", "--executor", "gpu"], ["gpu", "compiled"]),
        (["train", "digits", "--dtype", "f16"], ["f16", "f64"]),
        (["train", "digits", "--lr", "fast"], ["--lr", "fast"]),
        (["train", "digits", "--lr", "-1"], ["lr", "-1"]),
        (["train", "digits", "--lr", "nan"], ["lr", "nan"]),
        (["train", "digits", "--optimizer", "sgd", "--momentum", "1"], ["momentum", "below 1"]),
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
    for name, lr in defaults.LR.items():
        assert LearnOptions(optimizer=name).optimiser().numbers["lr"] == lr  # type: ignore[arg-type]
    assert LearnOptions(optimizer="sgd").optimiser().numbers == {"lr": defaults.LR["sgd"]}
    assert LearnOptions(optimizer="sgd", momentum=0.5).optimiser().numbers["momentum"] == 0.5
    assert LearnOptions(optimizer="nesterov").optimiser().numbers["momentum"] == defaults.MOMENTUM


def test_prose_is_wrapped_under_its_subject(capsys: pytest.CaptureFixture[str]) -> None:
    Output().field("prepared", "word " * 40)
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert [line[:10] for line in lines] == ["prepared  ", " " * 10, " " * 10]
    assert max(map(len, lines)) <= 100


def test_a_little_l2_where_nothing_else_holds_the_weights_back() -> None:
    assert LearnOptions().penalties(1000)["l1"] == 0
    assert 0 < LearnOptions().penalties(1000)["l2"] < LearnOptions().penalties(100)["l2"]
    assert LearnOptions(l2=0.0).penalties(100)["l2"] == 0
    assert LearnOptions(l2=0.5).penalties(100)["l2"] == 0.5
    for other in (LearnOptions(optimizer="adamw"), LearnOptions(decay=0.1), LearnOptions(l1=0.1)):
        assert other.penalties(100)["l2"] == 0


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
