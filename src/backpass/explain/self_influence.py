"""``influence`` of each training row on its own loss: which labels are suspicious."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backpass.data import mapped
from backpass.exec.base import Array
from backpass.explain.answer import Answer, Block, Check, Figure, Note, Table
from backpass.explain.examples import ANSWERED, READ, article, labels_of, pictures, read_as, verb_of
from backpass.explain.tracing.backwards import scales
from backpass.explain.tracing.follow import Given, Progress, State
from backpass.explain.tracing.inspection import SEED, Inspection, own_moves, seeded_gradients
from backpass.explain.updates.shares import check_uncoupled
from backpass.ir import Graph
from backpass.passes import retyped, simplify
from backpass.record.record import Record
from backpass.record.replay import Replay

_KEPT = 200  # rows in an answer
_PICTURES = 16
_STRETCH = 1000  # steps


@dataclass
class OwnMoves:
    """What every training row did to its own loss, over the steps that it was in.

    Attributes
    ----------
    own : ndarray of float64, shape (n,)
        Σ over its steps of ∇ℓ·ΔW, to first order, ΔW what its own gradient moves the weights by, then and
        through the velocity. It is never above zero: a row's own steps lower its own loss.
    score : ndarray of float64, shape (n,)
        The mean over its steps of ‖∂ℓ/∂z‖², z what the last layer gives: the influence on itself per unit of
        what carries it. 0 for a row that was in no step.
    visits : ndarray of int64, shape (n,)
        In how many steps it was.
    answers : ndarray of float64, shape (n, outputs)
        The mean over its steps of what the net gave for it just before it learned from it.
    second_route, bound : float
        The largest difference of `own` in one batch, its last, to each example's own pass in f64; and the
        most that rounding can make of it.
    """

    own: NDArray[np.float64]
    score: NDArray[np.float64]
    visits: NDArray[np.int64]
    answers: NDArray[np.float64]
    second_route: float = 0.0
    bound: float = 0.0


def own_moves_of(replay: Replay, *, progress: Progress | None = None) -> OwnMoves:
    """Follow every training row's influence on its own loss through a run.

    Parameters
    ----------
    replay : Replay
    progress : callable, optional
        Called with the steps done, and all of them.

    Raises
    ------
    UsageError
        The batch is coupled (batch normalisation), or the optimiser's update is no sum of parts.
    """
    record = replay.record
    check_uncoupled(record.step)
    steps, rows = record.result_step, record.batches.rows
    one = _Step(record, steps)
    outputs = int(record.step["t"].array_type.shape[1])
    found = OwnMoves(np.zeros(rows), np.zeros(rows), np.zeros(rows, np.int64), np.zeros((rows, outputs)))
    for start in range(0, steps, _STRETCH):
        stop = min(start + _STRETCH, steps)
        passed, given = replay.states(start, stop), Given(replay, start, stop)
        before = next(passed)
        for step, after in zip(range(start, stop), passed, strict=True):
            batch, feeds = given[step]
            feeds |= before | {f"after_{name}": array for name, array in after.items()}
            out = one(feeds)
            np.add.at(found.own, batch, -out["own"].astype(np.float64))
            np.add.at(found.score, batch, out["delta"].astype(np.float64))
            np.add.at(found.answers, batch, out["answer"].astype(np.float64))
            np.add.at(found.visits, batch, 1)
            if step == steps - 1:
                again = one.by_example(feeds)
                found.second_route = float(np.max(np.abs(again - out["own"])))
                eps = float(np.finfo(record.step["loss"].array_type.numpy_dtype).eps)
                found.bound = 256 * eps * float(np.max(np.abs(again)))
            before = after
        if progress is not None:
            progress(stop, steps)
    seen = np.maximum(found.visits, 1)
    found.score /= seen
    found.answers /= seen[:, None]
    return found


class _Step:
    """What each example of a batch does to its own loss in one step."""

    def __init__(self, record: Record, steps: int) -> None:
        step = record.step
        last = [z for z in record.network.deltas if z in step.named]
        output = last[-1] if last else record.prediction
        self.parameters = list(step.inputs_of_kind("parameter"))
        how_far = scales(step)
        single = seeded_gradients(step, output) | {f"scale_{name}": node for name, node in how_far.items()}
        self._single = Graph(single)
        at_once = own_moves(step, output, how_far)
        self._answer = step[record.prediction]
        batch = record.batches.batch
        self._quick = None
        if at_once is not None:
            graph = simplify(Graph(at_once | {"answer": self._answer}), fold=True)
            self._quick = Inspection(graph, batch, steps)
        else:
            self._slow = Inspection(
                simplify(Graph(single | {"answer": self._answer}), fold=True), batch, steps * batch
            )

    def __call__(self, feeds: Mapping[str, Array]) -> State:
        """Shapes (B,): ``own``, ``delta``; shape (B, outputs): ``answer``."""
        rows = len(feeds["x"])
        ones = np.ones(rows, feeds["x"].dtype)
        if self._quick is not None:
            return self._quick({**feeds, SEED: ones})
        out = self._slow({**feeds, SEED: ones})
        return {"own": self._each(self._slow, feeds), "delta": out["delta"], "answer": out["answer"]}

    def by_example(self, feeds: Mapping[str, Array]) -> Array:
        """``own`` by another way: a backward pass in f64 of each example for itself."""
        graph = retyped(self._single, "f64")
        wide = {
            name: np.asarray(value, np.float64) if np.asarray(value).dtype == np.float32 else value
            for name, value in feeds.items()
        }
        return self._each(Inspection(graph), wide)

    def _each(self, function: Inspection, feeds: Mapping[str, Array]) -> Array:
        rows, kind = len(feeds["x"]), feeds["x"].dtype
        found = np.zeros(rows)
        for b in range(rows):
            seed = np.zeros(rows, kind)
            seed[b] = 1
            out = function({**feeds, SEED: seed})
            total = sum(
                float(np.sum(out[f"scale_{name}"] * np.square(out[f"seeded_d{name}"], dtype=np.float64)))
                for name in self.parameters
            )
            found[b] = float(out["seeds"][b]) * total
        return found


@dataclass(frozen=True)
class Suspect:
    """A training row, and how hard the net was to persuade of it.

    Attributes
    ----------
    row : int
        As it is numbered in the data set.
    label, taken_for, read_as : str
        Its class or quantity; what the net took it for just before it learned from it, over its steps; and
        what it reads it as after the run. Nothing of several outputs that are no classes.
    score : float
        See `OwnMoves`: 0 for a row that was always right, up to 2 for a class that was always wrong.
    own : float
        What its own steps moved its loss by, to first order.
    others : float
        What everything else moved it by: ``before + own + others`` is `after`.
    before, after : float
        Its loss before the run, and after.
    visits : int
    """

    row: int
    label: str
    taken_for: str
    read_as: str
    score: float
    own: float
    others: float
    before: float
    after: float
    visits: int


@dataclass(frozen=True, kw_only=True)
class SelfInfluence(Answer):
    """Which training labels are suspicious.

    Attributes
    ----------
    suspects : tuple of Suspect
        The rows with the highest scores, highest first; up to 200.
    rows : int
        How many training rows were ranked.
    second_route, bound : float
        See `OwnMoves`.
    verb : str
        "read as", or of quantities "answered".
    pictures : str
        The first of them, where rows are images, as SVG.
    """

    suspects: tuple[Suspect, ...]
    rows: int
    second_route: float
    bound: float
    verb: str = READ
    pictures: str = ""

    @property
    def checks(self) -> tuple[Check, ...]:
        words = "self-influence in the last step, and each example's own pass in f64"
        return (Check("second route", self.second_route, self.bound, words),)

    def blocks(self) -> list[Block]:
        named = any(s.label for s in self.suspects)
        words = ("is", "taken for", self.verb) if named else ()
        head = ("row", *words, "score", "own steps", "all others", "loss after")
        rows = tuple(
            (
                f"row {s.row:,}",
                *((s.label, s.taken_for, s.read_as) if named else ()),
                s.score,
                s.own,
                s.others,
                s.after,
            )
            for s in self.suspects
        )
        found: list[Block] = [Table("most suspicious first", head, rows)]
        if self.pictures:
            shown = ", ".join(f"row {s.row:,}" for s in self.suspects[:_PICTURES])
            found.append(Figure("the most suspicious rows", self.pictures, shown))
        taken = "'Taken for' is what the net gave for it then, on average. " if named else ""
        found.append(
            Note(
                "The score is a row's influence on its own loss through the outputs, ‖∂ℓ/∂z‖², just before "
                "each of its steps, on average: high where the net had to be persuaded of the label again "
                f"and again, because other rows speak against it. {taken}'Own steps' is what all its steps "
                "moved its own loss by, to first order."
            )
        )
        return found


def self_influence(
    replay: Replay, numbers: NDArray[np.int64], *, progress: Progress | None = None
) -> SelfInfluence:
    r"""Rank the training rows by their influence on themselves: wrong labels come first.

    A row whose label agrees with the others is learned through them, and its own steps have little to do. A
    wrong label is learned through its own steps alone, and the others undo it. TracIn [1]_ therefore ranks by
    self-influence, :math:`\sum_k η\,‖∇_W ℓ‖²`. Here the row's gradient is taken at what the last layer gives,
    :math:`‖∂ℓ/∂z‖²`, as [2]_ does: what stands between z and the weights (inputs with much ink, large
    activations) makes self-influence large for right labels too. With n labels flipped, a tenth, 96 % of the
    first n rows are flipped ones on digits, and 93 % by the influence through all weights; 88 % and 78 % on
    3,000 rows of MNIST (``benchmarks/labels.py``). The influence through all weights is given beside it.

    Parameters
    ----------
    replay : Replay
    numbers : ndarray of int64
        The number in the data set of each training row.
    progress : callable, optional
        Called with the steps done, and all of them.

    Returns
    -------
    SelfInfluence

    Raises
    ------
    UsageError
        The batch is coupled (batch normalisation), so an example has no gradient of its own.

    References
    ----------
    .. [1] Pruthi, Liu, Kale & Sundararajan, Estimating training data influence by tracing gradient descent,
       NeurIPS 2020, section 4.1.
    .. [2] Paul, Ganguli & Dziugaite, Deep learning on a data diet, NeurIPS 2021 (EL2N).
    """
    record = replay.record
    found = own_moves_of(replay, progress=progress)
    top = np.argsort(-found.score, kind="stable")[:_KEPT]
    top = top[found.visits[top] > 0]
    x, t = (mapped.take(replay.data[name], top) for name in ("x", "t"))
    losses = [_losses(record, state, x, t) for state in (record.checkpoints[0], record.result())]
    labels, taken, read = labels_of(record, t), labels_of(record, found.answers[top]), read_as(record, x)
    suspects = tuple(
        Suspect(
            row=int(numbers[r]),
            label=labels[k],
            taken_for=taken[k],
            read_as=read[k],
            score=float(found.score[r]),
            own=float(found.own[r]),
            others=float(losses[1][k] - losses[0][k] - found.own[r]),
            before=float(losses[0][k]),
            after=float(losses[1][k]),
            visits=int(found.visits[r]),
        )
        for k, r in enumerate(top)
    )
    names = [
        f"row {s.row:,}\nis {s.label}, taken for {s.taken_for}" if s.label else f"row {s.row:,}"
        for s in suspects[:_PICTURES]
    ]
    return SelfInfluence(
        question="influence",
        target="each training row on itself",
        step=None,
        claim=_claim(suspects, record.batches.rows, verb_of(record)),
        evidence=("loss", record.prediction),
        suspects=suspects,
        rows=record.batches.rows,
        second_route=found.second_route,
        bound=found.bound,
        verb=verb_of(record),
        pictures=pictures(
            record, "the most suspicious rows", replay.data["x"], top[:_PICTURES].tolist(), names
        ),
    )


def _losses(record: Record, state: Mapping[str, Array], x: Array, t: Array) -> NDArray[np.float64]:
    """The loss of each of some rows, as the net reads them when it does not train."""
    loss = Inspection(record.predict_graph.part(["loss"]))
    found = loss({**state, **record.fixed, "x": x, "t": t})
    return np.asarray(found["loss"], np.float64)


def _claim(suspects: tuple[Suspect, ...], rows: int, verb: str) -> str:
    first = suspects[0]
    known = ""
    if first.label:
        known = f", {first.label if verb == ANSWERED else article(first.label)}"
        known += f" taken for {first.taken_for}," if first.taken_for != first.label else ","
    words = (
        f"Of {rows:,} training rows, row {first.row:,}{known} was the hardest to persuade the net of: its "
        f"score is {first.score:.3g}."
    )
    if first.label and verb == READ:
        wrong = sum(s.taken_for != s.label for s in suspects)
        count = "All" if wrong == len(suspects) else f"{wrong:,}" if wrong else "None"
        verb = "was" if wrong == 1 else "were"
        words += (
            f" {count} of the {len(suspects):,} rows listed {verb} on average taken for another class just "
            "before the net learned from them."
        )
    return words
