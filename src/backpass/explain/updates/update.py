"""One step, taken again by the run's own kernel, and the update of one weight in it taken apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError, nearest
from backpass.explain.updates.shares import by_example, gradient_terms, kept_values, penalty_of
from backpass.explain.updates.terms import Term, Values, actual_values
from backpass.ir import Graph
from backpass.record.replay import Moment

_TARGET = re.compile(r"\s*(\w+)\s*\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]\s*")


class UpdateOf:
    """The update of one weight in one step.

    Attributes
    ----------
    after : dict of str to array
        The carried values after the step.
    values : callable
        The value of a node of the update, as the kernel had it.
    """

    def __init__(self, moment: Moment, name: str, entry: tuple[int, ...], used: set[str]) -> None:
        self.moment, self.name, self.entry = moment, name, entry
        self.gradient = moment.graph[f"d{name}"]
        self.after = moment.replay.run_step(moment.step - 1)
        self.values: Values = actual_values(
            moment.graph, moment.feeds, self.after, lambda n: np.asarray(moment.values[n])
        )
        kept = kept_values(moment.replay.loop.peek, lambda n: moment.values[n], used)
        self.per_gradient = by_example(self.gradient, entry, kept, self.values)
        if not len(self.per_gradient):
            self.per_gradient = np.zeros(
                len(moment.replay.record.batches.span(moment.step - 1, moment.step)[0])
            )

    def taken_apart(
        self, terms: Sequence[Term]
    ) -> tuple[dict[str, float], NDArray[np.float64], list[tuple[float, Term]]]:
        """The parts by kind, the examples' shares in the fresh gradient, and the terms that were carried."""
        parts: dict[str, float] = {"fresh gradient": 0.0}
        shares = np.zeros(len(self.per_gradient))
        carried: list[tuple[float, Term]] = []

        def add(kind: str, value: float) -> None:
            parts[kind] = parts.get(kind, 0.0) + value

        for term in terms:
            factor = term.factor(self.values, self.entry)
            if term.clipped is not None:
                clipped, whole = (float(self.values(n)[self.entry]) for n in (term.clipped, term.value))
                add("clipping", factor * (clipped - whole))
            elif term.value is self.gradient:
                shares = shares + factor * self.per_gradient
                add("fresh gradient", float(np.sum(factor * self.per_gradient)))
                if gradient_terms(self.gradient)[1]:
                    add("penalty", factor * penalty_of(self.gradient, self.entry, self.values))
            elif term.value.op.feeds:
                kind = "carried momentum" if term.value.name != self.name else "decay"
                add(kind, factor * float(self.moment.before[str(term.value.name)][self.entry]))
                if kind == "carried momentum":
                    carried.append((factor, term))
            else:
                raise UsageError(
                    f"the update of {self.name} has a part that cannot be taken apart: {term.value.op.name}"
                )
        return parts, shares, carried


def parse_target(graph: Graph, target: str) -> tuple[str, tuple[int, ...]]:
    """A parameter and the place of one of its entries, from ``W2[3,1]``."""
    parameters = graph.inputs_of_kind("parameter")
    match = _TARGET.fullmatch(target)
    if not match:
        shown = next(iter(parameters), "W1")
        raise UsageError(f"a weight is written like {shown}[0,1], got {target!r}")
    name, entry = match[1], tuple(int(i) for i in match[2].split(","))
    if name in graph.inputs_of_kind("fixed"):
        raise UsageError(f"{name} is not trained (trainable=False): it stays as it started")
    if name not in parameters:
        raise UsageError(f"there is no parameter {name!r}. {nearest(name, parameters)}")
    shape = parameters[name].shape
    inside = len(entry) == len(shape) and all(i < int(n) for i, n in zip(entry, shape, strict=True))
    if not inside:
        last = ",".join(str(int(n) - 1) for n in shape)
        first = ",".join("0" for _ in shape)
        raise UsageError(f"{target} does not exist: the entries of {name} go from [{first}] to [{last}]")
    return name, entry
