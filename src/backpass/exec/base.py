"""What every executor offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from backpass.ir import Graph, Node

Array = NDArray[Any]


class Function(Protocol):
    """A compiled Graph: feeds in, named outputs out."""

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]: ...


@dataclass(frozen=True)
class Chunk:
    """What a stretch of steps left behind.

    Attributes
    ----------
    done : int
        Steps that were completed; fewer than asked for where the watched output was not finite.
    watched : ndarray of float64, shape (done + stopped,)
        The watched output (the cost) of each step, the one that stopped included.
    """

    done: int
    watched: Array


def held_inputs(step: Graph) -> dict[str, Node]:
    """The inputs whose values a loop holds from step to step: parameters, states, and what is fixed."""
    kinds = ("parameter", "state", "fixed")
    return {name: n for kind in kinds for name, n in step.inputs_of_kind(kind).items()}


def carried_inputs(step: Graph) -> dict[str, Node]:
    """Those of them that a step replaces, in the same order."""
    replaced = set(step.carry.values())
    return {name: n for name, n in held_inputs(step).items() if name in replaced}


class Loop(Protocol):
    """A step Graph that is run many times over rows of a data set, its carry replaced at each step.

    The arrays that a loop holds belong to it: `load` copies into them, `state` copies out. The rows of the
    data do not: they are read where they lie (also in a memory-mapped file) and never written to.
    """

    name: str  #: of the executor
    threads: int  #: fixed by the sizes, since it can decide the last bit

    def blas_name(self) -> str:
        """What calculates its matrix products."""

    def load(self, carry: Mapping[str, Array]) -> None:
        """Set the values that the loop holds (weights, velocities, fixed values), by name.

        The first time, there must be one for each (UsageError); after that, one that is not given stays,
        so that what `state` gave can be loaded again. Names that the step does not have are left alone.
        """

    def state(self) -> dict[str, Array]:
        """A copy of the values that a step replaces: the inputs that ``step.carry`` names.

        Fixed inputs, and others that no output replaces, are not among them: they are what `load` was given.
        """

    def run(self, order: Array, starts: Array, numbers: Array) -> Chunk:
        """Run ``len(starts) - 1`` steps.

        Parameters
        ----------
        order : ndarray of int64
            Row numbers of the data.
        starts : ndarray of int64
            Step s uses the rows ``order[starts[s]:starts[s + 1]]``.
        numbers : ndarray, shape (steps, numbers)
            The value of each number input at each step, in the order of the Graph's inputs.
        """

    def peek(self, node: Node) -> Array | None:
        """The value that a node had in the last step, as this loop calculated it.

        None where the loop keeps no such value (a kernel fuses it away). What the update read, the loop
        keeps, so that a gradient can be taken apart after the fact.
        """


class Executor(Protocol):
    """Compiles Graphs."""

    name: str

    def compile(self, graph: Graph) -> Function:
        """A function of the Graph's inputs."""

    def compile_loop(self, step: Graph, data: Mapping[str, Array], batch: int, watch: str = "C") -> Loop:
        """A loop of `step` over the rows of `data`; `batch` is the largest batch that will come."""
