"""The lessons of a race: the counter of combinations, one weight, batches, noise."""

import itertools
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import pytest

from backpass.classics import Classic, named, reproduce
from backpass.classics.recipes.theory import products
from backpass.errors import UsageError
from backpass.exec.base import Loop
from backpass.exec.reference import ReferenceFunction
from backpass.rivals.counter import Search, check_it_ends, counter, curse, told_count, told_time
from backpass.rivals.lessons import lesson_named
from backpass.rivals.lessons.batch import batch, collecting
from backpass.rivals.lessons.noise import MODELS, nearest_labels, noise, other_pixels, wrong_labels
from backpass.rivals.lessons.one_weight import one_weight
from backpass.rivals.problem import Problem
from backpass.rivals.tasks import task_named


@pytest.mark.parametrize(
    ("weights", "time"),
    [(2, "1 ms"), (3, "1 s"), (4, "16.7 min"), (5, "11.6 days"), (6, "31.7 years")],
)
def test_the_times_of_the_articles(weights: int, time: str) -> None:
    search = Search(1000, weights, 1e9)
    assert search.combinations == 1000**weights
    assert search.time == time


def test_combinations_are_exact_however_many() -> None:
    huge = Search(1000, 79_510, 1e9)
    assert huge.combinations == 10 ** (3 * 79_510)
    assert huge.seconds == Fraction(10 ** (3 * 79_510 - 9))
    years = 3 * 79_510 - 9 - math.log10(31_557_600)
    mantissa, power = huge.time.removesuffix(" years").split("e")
    assert int(power) == math.floor(years)
    assert float(mantissa) == pytest.approx(10 ** (years % 1), abs=0.05)
    assert Search(5, 9, 1.0).combinations == 1_953_125
    assert told_count(5**17) == "7.6e11"


def test_rounding_never_gives_ten_before_the_power() -> None:
    assert told_count(99_999_999_999) == "1.0e11"
    assert [told_time(s) for s in (0, 1e-9, 0.9999, 3600)] == ["0 ns", "1 ns", "1000 ms", "1 hour"]
    assert [told_time(86_400 * 365), told_time(31_557_600), told_time(31_557_600 * 12_345)] == [
        "365 days", "1 year", "12,345 years",
    ]  # fmt: skip


def test_a_counter_is_a_table() -> None:
    table = curse(9, 1e5)
    assert [row[0] for row in table.rows] == ["2", "5", "10", "1,000"]
    assert table.rows[1] == ("5", "9", "1,953,125", "19.5 s")
    assert counter("none", []).rows == ()


def test_a_search_that_cannot_end_is_refused_with_count_and_years() -> None:
    check_it_ends(Search(5, 9, 1e5), 20.0)
    with pytest.raises(
        UsageError, match=r"1,953,125 combinations.*19.5 s, and there is 19 s.*\n.*up to 8 weights"
    ):
        check_it_ends(Search(5, 9, 1e5), 19.0)
    with pytest.raises(UsageError, match=r"79,510 weights.*1.3e55575.*years old"):
        check_it_ends(Search(5, 79_510, 1e5), 60.0)
    for wrong in ((0, 9, 1.0), (5, 0, 1.0), (5, 9, 0.0), (5, 9, math.inf), (5.0, 9, 1.0)):
        with pytest.raises(UsageError):
            Search(*wrong)


def test_one_weight_is_tried_as_the_articles_do() -> None:
    lesson = one_weight()
    assert [(t.w, t.error) for t in lesson.tries] == [(4, 3276), (3, 819), (2, 0), (1, 819)]
    assert lesson.tries[1].outputs == (0, 9, 27, 81)
    for t in lesson.tries:  # by hand: E = 819 (w - 2)²
        assert (t.error, t.gradient) == (819 * (t.w - 2) ** 2, 1638 * (t.w - 2))
    assert lesson.balanced
    words = [row[3] for row in lesson.blocks()[1].rows]
    assert words[1:3] == ["smaller: go on", "no error left; who sees only errors tries on"]
    assert words[3] == "the error grows again: too far, back to 2"


