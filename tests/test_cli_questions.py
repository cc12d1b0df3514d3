"""The commands that ask a run: value, delta, paths, flow, whatif; and what they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import Command

RUN = "runs/small-1"  # of `command.trained`: 3-4-3-2, relu, momentum, 60 rows

ASKED = {
    "why": ("W2[1,0]",),
    "value": ("z2[0,1]",),
    "delta": ("δ1[0,1]",),
    "paths": ("W1[0,1]",),
    "flow": (),
    "whatif": ("W2[1,0]", "--set", "0.5"),
}


@pytest.mark.parametrize("verb", ASKED)
def test_every_question_answers_in_every_form(backpass: Command, here: Path, verb: str) -> None:
    asked = (verb, RUN, *ASKED[verb])
    plain = backpass(*asked, "--step", "3")
    assert plain.code == 0, plain.err
    found = backpass(*asked, "--step", "3", "--json").object
    assert found["question"] == verb
    assert found["step"] == 3
    assert found["balanced"] is True
    assert " ".join(found["claim"].split()) in " ".join(plain.out.split())
    assert backpass(*asked, "--step", "3", "--format", "latex").out.count(r"\begin{") >= 1
    for name, mark in (("a.md", "---"), ("a.tex", r"\begin{tabular}"), ("a.html", "<!doctype html>")):
        assert backpass(*asked, "--step", "3", "--out", name).code == 0
        assert mark in (here / name).read_text(encoding="utf-8")


def test_the_last_step_is_meant_if_none_is_named(backpass: Command, here: Path) -> None:
    steps = backpass("flow", RUN, "--json").object["step"]
    assert backpass("value", RUN, "C", "--json").object["step"] == steps
    backpass("value", RUN, "C", "--step", str(steps + 1)).fails(2, "there is no step", f"steps 1 to {steps}")
    backpass("value", RUN, "C", "--step", "0").fails(2, "there is no step")


@pytest.mark.parametrize("verb", ["why", "value", "delta", "paths"])
def test_a_second_route_beside_a_gradient(backpass: Command, here: Path, verb: str) -> None:
    target = {"value": "dW1[0,1]"}.get(verb, ASKED[verb][0])
    asked = (verb, RUN, target, "--step", "2")
    without = backpass(*asked, "--json").object
    found = backpass(*asked, "--check", "--json").object
    assert len(found["checks"]) == len(without["checks"]) + 1
    assert "central difference" in found["checks"][-1]["words"]
    assert found["balanced"] is True


def test_names_that_are_not_there(backpass: Command, here: Path) -> None:
    backpass("value", RUN, "z9[0,0]").fails(2, "Did you mean")
    backpass("value", RUN, "z1[0,99]").fails(2, "does not exist", "z1[0,0]")
    backpass("delta", RUN, "W1[0,0]").fails(2)
    backpass("paths", RUN, "W1[0,0]", "--top", "0").fails(2, "--top")
    backpass("why", "runs/smal-1", "W1[0,0]").fails(4, "small-1")


def test_the_greek_may_be_spelled(backpass: Command, here: Path) -> None:
    greek = backpass("delta", RUN, "δ1[0,1]", "--json").object
    assert backpass("delta", RUN, "delta1[0,1]", "--json").object == greek


def test_an_input_that_is_changed(backpass: Command, here: Path) -> None:
    rows = np.load(here / "small.npz")["X"]
    found = backpass("whatif", RUN, "--input", "5", "--set", "0=2.5", "--json").object
    assert found["changes"] == {"0": f"2.5 (was {rows[5, 0]:g})"}
    assert {o["name"] for o in found["outputs"]} == {"no", "yes"}
    np.save(here / "new.npy", rows[5:6])
    other = backpass("whatif", RUN, "--input", "new.npy", "--set", "0=2.5", "--json").object
    assert other["outputs"] == found["outputs"]
    backpass("whatif", RUN, "--input", "60", "--set", "0=1").fails(2, "there is no row 60")
    backpass("whatif", RUN, "--input", "5", "--set", "0").fails(2, "column=value")
    backpass("whatif", RUN, "--input", "5", "--set", "height=3").fails(2, "height")


def test_what_is_changed_must_be_said(backpass: Command, here: Path) -> None:
    backpass("whatif", RUN, "W1[0,0]").fails(2, "--set 0.5")
    backpass("whatif", RUN, "--set", "1").fails(2, "--input 17")
    backpass("whatif", RUN, "W1[0,0]", "--set", "much").fails(2, "is no number")


def test_an_answer_is_written_to_a_file(backpass: Command, here: Path) -> None:
    backpass("flow", RUN, "--out", "flow.pdf").fails(2, "--out flow.pdf", ".html")
    assert backpass("flow", RUN, "--out", "flow.page", "--format", "html").code == 0
    assert (here / "flow.page").read_text().startswith("<!doctype html>")
    backpass("flow", RUN, "--out", "no/such/flow.md").fails(6, "cannot be written")


def test_an_answer_that_does_not_add_up_is_told_by_the_exit_code(
    backpass: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backpass.explain.updates import update

    true = update.by_example
    monkeypatch.setattr(update, "by_example", lambda *given: true(*given) * 1.01)
    said = backpass("why", RUN, "b3[0]", "--step", "3")
    assert said.code == 1
    assert "balance FAILS" in said.out


def test_influence_on_an_input(backpass: Command, here: Path) -> None:
    found = backpass("influence", RUN, "--input", "5", "--verify", "3", "--json").object
    assert found["balanced"] is True
    assert "row 5" in found["target"]
    assert len(found["removal"]["rows"]) == 3
    moved = found["lowered"] + found["raised"] + found["curvature"] + sum(p["value"] for p in found["parts"])
    assert found["after"] - found["before"] == pytest.approx(moved, abs=1e-6)
    held = backpass("influence", RUN, "--input", "test/0", "--json").object
    assert held["target"] == "test/0"
    with np.load(here / "small.npz") as all_rows:
        np.savez(here / "some.npz", X=all_rows["X"][:4], y=all_rows["y"][:4])
    assert backpass("influence", RUN, "--input", "some.npz", "--json").object["inputs"] == 4


def test_influence_of_rows_on_themselves(backpass: Command, here: Path) -> None:
    found = backpass("influence", RUN, "--json").object
    scores = [s["score"] for s in found["suspects"]]
    assert scores == sorted(scores, reverse=True)
    assert found["rows"] == 42


def test_inputs_that_are_not_there(backpass: Command, here: Path) -> None:
    backpass("influence", RUN, "--input", "60").fails(2, "there is no row 60", "rows 0 to 59")
    backpass("influence", RUN, "--input", "test/99").fails(2, "the test part has rows 0 to")
    backpass("influence", RUN, "--input", "tset/0").fails(2, "Did you mean 'test'")
    backpass("influence", RUN, "--input", "nowhere.npz").fails(3, "nowhere.npz")
    backpass("influence", RUN, "--verify", "3").fails(2, "--input")
    backpass("influence", RUN, "--input", "5", "--verify", "0").fails(2, "--verify")


@pytest.mark.parametrize("by", ["example", "class", "step", "epoch"])
def test_blame_for_a_whole_run(backpass: Command, here: Path, by: str) -> None:
    found = backpass("blame", RUN, "W2[1,0]", "--by", by, "--json").object
    assert found["balanced"] is True
    moved = sum(part["value"] for part in found["parts"])
    assert found["after"] - found["before"] == pytest.approx(moved, abs=1e-6)
    half = backpass("blame", RUN, "W2[1,0]", "--by", by, "--from", "4", "--to", "9", "--json").object
    assert (half["first"], half["last"]) == (4, 9)
    backpass("blame", RUN, "W2[1,0]", "--from", "9", "--to", "4").fails(2)
    backpass("blame", RUN, "W2[1,0]", "--by", "colour").fails(2, "colour")


def test_another_machine_is_told(backpass: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "note" not in backpass("value", RUN, "C").err
    from backpass.record import promise

    left = promise.Promise("L5", False, "This machine multiplies otherwise.")
    monkeypatch.setattr(promise, "promise", lambda settings: left)
    assert "This machine multiplies otherwise." in backpass("value", RUN, "C").err
