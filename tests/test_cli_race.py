"""``backpass race`` at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Command

from backpass.rivals.race import Lane, Race

QUICK = ("xor", "--methods", "backprop,spsa", "--budget", "280")


def test_a_race_in_the_terminal(backpass: Command) -> None:
    said = backpass("race", *QUICK)
    assert said.code == 0, said.err
    for word in ("Backpropagation", "SPSA", "passes", "Guesses at the gradient", "1,953,125", "counted"):
        assert word in said.out


def test_the_object_has_what_the_page_has(backpass: Command) -> None:
    said = backpass("race", *QUICK, "--json")
    found = said.object
    assert said.out.count("\n") == 1
    assert found["target"] == "xor"
    assert [result["name"] for result in found["results"]] == ["backprop", "spsa"]
    assert len(found["results"][0]["trials"]) == 7
    again = backpass("race", *QUICK, "--json").object
    costs = [[[p["cost"] for p in t["points"]] for t in r["trials"]] for r in found["results"]]
    assert costs == [[[p["cost"] for p in t["points"]] for t in r["trials"]] for r in again["results"]]


def test_the_page(backpass: Command) -> None:
    assert backpass("race", *QUICK, "--out", "page.html").code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "<script" not in page
    assert "prefers-color-scheme:dark" in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["xro"], "Did you mean 'xor'"),
        (["xor", "--methods", "backprob"], "Did you mean 'backprop'"),
        (["xor", "--methods", ","], "names none"),
        (["xor", "--budget", "0"], "above zero"),
        (["xor", "--budget", "0s"], "above zero"),
        (["xor", "--budget", "soon"], "is no budget"),
        (["xor", "--seed", "-1"], "--seed"),
        (["xor", "--mnist"], "--mnist is no option"),
        (["noise", "--budget", "5s"], "--budget is no option"),
        (["digits", "--methods", "backprop,grid"], "years"),
        ([], "backpass race xor"),
    ],
)
def test_what_cannot_be_raced(backpass: Command, words: list[str], told: str) -> None:
    backpass("race", *words).fails(2, told)


def test_mnist_says_where_it_comes_from(backpass: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_DATA", "nowhere")
    backpass("race", "mnist").fails(3, "mnist", "BACKPASS_DATA")


def test_a_wrong_ending_is_refused_before_the_race(
    backpass: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Race, "run", lambda *_: pytest.fail("the race was run"))
    backpass("race", *QUICK, "--out", "page.pdf").fails(2, "page.pdf")


def test_ctrl_c_shows_what_is_there(backpass: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    go, calls = Lane.go, list[float]()

    def stopped(self: Lane, until: float) -> None:
        calls.append(until)
        if len(calls) == 400:
            raise KeyboardInterrupt
        go(self, until)

    monkeypatch.setattr(Lane, "go", stopped)
    said = backpass("race", *QUICK)
    assert said.code == 130
    assert "had not reached" in said.out
    assert "stopped by Ctrl-C" in said.err


def test_a_lesson(backpass: Command) -> None:
    said = backpass("race", "one-weight")
    assert said.code == 0
    assert "54" in said.out
