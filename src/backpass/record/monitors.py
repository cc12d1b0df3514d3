"""Layer monitors: the sizes of gradients, updates, deltas and activations, and how many units are idle.

They are programs of their own, built from that of a step and run by the reference executor beside the run, at
few steps: the kernel that trains has no output more for them.

=================  =========================================================================================
``norm dW1``       √Σ² of a parameter's gradient
``norm ΔW1``       √Σ² of its update, W1_new − W1
``norm W1``        √Σ² of the parameter before the step
``ratio W1``       norm ΔW1 / norm W1
``norm δ1``        √Σ² of the adjoint of a pre-activation, over the batch and all units
``variance δ1``    the variance of its entries [1]_
``mean a1``        the mean of an activation over the batch and all units
``deviation a1``   its standard deviation [1]_
``dead a1``        the part of the units whose slope f′(z) is 0 in every row: no gradient passes [2]_
``saturated a1``   the part of all entries whose slope is below 1/128 of its largest for \\|z\\| ≤ 1 [1]_
=================  =========================================================================================

Everything is summed in float64. The slope comes from the op's own rule for adjoints, so that it is known for
any activation, a user's own too; for a ReLU, "saturated" is the part of zeros. What a network has not got, it
has no monitor of.

References
----------
.. [1] Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS
   2010: means and standard deviations of activations, variances of back-propagated gradients, saturation.
.. [2] Lu, Shin, Su & Karniadakis, Dying ReLU and initialization, Commun. Comput. Phys. 28 (2020).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

import backpass.ops.functions as F
from backpass.exec.base import Array
from backpass.exec.reference import ReferenceFunction
from backpass.exec.threads import blas_threads
from backpass.ir import ArrayType, Elementwise, Graph, Node, Op
from backpass.ir.node import inputs_of
from backpass.ops import Identity, constant, data
from backpass.passes import work

#: An entry is saturated below this part of the largest slope near 0: tanh at |z| > 3.1, sigmoid at |z| > 6.2.
_SATURATED = 1 / 128
#: What a look takes in NumPy: operations and bytes a second, and seconds a node.
_FLOPS, _MOVED, _NODE = 20e9, 5e9, 10e-6
#: Looks take at most this part of a run, or so many seconds of a short one; and there are at most so many.
_SHARE, _SECONDS, _MOST = 0.01, 0.02, 200


class Monitors:
    """What was seen at the steps that were looked at.

    Attributes
    ----------
    names : tuple of str
        What was looked at: ``"norm dW1"``, ``"dead a1"``; see the table at the head of this file.
    steps : ndarray of int64, shape (looks,)
        Which steps, counted from 1.
    values : dict of str to ndarray of float64, shape (looks,)
        By name. NaN and infinity are as they were.

    Examples
    --------
    >>> seen = Monitors()
    >>> seen.add(1, {"norm dW1": 0.5, "dead a1": 0.0})
    >>> seen.add(10, {"norm dW1": 0.25, "dead a1": 0.125})
    >>> seen.steps.tolist(), seen.values["norm dW1"].tolist(), seen.of("dead")["a1"].tolist()
    ([1, 10], [0.5, 0.25], [0.0, 0.125])
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._steps: list[int] = []
        self._rows: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def last(self) -> int:
        """The last step that was looked at; 0 if none was."""
        return self._steps[-1] if self._steps else 0

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add what was seen at a step, later than those before and of the same names."""
        self.names = self.names or tuple(values)
        self._rows.append(tuple(float(values[name]) for name in self.names))
        self._steps.append(int(step))

    def until(self, step: int) -> Monitors:
        """The looks at the steps up to this one."""
        found, count = Monitors(), bisect.bisect_right(self._steps, step)
        found.names, found._steps, found._rows = self.names, self._steps[:count], self._rows[:count]
        return found

    @property
    def steps(self) -> NDArray[np.int64]:
        return np.array(self._steps, np.int64)

    @property
    def values(self) -> dict[str, NDArray[np.float64]]:
        table = np.array(self._rows, np.float64).reshape(len(self._rows), len(self.names))
        return {name: table[:, i].copy() for i, name in enumerate(self.names)}

    def of(self, measure: str) -> dict[str, NDArray[np.float64]]:
        """One measure ("norm", "ratio", "dead", ...) by the name of the value."""
        split = {name: name.split(" ", 1) for name in self.names}
        return {split[name][1]: v for name, v in self.values.items() if split[name][0] == measure}


@dataclass(frozen=True, eq=False)
class Inspection:
    """The program that looks at a step, and how often it is worth while.

    Parameters
    ----------
    step : Graph
    """

    step: Graph

    @cached_property
    def _program(self) -> tuple[tuple[str, ...], Graph]:
        """What is looked at, and a Graph with one number for each, in order."""
        found: dict[str, Node] = {}
        for name in self.step.inputs_of_kind("parameter"):
            found |= _of_parameter(self.step, name)
        for name in self.step.outputs:
            if name.startswith("δ"):
                found |= _of_delta(name, self.step[name])
        for name, node in _activations(self.step).items():
            found |= _of_activation(name, node)
        return tuple(found), Graph({f"v{i}": node for i, node in enumerate(found.values())})

    @property
    def names(self) -> tuple[str, ...]:
        return self._program[0]

    @property
    def graph(self) -> Graph:
        return self._program[1]

    @cached_property
    def _function(self) -> ReferenceFunction:
        return ReferenceFunction(self.graph)

    def look(self, feeds: Mapping[str, Array]) -> dict[str, float]:
        """What is to be seen at a step, from the inputs of that step."""
        needed = {name: feeds[name] for name in self.graph.inputs}
        with blas_threads(1):  # more would wait for each other longer than such a product takes
            seen = self._function(needed)
        return {name: float(seen[f"v{i}"]) for i, name in enumerate(self.names)}

    def seconds(self, batch: int) -> float:
        """What a look takes, about, by counted work."""
        counted = work(self.graph, {"B": batch})
        return counted.flops / _FLOPS + counted.traffic / _MOVED + _NODE * len(counted.by_node)


@dataclass(frozen=True)
class Cadence:
    """Which steps are looked at: 1, 2, 4, 8, ... up to `every`, then each of its multiples, and the last.

    Attributes
    ----------
    every : int
        0 for no looks.
    steps : int
        Planned; the last one is looked at.
    early : bool
        Whether those at the powers of two are affordable.

    Examples
    --------
    >>> cadence, step, seen = Cadence(every=10, steps=35), 0, []
    >>> while (step := cadence.after(step)) is not None:
    ...     seen.append(step)
    >>> seen
    [1, 2, 4, 8, 10, 20, 30, 35]
    """

    every: int
    steps: int
    early: bool = True

    @classmethod
    def of(cls, run_seconds: float, look_seconds: float, steps: int) -> Cadence:
        """The densest that is affordable; two looks, at the start and at the end, may cost 2 %."""
        looks = min(_MOST, int(max(_SHARE * run_seconds, _SECONDS) / look_seconds))
        if looks < 2 and 2 * look_seconds > 2 * _SHARE * run_seconds:
            return cls(0, steps)
        every = -(-steps // max(1, looks - 1))
        early = every.bit_length()
        if looks < 3 * early:
            return cls(every, steps, early=False)
        return cls(-(-steps // (looks - 1 - early)), steps)

    def after(self, step: int) -> int | None:
        """The first step that is looked at after `step`, both counted from 1; None where there is none."""
        if not self.every or step >= self.steps:
            return None
        if step < 1:
            return 1
        regular = (step // self.every + 1) * self.every
        if self.early and step < self.every:
            regular = min(regular, 1 << step.bit_length())
        return min(regular, self.steps)


# ---- the programs


def _norm(x: Node) -> Node:
    wide = F.cast(x, "f64")  # the square of a vanishing gradient is no f32
    return F.sqrt(F.sum(wide * wide))


def _of_parameter(step: Graph, name: str) -> dict[str, Node]:
    new = next((new for new, old in step.carry.items() if old == name), None)
    if new is None or f"d{name}" not in step.named:
        return {}
    old = step.inputs[name]
    moved = _norm(F.cast(step.outputs[new], "f64") - F.cast(old, "f64"))
    size = _norm(old)
    return {
        f"norm d{name}": _norm(step[f"d{name}"]),
        f"norm Δ{name}": moved,
        f"norm {name}": size,
        f"ratio {name}": moved / size,
    }


def _spread(x: Node) -> tuple[Node, Node]:
    """Mean and variance of all entries."""
    wide = F.cast(x, "f64")
    mean = F.mean(wide)
    off = wide - mean
    return mean, F.mean(off * off)


def _of_delta(name: str, node: Node) -> dict[str, Node]:
    return {f"norm {name}": _norm(node), f"variance {name}": _spread(node)[1]}


def _activations(step: Graph) -> dict[str, Node]:
    """The values that are a function of one value, entry by entry, on the way to the cost."""
    return {
        str(node.name): node
        for node in inputs_of([step["C"]])
        if node.name is not None
        and isinstance(node.op, Elementwise)
        and not isinstance(node.op, Identity)
        and len(node.inputs) == 1
        and node.type == node.inputs[0].type
        and node.dtype in ("f32", "f64")
        and any(isinstance(dim, str) for dim in node.shape)
    }


def _of_activation(name: str, node: Node) -> dict[str, Node]:
    mean, variance = _spread(node)
    found = {f"mean {name}": mean, f"deviation {name}": F.sqrt(variance)}
    slope = _slope(node.op, node, node.inputs[0])
    if slope is None:
        return found
    size = F.abs(slope)
    rows = tuple(i for i, dim in enumerate(node.shape) if isinstance(dim, str))
    shut = F.cast(size <= 0, "f64")
    found[f"dead {name}"] = F.mean(F.min(shut, axis=rows))
    largest = _largest_slope(node.op, node.dtype)
    if largest is not None:
        found[f"saturated {name}"] = F.mean(F.cast(size < _SATURATED * largest, "f64"))
    return found


def _slope(op: Op, y: Node, x: Node) -> Node | None:
    """f′(x), entry by entry: the adjoint of x where that of y is 1."""
    one = F.broadcast_to(constant(1.0, y.dtype), y.shape)
    (found,) = op.vjp(one, y, x)
    return found if isinstance(found, Node) else None


def _largest_slope(op: Op, dtype: str) -> float | None:
    """The largest \\|f′(z)\\| for \\|z\\| ≤ 1, where pre-activations start; None where there is none."""
    x = data("z", ArrayType(("B",), dtype))
    y = op(x)
    slope = _slope(op, y, x)
    if slope is None:
        return None
    grid = np.linspace(-1.0, 1.0, 201).astype(ArrayType((), dtype).numpy_dtype)
    found = ReferenceFunction(Graph({"slope": slope + 0 * x}))({"z": grid})["slope"]
    largest = float(np.max(np.abs(found)))
    return largest if 0 < largest < math.inf else None
