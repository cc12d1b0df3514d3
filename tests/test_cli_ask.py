"""`backpass show`, `check` and `why`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from command import Command, small


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


@pytest.mark.parametrize(
    "options",
    [
        "--dropout 0.3", "--batch-norm", "--l1 0.01 --l2 0.1", "--loss huber", "--loss hinge", "--clip 0.01",
        "--activation gelu --optimizer rmsprop --schedule plateau", "--layers none --dtype f64",
    ],
)  # fmt: skip
def test_check_and_show_take_the_options_of_train(backpass: Command, tmp_path: Path, options: str) -> None:
    small(tmp_path)
    words = ["small.npz", *options.split(), *([] if "--layers" in options else ["--layers", "4"])]
    said = backpass("check", *words)
    assert said.code == 0, said.out + said.err
    assert "passed" in said.out
    shown = backpass("show", *words)
    compile(shown.out, "program", "exec")
    assert "dW1 " in shown.out


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


# ---- show --lowered


@pytest.mark.parametrize(
    "options",
    [
        "--layers 4 --dropout 0.3 --batch-norm", "--layers 4,3 --l1 0.01 --l2 0.1", "--layers 4 --clip 0.01",
        "--layers 4 --loss hinge --activation gelu", "--layers none --dtype f64 --optimizer sgd",
    ],
)  # fmt: skip
def test_show_lowered_takes_the_options_of_train(backpass: Command, tmp_path: Path, options: str) -> None:
    small(tmp_path)
    said = backpass("show", "small.npz", "--lowered", *options.split())
    assert said.code == 0, said.err
    compile(said.out, "listing", "exec")
    assert "# dW1 = " in said.out
    assert "# db1 = " in said.out
    assert "a batch has up to 32 rows" in said.out


def test_show_lowered_of_a_run(backpass: Command, here: Path) -> None:
    said = backpass("show", "runs/small-1", "--lowered", "--work")
    assert said.code == 0
    assert "as runs/small-1 was trained" in said.out
    assert "# The run itself was done by the reference executor: " in said.out
    assert "a batch has up to 10 rows" in said.out
    assert "Work of a step of 10 rows" in said.out
    assert "up to 7 rows" in backpass("show", "runs/small-1", "--lowered", "--batch", "7").out
    assert backpass("show", "runs/small-1", "--lowered", "--format", "ascii").out.isascii()


def test_show_lowered_as_json(backpass: Command, here: Path) -> None:
    said = backpass("show", "runs/small-1", "--lowered", "--json")
    found = said.object["lowered"]
    assert found["refused"] is None
    assert "def kernel(" in found["text"]
    assert found["source"].startswith("for s in range(steps):")
    assert any(block["program"] == ["z1 = x @ W1 + b1"] for block in found["blocks"])
    assert found["memory"]["held"] == 4 * 2 * 39  # weights and their velocities
    assert "z1" in said.object["program"]
    assert "def kernel(" not in said.object["program"]
    assert backpass("show", "runs/small-1", "--json").object["lowered"] is None


def test_show_says_why_there_is_no_lowered_source(
    backpass: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backpass.exec.compiled.lowerings import LOWERINGS

    monkeypatch.delitem(LOWERINGS, "softmax_cross_entropy")
    monkeypatch.delitem(LOWERINGS, "softmax")
    said = backpass("show", "runs/small-1", "--lowered")
    assert said.code == 0
    assert "# There is no lowered source: not compiled: softmax" in said.out
    found = backpass("show", "runs/small-1", "--lowered", "--json").object["lowered"]
    assert found["refused"].startswith("not compiled: softmax")
    assert "source" not in found


def test_show_lowered_without_the_compiler(
    backpass: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backpass.exec.choose.obstacle_to_compiling", lambda: "llvmlite is not installed")
    said = backpass("show", "runs/small-1", "--lowered")
    assert said.code == 0
    assert "# There is no lowered source: llvmlite is not installed" in said.out


@pytest.mark.parametrize("other", ["--backward", "--format latex", "--format json"])
def test_what_does_not_go_with_lowered(backpass: Command, here: Path, other: str) -> None:
    backpass("show", "runs/small-1", "--lowered", *other.split()).fails(2, "--lowered", other.split()[-1])
