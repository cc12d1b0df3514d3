"""Every question about every kind of run: it answers, with all checks holding, or says why it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import every
import numpy as np
import pytest
from every import KINDS, OPTIMISERS, asked, run_of

import backpass as bp
from backpass.errors import NonFinite, UsageError
from backpass.exec.reference import ReferenceFunction
from backpass.explain.updates.shares import is_coupled
from backpass.explain.why import Why
from backpass.ir import Graph
from backpass.ops import Sum, data
from backpass.passes import backward

DTYPES = ("f32", "f64")

#: Each kind once, each optimiser at least twice, each with both types of numbers.
SOME = [
    (kind, list(OPTIMISERS)[k % len(OPTIMISERS)], DTYPES[sum(divmod(k, len(OPTIMISERS))) % 2])
    for k, kind in enumerate(KINDS)
]
#: The kinds whose own rules meet those of the optimiser: sums of several terms, drawn masks, penalties.
ALL_OPTIMISERS = ("softmax", "dropout", "batch norm", "shared", "embedding", "penalties", "weighted rows")
MANY = [
    (kind, optimiser, DTYPES[(i + j) % 2])
    for i, kind in enumerate(KINDS)
    for j, optimiser in enumerate(OPTIMISERS)
    if kind in ALL_OPTIMISERS or j % 4 == i % 4
]


def may_be_refused(run: bp.Run, question: str) -> str:
    """Part of the reason for which a question is refused, or "" where it must be answered."""
    words = question.split()
    first = next(iter(run.graph.inputs_of_kind("parameter")))
    if question.startswith("blame class") and run.settings.data.task != "classification":
        return "are no classes"
    if words[0] in ("influence", "self_influence") and any(
        is_coupled(run.graph, name) for name in run.graph.inputs_of_kind("parameter")
    ):
        return "mixes the examples of the batch"
    if words[:2] in (["blame", "example"], ["blame", "class"]) and words[2].startswith(f"{first}["):
        return "mixes the examples of the batch" if is_coupled(run.graph, first) else ""
    return ""


def check(kind: str, optimiser: str, dtype: str, *, all_values: bool = True) -> None:
    run = run_of(kind, optimiser, dtype)
    refused, wrong = asked(run, all_values=all_values)
    assert not wrong, "\n".join(wrong)
    for name, reason in refused.items():
        wanted = may_be_refused(run, name)
        assert wanted, f"{name}: {reason}"
        assert wanted in reason
    for name, _ in every.questions(run):
        assert name in refused or not may_be_refused(run, name), f"{name} is answered, after all"


@pytest.mark.parametrize(("kind", "optimiser", "dtype"), SOME)
def test_every_kind_of_run_answers_every_question(kind: str, optimiser: str, dtype: str) -> None:
    check(kind, optimiser, dtype, all_values=False)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "optimiser", "dtype"), MANY)
def test_so_does_every_pair(kind: str, optimiser: str, dtype: str) -> None:
    check(kind, optimiser, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_has_a_report(kind: str, tmp_path: Path) -> None:
    page = run_of(kind, "momentum", "f32").report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert ">nan<" not in page
    assert "object at 0x" not in page


def test_a_check_that_fails_is_found() -> None:
    answer = run_of("softmax", "momentum", "f64").at(4).why("W1[1,1]")
    assert not every.faults(answer)
    first = answer.parts[0]
    corrupted = dataclasses.replace(
        answer, rounding=answer.update - sum(p.value for p in answer.parts) + 1e-6 * first.value
    )
    assert [fault for fault in every.faults(corrupted) if fault.startswith("balance")]


# ---- what the matrix found


def by_hand(run: bp.Run, answer: Why, name: str, entry: tuple[int, ...]) -> np.ndarray:
    """The shares of the batch: how much the gradient changes when one example's loss counts twice."""
    visit = run.at(answer.step)
    loss = visit.graph["loss"]
    counted = Graph({"counted": Sum()(loss * data("count", loss.array_type))})
    gradient = ReferenceFunction(backward(counted, "counted", [name]))
    found = []
    for row in [share.row for share in answer.examples]:
        count = np.where(visit.rows == row, 1.0 / len(visit.rows), 0.0)
        feeds = {k: visit.feeds[k] for k in gradient.graph.inputs if k != "count"}
        found.append(gradient({**feeds, "count": count})[f"d{name}"][entry])
    return np.array(found)


def test_a_weight_below_a_batch_norm_has_shares_by_example_and_by_row() -> None:
    run = run_of("batch norm in between", "sgd", "f64")
    for name, entry in (("W1", (1, 1)), ("W2", (2, 3)), ("b1", (0,))):
        answer = run.at(4).why(f"{name}[{','.join(map(str, entry))}]")
        assert answer.mixed == "batch_mean3"
        assert answer.balanced, answer.checks
        shares = [share.value for share in answer.examples]
        np.testing.assert_allclose(shares, -0.3 * by_hand(run, answer, name, entry), rtol=1e-9, atol=1e-15)
        rows = {share.row: share.value for share in answer.rows}
        assert sum(rows.values()) == pytest.approx(sum(shares), rel=1e-9, abs=1e-14)
        assert max(abs(rows[s.row] - s.value) for s in answer.examples) > 1e-6, "they are not the same"
        assert "by row of the gradient's product" in answer.text()
    above = run.at(4).why("W4[1,1]")
    assert (above.mixed, above.rows) == ("", ())


def test_what_is_refused_below_a_batch_norm_says_what_to_ask_instead() -> None:
    run = run_of("batch norm", "sgd", "f64")
    with pytest.raises(UsageError, match=r"why a weight moved in one step(.|\n)*LayerNorm"):
        run.influence(0)


def test_an_op_without_a_notation_is_printed_by_its_name() -> None:
    run = run_of("bare op", "sgd", "f64")
    assert "= own_bend(z1)" in run.text()
    assert "def own_bend(x):" in run.text()
    assert r"\operatorname{own\_bend}(z^{1})" in run.text("latex")


def test_a_loss_that_cuts_may_be_trained_with_clipped_gradients() -> None:
    run = run_of("huber", "adam clip", "f64")
    assert "clip = 0.01" in run.text()
    compile(run.text(), "program", "exec")


def test_a_run_that_overflowed_is_told_what_can_be_asked_of_it() -> None:
    X = np.random.default_rng(0).standard_normal((40, 3)) * 30
    net = bp.Network([bp.Dense(5), bp.Dense(5), bp.Dense(1)])
    options = {"optimizer": bp.SGD(0.3), "batch": 8, "epochs": 5, "executor": "reference"}
    with pytest.raises(NonFinite) as caught:
        bp.train(net, (X, X @ [1.0, -2.0, 3.0]), **options)
    run = caught.value.run
    assert run.status == "diverged"
    assert "the learning rate is too high" in run.flow().claim
    last = run.at(run.steps)
    for answer in (last.why("W1[0,0]"), last.value("C"), last.paths("W2[0,0]"), run.blame("W1[0,0]")):
        assert answer.balanced, answer.checks
        assert "nan" not in answer.text()
    with pytest.raises(UsageError, match=r"(?s)more than the numbers of this run can hold.*earlier step"):
        run.influence(0)