def test_one_step_with_the_right_rate_lands_and_a_rate_too_large_runs_away() -> None:
    by_words = {d.words: d for d in one_weight().descents}
    assert by_words["the right one"].w[:2] == (4.0, 2.0)
    for words, grows in (("small", False), ("large", False), ("too large", True)):
        errors = by_words[words].error
        assert all((b > a) is grows for a, b in itertools.pairwise(errors)), words


def test_a_lesson_is_given_in_every_form() -> None:
    lesson = lesson_named("one-weight")()
    assert json.loads(json.dumps(lesson.to_dict(), allow_nan=False))["tries"][0]["outputs"][3] == 108
    assert "<svg" in lesson.page()
    assert "grows again" in lesson.markdown()
    assert "grows again" in lesson.latex()
    with pytest.raises(UsageError, match="Did you mean 'one-weight'"):
        lesson_named("one-wieght")


@pytest.fixture
def in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled, which for a few rows takes longer than all the rest."""
    monkeypatch.setattr("backpass.rivals.lessons.descent.obstacle_to_compiling", lambda: "quicker without")


@pytest.mark.usefixtures("in_numpy")
def test_batches_of_every_size_find_the_same_gradient() -> None:
    shares: list[float] = []
    lesson = batch(
        rows=96, passes=2, repeats=1, rates=(0.1, 1e4), told=lambda share, words: shares.append(share)
    )
    assert [way.size for way in lesson.ways] == [1, 8, 96]
    assert lesson.balanced
    assert 0 < max(way.difference for way in lesson.ways) < 1e-13
    assert [one.updates for one in lesson.learned] == [96, 3, 1]
    for one in lesson.learned:
        assert one.rate == 0.1  # with 10,000 it diverges
        assert one.cost[2] < one.cost[0]
        assert one.cost[0] == lesson.learned[0].cost[0]  # the same start
    assert shares == sorted(shares)
    assert json.dumps(lesson.to_dict(), allow_nan=False)
    assert "<svg" in lesson.page()


@pytest.mark.usefixtures("in_numpy")
def test_parts_of_a_gradient_that_are_left_out_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def but_the_last(loop: Loop, rows: int, size: int) -> None:
        starts = np.append(np.arange(0, rows, size), rows).astype(np.int64)[: max(2, rows // size)]
        loop.run(np.arange(rows), starts, np.zeros((len(starts) - 1, 0)))

    monkeypatch.setattr("backpass.rivals.lessons.batch._pass", but_the_last)
    assert not batch(rows=32, passes=1, repeats=1, rates=(0.1,)).balanced


@pytest.mark.slow
def test_native_code_finds_the_same_gradient_too() -> None:
    lesson = batch(rows=200, passes=1, repeats=1, rates=(0.1,))
    assert lesson.balanced
    assert [way.size for way in lesson.ways] == [1, 8, 32, 128, 200]


@pytest.mark.slow
@pytest.mark.usefixtures("in_numpy")
def test_wrong_labels_hurt_and_are_learned_by_heart() -> None:
    lesson = noise(levels=(0.0, 0.4), seeds=2, rows=150, passes=60)
    assert [(n.kind, n.level) for n in lesson.noisy] == [
        (kind, level) for kind in ("labels", "inputs") for level in (0.0, 0.4)
    ]
    clean, wrong = lesson.of("labels")
    assert lesson.of("inputs")[0].errors == clean.errors  # no noise is no noise
    for model in MODELS:
        assert len(wrong.errors[model]) == 2
        assert np.mean(wrong.errors[model]) > np.mean(clean.errors[model])
    end, stopped = MODELS[:2]
    assert np.mean(wrong.believed[end]) > 0.4
    assert np.mean(wrong.believed[stopped]) < np.mean(wrong.believed[end])
    assert np.mean(wrong.errors[stopped]) < np.mean(wrong.errors[end])
    assert clean.believed[end] == ()
    assert json.dumps(lesson.to_dict(), allow_nan=False)
    assert lesson.page().count("<svg") == 2


def test_noise_is_drawn_from_the_seed_and_no_right_label_is_drawn() -> None:
    def rng() -> np.random.Generator:
        return np.random.default_rng(3)

    t = np.eye(10)[np.arange(10).repeat(100)]
    wrong = wrong_labels(t, 1.0, rng())
    assert not (wrong * t).any()
    assert np.array_equal(wrong, wrong_labels(t, 1.0, rng()))
    assert np.array_equal(wrong_labels(t, 0.0, rng()), t)
    x = np.arange(40.0).reshape(10, 4)
    assert np.array_equal(other_pixels(x, 0.0, rng()), x)
    assert nearest_labels(x, np.eye(10), x + 0.4).tolist() == list(range(10))


def classic(mark: str, **options: object) -> Classic:
    """A classic of the list, made small."""
    (found,) = named([mark])
    return msgspec.structs.replace(found, options=found.options | options)


def test_multiply_adds_are_counted_in_the_programs() -> None:
    for sizes in ([784, 30, 10], [5, 4, 3, 2], [3, 2]):
        once = sum(a * b for a, b in itertools.pairwise(sizes))
        assert products(sizes) == (once, 3 * once - sizes[0] * sizes[1])
    found = reproduce(
        classic("T1", nets={name: [7, 3, 2] for name in ("784-30-10", "784-2500-2000-1500-1000-500-10")})
    ).measured.figures
    assert found["784-30-10.backward"].values == (1.0,)
    assert found["passes of central differences"].values == (2 * (24 + 8),)
    assert found["agree"].values == (1.0,)


def test_the_rates_that_diverge_are_those_above_two_over_the_largest_eigenvalue() -> None:
    found = reproduce(classic("T4", parts=[0.9, 1.1], steps=300)).measured
    assert found.figures["diverges iff"].values == (1.0,)
    assert found.figures["limit"].mean == pytest.approx(1.0, abs=0.02)
    assert found.figures["hessian"].values == (1.0,)


def test_a_start_decides_what_comes_back_through_layers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKPASS_DATA", str(tmp_path))  # without MNIST the bundled digits must do
    found = reproduce(classic("G1", units=60, rows=60, seeds=2)).measured
    assert "bundled" in found.notes[0]
    assert found.figures["standard.a layer"].mean == pytest.approx(1 / 3, abs=0.1)
    assert found.figures["normalised.a layer"].mean > 0.6
    singular = [found.figures[f"{name}.singular value"].mean for name in ("standard", "normalised")]
    assert singular == pytest.approx([0.48, 0.8], abs=0.08)


def test_thirty_layers_halve_the_mean_square_from_one_start_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKPASS_DATA", str(tmp_path))
    small = classic("G3", units=40, rows=64, steps=4, every=2, batch=32, seeds=2)
    found = reproduce(small).measured.figures
    for what in ("z", "δ"):
        gap = found[f"He.{what} a layer"].mean - found[f"Xavier.{what} a layer"].mean
        assert gap == pytest.approx(1.0, abs=0.01)  # the same draws, scaled by √2: one halving a layer
    small = classic("G2", units=20, rows=60, cases=20, steps=4, every=2)
    told: list[float] = []
    assert reproduce(small, lambda share, words: told.append(share)).measured.figures["top"].mean < 1
    assert told == sorted(told)


def test_what_is_collected_is_the_gradient_of_the_mean() -> None:
    task = task_named("digits", 0)
    task = replace(task, x=task.x[:50], t=task.t[:50], batch=50)
    problem = Problem(task)
    zeros = {f"sum_{name}": np.zeros_like(array) for name, array in problem.start.named.items()}
    found = ReferenceFunction(collecting(task, 50))({**problem.all_rows, **problem.start.named, **zeros})
    collected = np.concatenate([np.ravel(found[f"{name}_new"]) for name in zeros])
    exact = problem.gradient(problem.start, problem.all_rows)[1]
    assert np.allclose(collected, exact, rtol=1e-12, atol=1e-15)
