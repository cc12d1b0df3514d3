"""The gradients of a program against finite differences of its cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.errors import GraphError
from backpass.exec.base import Array
from backpass.exec.reference import Reference
from backpass.ir import Graph
from backpass.passes import backward, retyped

Floats: TypeAlias = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
STEP = 2.0**-8
#: Where the rounding of a cost is measured, and along how many entries at most.
_NOISE_STEP, _NOISE_ENTRIES = 2.0**-26, 64
#: Central difference of order 8: weights of f(+kh) - f(-kh).
STENCIL = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}


@dataclass(frozen=True)
class Worst:
    """The comparison that came out worst.

    Attributes
    ----------
    name : str
        What was compared: ``W2[3,1]``.
    analytic, numeric : float
        What the backward pass, and what finite differences say.
    error : float
        ``|a - n| / max(|a|, |n|, floor)``; see `backpass.testing`.
    """

    name: str
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradients` found.

    Attributes
    ----------
    worst : Worst
    checked, of : int
        Entries that were compared, and entries that there are.
    tolerance : float
        The largest relative error that passes.
    floor : float
        Entries smaller than this are compared with the rounding of the cost, not with themselves.
    """

    worst: Worst
    checked: int
    of: int
    tolerance: float
    floor: float

    @property
    def passed(self) -> bool:
        return self.worst.error <= self.tolerance

    def __str__(self) -> str:
        w = self.worst
        return (
            f"{self.checked} of {self.of} gradients {'agree' if self.passed else 'DO NOT agree'} with finite "
            f"differences; the worst is {w.name}: {w.analytic:.10g} against {w.numeric:.10g}, "
            f"relative error {w.error:.1e}"
        )


NOTHING = Worst("nothing", 0.0, 0.0, 0.0)


def check_gradients(
    graph: Graph,
    cost: str,
    wrt: Sequence[str] | None,
    feeds: Mapping[str, Array],
    limit: int | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> GradientCheck:
    """Compare the gradients of a program with finite differences of its cost, in f64.

    Parameters
    ----------
    graph : Graph
        A training step with outputs ``d<name>``, whose gradients are then the ones checked, or a forward
        program, which is differentiated first.
    cost : str
    wrt : sequence of str or None
        Names of inputs; None means all parameters.
    feeds : mapping of str to array
        A value for each input; floating-point values are converted to f64.
    limit : int, optional
        Compare a sample of about so many entries, equally many of each input; by default, all of them.
    seed : int
        Of the sample.
    tolerance : float
        The largest relative error that passes.

    Notes
    -----
    Where a step crosses a kink (ReLU), the difference quotient is no derivative. An entry that does not
    agree is therefore tried again with smaller steps for as long as that changes the quotient by more than
    its rounding. Exactly at a kink no step helps, and the entry is reported.

    Rounding is taken as the larger of 8 eps |C| and three times the median over some entries of the noise
    that the eighth difference of the cost shows, at a step so small that a kink in its reach is rare:
    at the step of the derivatives, most entries of a wide ReLU layer cross one, and what they leave in the
    eighth difference is not rounding.
    """
    names = list(graph.inputs_of_kind("parameter")) if wrt is None else list(wrt)
    gradients = {name: f"d{name}" for name in names}
    if not names:
        raise GraphError("there are no parameters to differentiate with respect to")
    forward = retyped(graph.part([cost]), "f64")
    if all(d in graph.named for d in gradients.values()):
        program = retyped(graph.part([cost, *gradients.values()]), "f64")
    else:
        program = backward(forward, cost, [name for name in names if name in forward.inputs])
    values = {name: _in_f64(feeds[name]) for name in {**program.inputs, **dict.fromkeys(names)}}
    analytic = Reference().compile(program)(values)
    for name, d in gradients.items():  # what the cost does not read
        analytic.setdefault(d, np.zeros(values[name].shape))
    function = Reference().compile(forward)

    def along(name: str, entry: int) -> Callable[[float], Floats]:
        def at(step: float) -> Floats:
            moved = values[name].astype(np.float64)
            moved.flat[entry] += step
            return np.asarray(function({**values, name: moved})[cost], float)

        return at

    entries = _sampled({name: values[name].size for name in names}, limit, seed)
    center = float(function(values)[cost])
    some = entries[:: max(1, len(entries) // _NOISE_ENTRIES)]
    rounding = [central_slope(along(*entry), _NOISE_STEP, center)[1] for entry in some]
    noise = max(8 * EPS * abs(center), 3 * float(np.median(rounding))) if rounding else 0.0
    worst = NOTHING
    for name, entry in entries:
        slope, _ = central_slope(along(name, entry), STEP, center)
        a = float(analytic[gradients[name]].flat[entry])
        best = compare(entry_name(name, values[name].shape, entry), a, float(slope), noise / STEP, tolerance)
        step = STEP
        while best.error > tolerance and step > 2.0**-22:
            step /= 16
            slope, _ = central_slope(along(name, entry), step, center)
            change = compare(best.name, best.numeric, float(slope), noise / step, tolerance)
            if change.error <= tolerance:  # the step is not to blame
                break
            best = compare(best.name, a, float(slope), noise / step, tolerance)
        if not best.error <= worst.error:
            worst = best
    total = sum(values[name].size for name in names)
    return GradientCheck(worst, len(entries), total, tolerance, noise / STEP / tolerance)


def _in_f64(value: Any) -> Array:
    array: Array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _sampled(sizes: Mapping[str, int], limit: int | None, seed: int) -> list[tuple[str, int]]:
    if limit is None or limit >= sum(sizes.values()):
        return [(name, i) for name, size in sizes.items() for i in range(size)]
    rng = np.random.default_rng(seed)
    orders = [[(name, int(i)) for i in rng.permutation(size)] for name, size in sizes.items()]
    dealt = [e for turn in itertools.zip_longest(*orders) for e in turn if e is not None]
    return sorted(dealt[:limit], key=lambda e: (list(sizes).index(e[0]), e[1]))


def central_slope(f: Callable[[float], Floats], h: float, center: float = 0.0) -> tuple[Floats, float]:
    """The derivative at 0, and how noisy the values are, from their eighth difference."""
    up, down = ([f(sign * k * h) for k in STENCIL] for sign in (1, -1))
    slope = sum(w * (a - b) for w, a, b in zip(STENCIL.values(), up, down, strict=True)) / h
    eighth = sum(c * (a + b) for c, a, b in zip((-56, 28, -8, 1), up, down, strict=True)) + 70 * center
    return np.asarray(slope), float(np.max(np.abs(eighth), initial=0.0)) / 113.4  # sqrt of binomial(16, 8)


def compare(name: str, analytic: float, numeric: float, noise: float, tolerance: float) -> Worst:
    scale = max(abs(analytic), abs(numeric), noise / tolerance)
    error = abs(analytic - numeric) / scale if scale > 0 else 0.0
    finite = np.isfinite(analytic) and np.isfinite(numeric)
    return Worst(name, analytic, numeric, error if finite else np.inf)


def entry_name(name: str, shape: tuple[int, ...], flat: int) -> str:
    where = ",".join(str(int(i)) for i in np.unravel_index(flat, shape))
    return f"{name}[{where}]" if where else name
