"""Which executor runs a training: a pure function of the program, its sizes and the planned steps.

Never of time or of a warm cache, so that the same call gives the same bits tomorrow. The choice is recorded,
and replay forces it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from backpass.errors import NotLowered, UsageError, nearest
from backpass.exec.base import Array, Executor, Loop
from backpass.exec.reference import Reference
from backpass.ir import Graph
from backpass.passes import work

#: Seconds that compiling a new kernel takes, about; what a node costs in NumPy beyond its work.
_COMPILE_SECONDS, _NODE_SECONDS = 1.0, 7e-6
_FLOPS_PER_SECOND = 10e9

EXECUTORS = ("auto", "reference", "compiled")


def executor_named(name: str) -> Executor:
    """The executor of that name."""
    if name == "reference":
        return Reference()
    if name == "compiled":
        from backpass.exec.compiled import Compiled

        return Compiled()
    raise UsageError(f"there is no executor {name!r}. {nearest(str(name), EXECUTORS)}")


def obstacle_to_compiling() -> str | None:
    """Why no program can be compiled here; None where it can."""
    return "llvmlite is not installed" if importlib.util.find_spec("llvmlite") is None else None


def seconds_by_reference(step: Graph, batch: int) -> float:
    """What a step takes in NumPy, estimated from counted work."""
    return work(step, {"B": batch}).flops / _FLOPS_PER_SECOND + _NODE_SECONDS * len(step.nodes)


def compile_loop(
    step: Graph, data: Mapping[str, Array], batch: int, steps: int, wanted: str = "auto"
) -> tuple[Loop, str]:
    """Make the loop for a training, and say why it is this one.

    Parameters
    ----------
    step : Graph
    data : mapping of str to array
    batch, steps : int
        Rows of the largest batch, and how many steps are planned.
    wanted : {"auto", "reference", "compiled"}
        "compiled" falls back to "reference" where the program has no lowering, and says so.

    Returns
    -------
    loop : Loop
    why : str
        A sentence for the record and for people.
    """
    if wanted not in EXECUTORS:
        raise UsageError(f"there is no executor {wanted!r}. {nearest(str(wanted), EXECUTORS)}")
    why = "as asked"
    if wanted == "auto":
        seconds = steps * seconds_by_reference(step, batch)
        if seconds < _COMPILE_SECONDS:
            wanted, why = (
                "reference",
                f"{steps:,} steps, about {seconds:.2g} s of work: too few to compile for",
            )
        else:
            wanted, why = (
                "compiled",
                f"{steps:,} steps, about {seconds:.2g} s of work in NumPy: worth compiling",
            )
    if wanted == "compiled":
        missing = obstacle_to_compiling()
        if missing is not None:
            return Reference().compile_loop(step, data, batch), missing
        try:
            return executor_named("compiled").compile_loop(step, data, batch), why
        except NotLowered as obstacle:
            why = f"not compiled: {obstacle}"
    return Reference().compile_loop(step, data, batch), why
