"""Races: fair (same start, same rows, same budget), counted, deterministic, and told as they were."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from backpass.errors import UsageError
from backpass.exec.compiled.function import CompiledFunction
from backpass.pictures.many_lines import Curve, many_lines, spread
from backpass.rivals.budget import Budget, budget
from backpass.rivals.methods import METHODS
from backpass.rivals.methods.grid import Grid
from backpass.rivals.outcome import curve_of, outcome
from backpass.rivals.problem import Problem
from backpass.rivals.race import Lane, Race, Trial, entrants
from backpass.rivals.scaling import scaling
from backpass.rivals.scaling.needs import Need, needs_of
from backpass.rivals.scaling.teacher import linear
from backpass.rivals.task import Task
from backpass.rivals.tasks import TASKS, searched_seed, task_named

SOME = [METHODS[name] for name in ("backprop", "one-weight", "weight-perturbation")]


@pytest.fixture(scope="module")
def xor() -> Problem:
    return Problem(task_named("xor"))


def test_the_tasks_have_the_nets_they_are_said_to_have() -> None:
    sizes = {name: Problem(task_named(name)).N for name in TASKS if name != "mnist"}
    assert sizes == {"xor": 9, "parity-4": 25, "iris": 67, "digits": 2410, "company": 13}
    with pytest.raises(UsageError, match="Did you mean 'digits'"):
        task_named("digit")
    with pytest.raises(UsageError, match="does not come with backpass"):
        task_named("mnist")


def test_rows_to_test_on_are_not_learned_from() -> None:
    task = task_named("iris")
    assert task.test is not None
    assert len(task.x) + len(task.test[0]) == 150
    assert abs(task.x.mean()) < 1e-12  # what prepares them was fitted on these rows alone
    assert abs(task.test[0].mean()) > 1e-6


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("60s", Budget(60.0, "seconds")),
        ("2 min", Budget(120.0, "seconds")),
        ("20,000 passes", Budget(20000.0)),
    ],
)
def test_budgets_as_they_are_typed(text: str, found: Budget) -> None:
    assert budget(text) == found


@pytest.mark.parametrize("text", ["0", "0s", "-5", "soon", "", "60 parsecs", "nan", "1e999"])
def test_a_budget_that_buys_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        budget(text)


def test_all_methods_see_the_same_rows_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(replace(linear(4), batch=1))
    seen: dict[str, list[tuple[int, bytes]]] = {}
    now = ""
    batch = Problem.batch

    def watched(self: Problem, k: int) -> object:
        rows = batch(self, k)
        seen.setdefault(now, []).append((k, rows["x"].tobytes()))
        return rows

    monkeypatch.setattr(Problem, "batch", watched)
    for name in ("backprop", "spsa", "feedback-alignment"):
        now = name
        method = METHODS[name](problem, 0.1)
        assert np.array_equal(method.weights.flat, problem.start.flat)
        for _ in range(9):
            method.step()
    assert seen["backprop"] == seen["spsa"] == seen["feedback-alignment"]
    assert len({rows for _, rows in seen["backprop"]}) == 9  # and they are not all the same


def test_a_race_in_passes_is_deterministic_and_its_meters_agree() -> None:
    runs = []
    for _ in range(2):
        problem = Problem(task_named("xor"))
        race = Race(problem, SOME, Budget(420.0))
        results = race.run()
        assert problem.meter.flops == sum(lane.flops for lanes in race.lanes.values() for lane in lanes)
        assert problem.meter.limit == math.inf
        runs.append([[[(p.passes, p.cost) for p in t.points] for t in r.trials] for r in results])
    assert runs[0] == runs[1]


def test_no_step_size_spends_more_than_its_share(xor: Problem) -> None:
    race = Race(xor, [METHODS["finite-differences"], METHODS["backprop"]], Budget(7 * 35.0))
    for result in race.run():
        for trial in result.trials:
            assert trial.end.passes <= 35.0
            assert all(a.passes <= b.passes for a, b in zip(trial.points, trial.points[1:], strict=False))
    finite = race.results()[0]
    assert [trial.steps for trial in finite.trials] == [
        3
    ] * 7  # ten passes each; of the fourth, five are left


def test_a_step_that_is_not_paid_for_changes_nothing(xor: Problem) -> None:
    lane = Lane(METHODS["finite-differences"](xor, 0.1), Budget(25.0))
    lane.go(20.0)
    kept = lane.method.weights.flat.copy()
    lane.go(25.0)
    assert lane.over
    assert lane.passes == 25.0
    assert np.array_equal(lane.method.weights.flat, kept)


def test_looking_is_free(xor: Problem) -> None:
    xor.fresh()
    lane = Lane(METHODS["backprop"](xor, 0.1), Budget(100.0))
    assert xor.meter.flops == 0
    assert lane.points[0].cost == xor.cost_of_all(xor.start)
    lane.go(10.0)
    steps = lane.method.steps
    assert lane.passes == pytest.approx(steps * xor.price("backprop"), rel=1e-12)
    assert lane.points[-1].cost == xor.cost_of_all(lane.method.weights)


def test_what_diverges_stops_and_is_never_the_best(xor: Problem) -> None:
    lane = Lane(METHODS["backprop"](xor, 0.1), Budget(100.0))
    lane.method.weights.flat[:] = math.nan
    lane.go(5.0)
    trial = lane.trial()
    assert lane.over
    assert trial.diverged
    assert trial.rank == (math.inf, math.inf)


def test_the_best_step_size_reaches_the_goal_first(xor: Problem) -> None:
    result = Race(xor, [METHODS["backprop"]], Budget(1400.0)).run()[0]
    reached = [t.reached.passes if t.reached else math.inf for t in result.trials]
    assert reached[result.best_at] == min(reached) < math.inf
    assert isinstance(result.best, Trial)
    assert result.best.train == 1.0


def test_charts_and_table_have_the_numbers_of_the_curves(xor: Problem) -> None:
    spend = Budget(1400.0)
    results = Race(xor, SOME, spend).run()
    found = outcome(xor, spend, results)
    for result in results:
        curve = curve_of(result, "passes", 1.0, 0.0)
        assert list(curve.y) == [p.cost for p in result.best.points]
        assert list(curve.x) == [max(1.0, p.passes) for p in result.best.points]
    first = found.results[0].best.reached
    assert first is not None
    assert f"after {first.passes:,.0f} passes" in found.claim
    assert f"backpropagation: {first.cost:.4g} at {first.passes:.4g}" in found.page()
    text = found.text()
    for result in results:
        assert result.title in text
        assert result.sentence.split()[0] in text
    assert {q.method for q in found.qualities} == {"backprop", "weight-perturbation"}
    assert found.curse is not None
    assert found.curse.rows[1][2] == "1,953,125"


def test_a_grid_that_cannot_end_is_refused_or_left_out(xor: Problem) -> None:
    assert entrants(xor) == (list(METHODS.values()), [])
    iris = Problem(task_named("iris"))
    with pytest.raises(UsageError, match=r"6\.8e46 combinations.*years"):
        entrants(iris, [Grid])
    taking_part, left_out = entrants(iris)
    assert Grid not in taking_part
    assert len(taking_part) == len(METHODS) - 1
    assert "6.8e46" in left_out[0]
    assert "years" in left_out[0]


def test_the_median_counts_the_starts_that_missed_and_those_that_were_spared() -> None:
    missed = (1.0, 2.0, math.inf)
    need = Need("spsa", "t", 9, 3, ((0.5, 1.0, 8.0), missed, missed, missed), 5, 10.0)
    assert need.hopeless
    assert math.isinf(need.to())
    assert math.isinf(need.to_goal)
    assert need.to(0) == 1.0  # whatever the fifth had made of it
    assert math.isnan(replace(need, starts=(missed, missed, (3.0, 3.0, math.inf))).to(0))
    few = replace(need, planned=3, starts=((1, 2, 8.0), missed, (1, 2, 4.0)))
    assert not few.hopeless
    assert few.to_goal == 8.0


def test_on_the_linear_task_finite_differences_grow_as_n_and_backpropagation_does_not() -> None:
    methods = [METHODS[name] for name in ("backprop", "finite-differences", "delta-rule")]
    said: list[float] = []
    found = scaling([], methods, told=lambda share, words: said.append(share), widths=(2, 4, 8))
    assert {need.method for need in found.widths} == {"backprop", "finite-differences"}
    assert [need.N for need in found.widths[::2]] == [4, 16, 64]
    for back, finite in zip(found.widths[::2], found.widths[1::2], strict=True):
        for one, other in zip(back.starts, finite.starts, strict=True):
            steps = other[-1] / (back.N + 1)  # a step of finite differences costs N + 1 passes
            assert steps == pytest.approx(round(steps), rel=1e-9)
            price = Problem(linear(back.M)).price("backprop")
            assert one[-1] == pytest.approx(round(steps) * price, rel=1e-9)
            assert list(other) == sorted(other)  # a half, a third, a fifth
    assert any(need.to(0) < need.to() for need in found.widths)
    assert said == sorted(said)
    assert 0 <= said[0] <= said[-1] <= 1
    text = found.text()
    assert "as N + 1" in text
    assert "delta rule" not in text.split("Passes to the goal")[1].split("a line for each")[0]


def test_the_linear_task_is_the_same_at_every_size_but_for_its_size() -> None:
    for width in (3, 18):
        task = linear(width, seed=1)
        problem = Problem(task)
        assert (problem.N, problem.M, len(task.x)) == (width**2, width, 4 * width)
        assert not problem.start.flat.any()
        assert not np.array_equal(task.x, linear(width, seed=2).x)


def test_what_missed_the_goal_in_most_starts_is_spared_the_rest() -> None:
    def task(seed: int) -> Task:
        raced.append(seed)
        return task_named("xor", seed)

    raced: list[int] = []
    slow, quick = METHODS["delta-rule"], METHODS["backprop"]
    found = needs_of(task, [0, 2, 3], [slow, quick], 150.0, lambda share: None)
    assert [(len(need.starts), need.hopeless) for need in found] == [(2, True), (3, False)]
    assert raced == [0, 2, 3]
    only = needs_of(task, [0, 2, 3], [slow], 150.0, lambda share: None)
    assert raced == [0, 2, 3, 0, 2]
    assert only[0].starts == found[0].starts


def test_a_race_says_what_its_budget_was_too_small_for(xor: Problem) -> None:
    spend = Budget(7 * 9.0)  # finite differences need ten passes
    methods = [METHODS[name] for name in ("finite-differences", "grid")]
    found = outcome(xor, spend, Race(xor, methods, spend).run(), stopped=True)
    text = " ".join(found.text().split())
    assert "finite differences (no step done)" in found.claim
    assert "A single step of finite differences costs more than 9 passes" in text.replace("9.00", "9")
    # its first try costs two passes: one for the start
    assert "at most 8 of 5^9 = 1,953,125 combinations" in text
    assert "may lie beyond" not in text or "for finite" not in text


def test_a_seed_that_was_searched_for_is_told() -> None:
    problem = Problem(task_named("company"))
    spend = Budget(70.0)
    results = Race(problem, [METHODS["backprop"]], spend).run()
    assert "The seed, 3, was searched for" in outcome(problem, spend, results, stopped=True).text()
    assert searched_seed("parity-4", 11)
    assert not searched_seed("parity-4", 12)


def test_twelve_lines_are_told_apart() -> None:
    svg = many_lines("t", "x", "y", [Curve(f"line {k}", [1, 10], [1.0, 2.0], k) for k in range(12)])
    rules = dict(
        re.findall(r"\.bp \.m(\d+)\{(stroke:[^}]*)\}", svg.split("@media")[0] + svg.split("@media")[1])
    )
    assert len(set(rules.values())) == 12
    heights = [float(y) for y in re.findall(r'class="name" x="[\d.]+" y="([\d.]+)"', svg)]
    assert len(heights) == 12
    assert min(b - a for a, b in zip(sorted(heights), sorted(heights)[1:], strict=False)) >= 14.9
    assert spread([5, 5, 5], 10, 0, 100) == [0.0, 10.0, 20.0]


def test_a_bound_function_is_the_function(xor: Problem) -> None:
    graph = xor.programs.backprop
    function = CompiledFunction(graph)
    feeds = {**xor.all_rows, **xor.start.named}
    feeds = {name: feeds[name] for name in graph.inputs}
    usual, bound = function(feeds), function.bound({"B": 4})
    first = bound(feeds)
    second = bound({**feeds, "W1": feeds["W1"] + 1.0})
    assert all(np.array_equal(usual[name], first[name]) for name in usual)  # the next call has not changed it
    assert not np.array_equal(first["dW1"], second["dW1"])
    with pytest.raises(UsageError, match="was bound with shape"):
        bound({**feeds, "x": np.zeros((3, 2))})
