"""What every executor offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from backpass.errors import UsageError
from backpass.ir import Graph, Node
from backpass.ir.types import ArrayType

Array = NDArray[Any]


class Function(Protocol):
    """A compiled Graph: feeds in, named outputs out."""

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]: ...


@dataclass(frozen=True)
class Tap:
    """A few numbers that are to be kept of each step of a stretch.

    Attributes
    ----------
    node : Node
        An input that is held from step to step (a weight, a slot): its value *after* the step. Any other
        value: as it was in the step.
    index : tuple of int
        Which entry: a number for each axis but that of the rows of a batch, of which all are kept.

    Examples
    --------
    ``Tap(δ2, (4,))`` of δ2: f32[B,10] is ``δ2[:, 4]`` of each step, ``Tap(W2, (3, 4))`` is ``W2[3, 4]`` after
    each step, ``Tap(norm, ())`` a single number.
    """

    node: Node
    index: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """What a stretch of steps left behind.

    Attributes
    ----------
    done : int
        Steps that were completed; fewer than asked for where the watched output was not finite.
    watched : ndarray of float64, shape (done + stopped,)
        The watched output (the cost) of each step, the one that stopped included.
    tapped : tuple of ndarray of float64
        For each tap that was asked for: an entry for each row of the steps that were completed, one step
        after another, where the value has a row for each example; else an entry for each step.
    """

    done: int
    watched: Array
    tapped: tuple[Array, ...] = ()


def held_inputs(step: Graph) -> dict[str, Node]:
    """The inputs whose values a loop holds from step to step: parameters, states, and what is fixed."""
    kinds = ("parameter", "state", "fixed")
    return {name: n for kind in kinds for name, n in step.inputs_of_kind(kind).items()}


def carried_inputs(step: Graph) -> dict[str, Node]:
    """Those of them that a step replaces, in the same order."""
    replaced = set(step.carry.values())
    return {name: n for name, n in held_inputs(step).items() if name in replaced}


def has_regular_size(node: Node) -> bool:
    """Whether a value has a fixed size, or one of its axes is the rows of a batch and the rest is fixed."""
    if not isinstance(node.type, ArrayType):
        return False
    named = [size for size in node.shape if isinstance(size, str)]
    return len(named) <= 1 and all(size.isidentifier() for size in named)


def rows_axis(node: Node) -> int | None:
    """Which axis of a value of regular size is the rows of a batch; None where it has none."""
    return next((axis for axis, size in enumerate(node.shape) if isinstance(size, str)), None)


def checked(tap: Tap, loop: Loop) -> int | None:
    """The axis of the rows of what a tap keeps, if it has one.

    Raises
    ------
    UsageError
        The loop keeps no such value, or it has no such entry.
    """
    if not loop.keeps(tap.node):
        raise UsageError(
            f"the {loop.name} executor keeps no value of {tap.node} that a step could leave behind"
        )
    axis = rows_axis(tap.node)
    sizes = [size for k, size in enumerate(tap.node.shape) if k != axis]
    if len(sizes) != len(tap.index) or any(
        not 0 <= i < int(n) for i, n in zip(tap.index, sizes, strict=False)
    ):
        raise UsageError(f"{tap.node} has no entry {list(tap.index)} to be kept of each step")
    return axis


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

    def run(self, order: Array, starts: Array, numbers: Array, taps: Sequence[Tap] = ()) -> Chunk:
        """Run ``len(starts) - 1`` steps.

        The bits of the run do not depend on `taps`.

        Parameters
        ----------
        order : ndarray of int64
            Row numbers of the data.
        starts : ndarray of int64
            Step s uses the rows ``order[starts[s]:starts[s + 1]]``.
        numbers : ndarray, shape (steps, numbers)
            The value of each number input at each step, in the order of the Graph's inputs.
        taps : sequence of Tap
            What to keep of each step.

        Raises
        ------
        UsageError
            The loop keeps no such value (see `keeps`), or it has no such entry.
        """

    def keeps(self, node: Node) -> bool:
        """Whether this loop can be asked to keep numbers of a value with a `Tap`."""

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
