"""Runs of every kind, and every question that can be asked of one: for `test_every_question`."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import moments
import numpy as np

import backpass as bp
from backpass.cli.output import clean
from backpass.errors import UsageError
from backpass.explain import Answer
from backpass.ir import Node
from backpass.ir.op import Op, Sample
from backpass.ir.types import ArrayType
from backpass.training.schedules import Cosine, Exponential, WarmUp

Net = Callable[[], bp.Network]


class Bent(Op):
    """An op of a user's own with nothing but what an op must have; its vjp is made of other ops."""

    name: ClassVar[str] = "own_bend"
    samples: ClassVar[tuple[Sample, ...]] = (Sample((("B", 3),)),)

    def __eq__(self, other: object) -> bool:
        return type(other) is Bent

    def __hash__(self) -> int:
        return hash("own_bend")

    def settings(self) -> dict[str, Any]:
        return {}

    def infer(self, x: Any) -> Any:
        return x

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x / (1 + x * x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        below = 1.0 + x * x
        return (adj * (1.0 - x * x) / (below * below),)


def _dag() -> bp.Network:
    x = bp.Inputs()
    left, right = bp.Dense(3, "tanh")(x[0:2]), bp.Dense(2, "relu")(x)
    return bp.Network(bp.Dense(3, "softmax")(bp.join(left + bp.Dense(3)(right), right, x[2])))


def _twice() -> bp.Network:
    x = bp.Inputs()
    again = bp.Dense(3, "tanh")
    return bp.Network(bp.Dense(3, "softmax")(again(again(x))))


def _chain(*layers: Any) -> Net:
    return lambda: bp.Network(list(layers))


@dataclass(frozen=True)
class Kind:
    """A kind of run: its net, what its targets are, and what else it is told."""

    net: Net
    targets: str = "classes"
    options: dict[str, Any] = field(default_factory=dict)


_PLAIN = _chain(bp.Dense(4, "sigmoid"), bp.Dense(3, "softmax"))

KINDS: dict[str, Kind] = {
    **{
        name: Kind(net, "words" if name == "embedding" else "classes", moments.OPTIONS.get(name, {}))
        for name, net in moments.NETS.items()
        if name not in ("dense", "squared")
    },
    "softmax": Kind(_PLAIN),
    "one sigmoid": Kind(_chain(bp.Dense(4, "tanh"), bp.Dense(1, "sigmoid")), "yes or no"),
    "multilabel": Kind(_chain(bp.Dense(4, "relu"), bp.Dense(3, "sigmoid")), "labels"),
    "regression": Kind(_chain(bp.Dense(4, "tanh"), bp.Dense(2)), "amounts"),
    "huber": Kind(_chain(bp.Dense(4, "tanh"), bp.Dense(2)), "amounts", {"loss": "huber"}),
    "absolute": Kind(_chain(bp.Dense(4, "relu"), bp.Dense(1)), "amount", {"loss": "absolute"}),
    "poisson": Kind(_chain(bp.Dense(4, "tanh"), bp.Dense(1, "exp")), "counts", {"loss": "poisson"}),
    "hinge": Kind(_chain(bp.Dense(4, "relu"), bp.Dense(3)), "classes", {"loss": "hinge"}),
    "squared sigmoid": Kind(
        _chain(bp.Dense(4, "sigmoid"), bp.Dense(3, "sigmoid")), "classes", {"loss": "squared_error"}
    ),
    "two dropouts": Kind(
        _chain(bp.Dropout(0.2), bp.Dense(5, "relu"), bp.Dropout(0.4), bp.Dense(3, "softmax"))
    ),
    "batch norm in between": Kind(
        _chain(
            bp.Dense(3, "tanh"), bp.Dense(4), bp.BatchNorm(), bp.Activation("relu"), bp.Dense(3, "softmax")
        )
    ),
    "shared": Kind(_twice),
    "frozen": Kind(_chain(bp.Dense(4, "tanh", trainable=False), bp.Dense(3, "softmax"))),
    "frozen top": Kind(_chain(bp.Dense(4, "tanh"), bp.Dense(3, "softmax", trainable=False))),
    "dag": Kind(_dag),
    "bare op": Kind(_chain(bp.Dense(3), bp.Apply(Bent()), bp.Dense(3, "softmax"))),
    "own activation": Kind(_chain(bp.Dense(3, Bent()), bp.Dense(3, "softmax"))),
    "no hidden layer": Kind(_chain(bp.Dense(3, "softmax"))),
    "one unit": Kind(_chain(bp.Dense(1, "tanh"), bp.Dense(1, "sigmoid")), "yes or no"),
    "no biases": Kind(_chain(bp.Dense(3, "relu", use_bias=False), bp.Dense(3, "softmax", use_bias=False))),
    "deep sigmoid": Kind(_chain(*[bp.Dense(3, "sigmoid")] * 5, bp.Dense(3, "softmax"))),
    "batch of 1": Kind(_PLAIN, options={"batch": 1}),
    "whole batch": Kind(_PLAIN, options={"batch": 100}),
    "weighted rows": Kind(_PLAIN, options={"sample_weight": np.arange(24.0) % 3}),
    "weighted classes": Kind(_PLAIN, options={"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}),
    "penalties": Kind(_PLAIN, options={"l1": 0.01, "l2": 0.02}),
}

SGD = bp.SGD
OPTIMISERS: dict[str, Any] = {
    "sgd": SGD(0.3),
    "momentum": SGD(0.1, 0.9),
    "nesterov": SGD(0.1, 0.9, nesterov=True),
    "adagrad": bp.Adagrad(0.1),
    "rmsprop": bp.RMSprop(0.01),
    "adam": bp.Adam(0.02),
    "adamw": bp.AdamW(0.02, decay=0.1),
    "sgd decay": SGD(0.3, decay=0.05),
    "momentum decay clip": SGD(0.1, 0.9, decay=0.05, clip=0.01),
    "nesterov clip_norm": SGD(0.1, 0.8, nesterov=True, clip_norm=0.1),
    "adam decay": bp.Adam(0.02, decay=0.05),
    "adam clip": bp.Adam(0.02, clip=0.01),
    "adamw clip_norm": bp.AdamW(0.02, decay=0.1, clip_norm=0.05),
    "rmsprop decay clip_norm": bp.RMSprop(0.01, decay=0.1, clip_norm=0.1),
    "adagrad clip": bp.Adagrad(0.1, clip=0.02),
    "momentum cosine": SGD(Cosine(0.2), 0.9),
    "adam warm-up": bp.Adam(WarmUp(Exponential(0.02), steps=4)),
}


@cache
def run_of(kind: str, optimiser: str, dtype: str) -> bp.Run:
    """A short run; batches of 5 of 24 rows, so that the last one of an epoch has 4."""
    told = KINDS[kind]
    options = {"batch": 5, "epochs": 2, "executor": "reference", "dtype": dtype}
    options |= told.options | {"optimizer": OPTIMISERS[optimiser]}
    (X, y), test = (_rows(told.targets, count, seed) for count, seed in ((24, 1), (6, 2)))
    task = "multilabel" if told.targets == "labels" else None
    return bp.train(told.net(), (X, y), test=test, task=task, **options)


def _rows(targets: str, count: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(count) % 3)
    X = rng.standard_normal((count, 3)) + np.eye(3)[y]
    if targets == "words":
        return rng.integers(0, 4, (count, 3)).astype(float), y
    made = {
        "classes": y,
        "yes or no": (y == 1).astype(int),
        "labels": np.stack([y == 0, X[:, 0] > 0, X[:, 1] > X[:, 2]], axis=1).astype(int),
        "amounts": np.stack([X @ [1.0, -2.0, 0.5], X[:, 0] * X[:, 1]], axis=1) * 40 + 300,
        "amount": X @ [1.0, -2.0, 0.5],
        "counts": rng.poisson(np.exp(0.3 * X[:, 0] + 0.5)).astype(float) + 0.5,
    }
    return X, made[targets]


# ---- the questions


def questions(run: bp.Run) -> Iterator[tuple[str, Callable[[], Answer]]]:
    """Every question, by name."""
    visit = run.at(min(4, run.steps))
    graph = visit.graph
    weights = list(graph.inputs_of_kind("parameter"))
    first, last = (_entry(visit, name) for name in (weights[0], weights[-1]))
    deltas = [d for d in run.record.network.deltas.values() if d in graph.named]

    for target in dict.fromkeys([*(_entry(visit, w) for w in weights)]):
        yield f"why {target}", lambda t=target: visit.why(t)
        yield f"paths {target}", lambda t=target: visit.paths(t)
    yield "paths example", lambda: visit.paths(first, 3, 0)
    for name, node in graph.named.items():
        if isinstance(node.type, ArrayType):
            target = _entry(visit, name)
            yield f"value {target}", lambda t=target: visit.value(t)
    for name in deltas:
        target = _entry(visit, name)
        yield f"delta {target}", lambda t=target: visit.delta(t)
    for by in ("example", "class", "step", "epoch", "row"):
        yield f"blame {by} {first}", lambda by=by: run.blame(first, by)
    yield f"blame example {last}", lambda: run.blame(last)
    yield "blame stretch", lambda: run.blame(last, "step", start=2, stop=run.steps)
    yield "influence row", lambda: run.influence(int(visit.rows[0]))
    yield "influence held out", lambda: run.influence("test/3")
    yield "self_influence", run.self_influence
    yield "flow", lambda: run.flow(visit.step)
    activation = next((n for n in ("a1", "z1") if n in graph.named), "z1")
    for target in (first, last, "lr", _entry(visit, activation), _entry(visit, "x")):
        yield f"whatif {target}", lambda t=target: visit.whatif(t, 0.25 if t[0] != "x" else 1.0)
    yield "whatif input", lambda: run.whatif(2, {"1": 2.0})
    yield "whatif input at", lambda: run.whatif(2, {"1": 2.0}, visit.step)
    yield "worked", visit.worked
    yield "worked example", lambda: visit.worked(0)


def _entry(visit: Any, name: str) -> str:
    """One entry of a value: the last but one along each axis, so that it is not always the first."""
    shape = np.shape(visit[name])
    entry = [max(0, n - 2) for n in shape]
    return f"{name}[{','.join(map(str, entry))}]" if entry else name


def asked(run: bp.Run, *, all_values: bool = True) -> tuple[dict[str, str], list[str]]:
    """Ask everything, or one value of the program in four: what was refused, and why, and what is wrong."""
    refused: dict[str, str] = {}
    wrong: list[str] = []
    for place, (name, question) in enumerate(questions(run)):
        if name.startswith("value") and place % 4 and not all_values:
            continue
        try:
            wrong += [f"{name}: {fault}" for fault in faults(question())]
        except UsageError as error:
            refused[name] = str(error)
        except Exception as error:  # the matrix shows all that is wrong, not the first
            at = traceback.extract_tb(error.__traceback__)[-1]
            wrong.append(f"{name}: {type(error).__name__}: {error} ({at.filename}:{at.lineno})")
    return refused, wrong


def faults(answer: Answer) -> list[str]:
    """What is wrong with an answer: a check that does not hold, or a form that it cannot take."""
    found = [f"{c.name} {c.value:.3g} > {c.bound:.3g}" for c in answer.checks if not c.holds]
    data = json.loads(json.dumps(clean(answer.to_dict()), allow_nan=False))
    if data["question"] != answer.question or data["balanced"] != answer.balanced:
        found.append("its JSON says something else")
    for form in ("text", "markdown", "latex", "html"):
        words = getattr(answer, form)()
        for odd in ("nan", "None", "array(", "<backpass", "object at 0x"):
            if odd in words:
                at = words.index(odd)
                found.append(f"{form} has {odd!r}: {words[max(0, at - 60) : at + 30]!r}")
        if not answer.claim or not words.strip():
            found.append(f"{form} says nothing")
    return found
