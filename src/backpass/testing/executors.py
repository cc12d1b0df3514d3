"""An executor against the reference, and the printed program, executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backpass.errors import RuleError
from backpass.exec.base import Array, Executor
from backpass.exec.reference import Reference
from backpass.ir import Graph
from backpass.ir.text import Style, ascii_name


def run_text(graph: Graph, feeds: Mapping[str, Array], style: Style = "python") -> dict[str, Array]:
    """Execute the printed program and give its outputs."""
    spell = ascii_name if style == "ascii" else str
    space: dict[str, Any] = {spell(name): feeds[name] for name in graph.inputs}
    with np.errstate(all="ignore"):
        exec(graph.text(style), space)
    return {name: np.asarray(space[spell(name)]) for name in graph.outputs}


def same_bits(a: Mapping[str, Array], b: Mapping[str, Array]) -> str | None:
    """The first name under which two results differ in type or in any bit (all NaN are one), or None."""
    for name in a:
        x, y = a[name], b.get(name)
        if y is None or x.dtype != y.dtype or x.shape != y.shape:
            return name
        floating = x.dtype.kind == "f"
        equal = np.array_equal(x, y, equal_nan=floating)
        if not equal or (floating and not np.array_equal(np.signbit(x[x == 0]), np.signbit(y[y == 0]))):
            return name
    return None if len(a) == len(b) else next(name for name in b if name not in a)


def check_executor(
    executor: Executor, graph: Graph, feeds: Mapping[str, Array], rtol: float | None = None
) -> float:
    """Compare an executor with the reference, and with itself.

    Parameters
    ----------
    executor : Executor
    graph : Graph
    feeds : mapping of str to array
    rtol : float, optional
        The largest difference that passes, relative to the largest entry of the same output. 1e-5 for f32
        and 1e-12 for f64 if not given; integers and booleans must be equal.

    Returns
    -------
    float
        The largest relative difference.

    Raises
    ------
    RuleError
        An output differs in name, type or value; a second call gives other bits; or a feed was written to.
    """
    frozen = {name: np.array(feeds[name]) for name in graph.inputs}
    for array in frozen.values():
        array.flags.writeable = False
    function = executor.compile(graph)
    wanted = Reference().compile(graph)(frozen)
    got = {name: np.array(value) for name, value in function(frozen).items()}  # buffers may be used again
    if list(got) != list(wanted):
        raise RuleError(f"{executor.name}: the outputs are {', '.join(got)}, not {', '.join(wanted)}")
    worst = 0.0
    for name, value in got.items():
        w = wanted[name]
        if value.dtype != w.dtype or value.shape != w.shape:
            raise RuleError(f"{executor.name}: {name} is {value.dtype}{value.shape}, not {w.dtype}{w.shape}")
        allowed = {"f4": 1e-5, "f8": 1e-12}.get(w.dtype.str[1:], 0.0) if rtol is None else rtol
        error = difference(value, w)
        worst = max(worst, error)
        if not error <= allowed:
            raise RuleError(f"{executor.name}: {name} differs from the reference by {error:.1e}, relative")
    if (changed := same_bits(got, function(frozen))) is not None:
        raise RuleError(f"{executor.name}: a second call with the same feeds gives another {changed}")
    return worst


def difference(a: Array, b: Array) -> float:
    """The largest difference over the largest finite entry; infinite where other entries are not finite."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    finite = np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True) or not np.isfinite(x[finite]).all():
        return np.inf
    if not finite.any() or np.array_equal(x[finite], y[finite]):
        return 0.0
    largest = max(float(np.abs(y[finite]).max()), float(np.finfo(np.float64).tiny))
    return float(np.abs(x[finite] - y[finite]).max()) / largest
