"""A step as a native loop: a kernel with the arrays that it works on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from backpass.errors import NotLowered, UsageError
from backpass.exec.base import Array, Chunk, Tap, carried_inputs, checked, has_regular_size, held_inputs
from backpass.exec.compiled import blas
from backpass.exec.compiled.barrier import ENTRIES as BARRIER_ENTRIES
from backpass.exec.compiled.compiler import Argument
from backpass.exec.compiled.function import CompiledFunction, check_rows, limits, shaped
from backpass.exec.compiled.groups import Group, barrier, every, indented, joined, shared, span
from backpass.exec.compiled.kernels import Kernel, arena, build, calls_blas, flat_view, whole
from backpass.exec.compiled.lower import lower, one_real_type
from backpass.exec.compiled.source import KINDS
from backpass.exec.compiled.taps import Log, Source, Taps
from backpass.exec.compiled.updates import carried_only
from backpass.exec.machine import library_name
from backpass.exec.threads import Pace, Together, is_tiny, is_worth_splitting, threads_for
from backpass.ir import ArrayType, Graph, Node
from backpass.ir.types import Dim


class Compiled:
    """Compiles a Graph, whole, into one native function with LLVM and BLAS."""

    name = "compiled"

    def compile(self, graph: Graph) -> CompiledFunction:
        return CompiledFunction(graph)

    def compile_loop(
        self, step: Graph, data: Mapping[str, Array], batch: int, watch: str = "C"
    ) -> CompiledLoop:
        loop = CompiledLoop(step, data, batch, watch)
        loop.compile()
        return loop


class CompiledLoop:
    """A step Graph as a native loop: gather the rows, run the step, check the cost, replace the carry.

    It is lowered at once; native code is made by `compile`, or at the first `run`.

    Attributes
    ----------
    source : str
        The source of the kernel.
    arguments : list of Argument
        What the kernel is given.
    threads : int
        Among how many threads a step is divided at the most, a function of the sizes. Fewer may do it at
        times (`exec.threads.Pace`) where the bits of the result do not depend on them: without BLAS.

    Raises
    ------
    NotLowered
        At construction: the Graph has something that cannot be compiled; the message names it.
    """

    name = "compiled"

    def __init__(self, step: Graph, data: Mapping[str, Array], batch: int, watch: str) -> None:
        # Only what is carried or watched is calculated; everything else is fused away.
        self.step, self.watch, self.batch = step, watch, batch
        one_real_type(step)  # names an op that has no lowering before anything else is asked
        self.cut = carried_only(step, watch)
        self.data_inputs, self.numbers = self.cut.inputs_of_kind("data"), step.inputs_of_kind("number")
        self.kept = {name: n for name, n in held_inputs(step).items() if name in self.cut.inputs}
        self.dim = self._batch_dimension(data)
        dims = {self.dim: batch}
        self.blas = blas.chosen()
        split = is_worth_splitting(step, dims)
        self.lowered = lower(self.cut, in_place=True, sizes=dims, split=split, blas=self.blas.name)
        place = self.lowered.place
        self.data = {name: data[name] for name in self.data_inputs}
        self.rows = {name: flat_view(array) for name, array in self.data.items()}
        self._length = min(map(len, self.data.values()), default=0)
        self.batches = {place[n]: n.array_type.bind(dims) for n in self.data_inputs.values()}
        buffers = {name: t.bind(dims) for name, t in self.lowered.buffers.items()}
        held = {f"held {name}": n.array_type for name, n in self.kept.items()}
        self.memory = arena(held | self.batches | buffers)
        self.held = {name: self.memory[f"held {name}"] for name in self.kept}
        self.arguments = self._arguments()
        self.source = self._source()
        self.threads = threads_for(step, dims)
        self._usual = {f"n_{self.dim}": batch} if is_tiny(step, dims) else None
        self._kernels: dict[bool, Kernel] = {}  # by whether it keeps numbers of each step
        self._loaded: set[str] = set()
        self._last_rows = 0

    def compile(self, tapped: bool = False) -> Kernel:
        """Make the native code, or load what was made earlier; `tapped` is that of `taps`."""
        if tapped not in self._kernels:
            source, arguments = self.source, self.arguments
            if tapped:
                source, arguments = self.tapped_source(), [*arguments, *self._taps.arguments()]
            given = arguments, self.lowered.constants, self._usual
            self._kernels[tapped] = build(source, self.lowered.dtype, *given, used=self.blas)
        return self._kernels[tapped]

    @property
    def threads(self) -> int:
        return len(self._private)

    @threads.setter
    def threads(self, count: int) -> None:
        dims = {self.dim: self.batch}
        types = {name: t.bind(dims) for name, t in self.lowered.private.items()}
        self._private = [arena(types) for _ in range(count if self.lowered.split else 1)]
        self._pace = Pace(self.threads if calls_blas(self.source) else 1, self.threads)

    def _batch_dimension(self, data: Mapping[str, Array]) -> str:
        """The one named dimension: the rows of a batch, the first axis of every data input."""
        if len(self.cut.dims) != 1:
            raise NotLowered(f"a loop is over one named dimension, this program has {sorted(self.cut.dims)}")
        (dim,) = self.cut.dims
        for name, node in self.data_inputs.items():
            array, wanted = data[name], node.array_type
            fits = node.shape[:1] == (dim,) and array.shape[1:] == node.shape[1:]
            if not fits or array.dtype != wanted.numpy_dtype:
                given = f"{array.dtype}{list(array.shape)}"
                raise NotLowered(f"the rows of {name} must be {wanted}, got {given}")
            if isinstance(array, np.memmap) and not array.flags.c_contiguous:
                raise NotLowered(f"the rows of {name} lie in a file, and not one after another")
        for name, node in self.kept.items():
            if node.array_type.named:
                raise NotLowered(f"{name} is carried and has the size of a batch: {node.type}")
        return dim

    def _name_of(self, node: Node) -> str:
        """What an input is called in the source."""
        return f"in{self.cut.nodes.index(node)}"

    def _held_name(self, node: Node) -> str:
        return self._name_of(node) if node.shape else f"c_{self._name_of(node)}"

    def _arguments(self) -> list[Argument]:
        return [
            *(Argument(f"d_{self._name_of(n)}", KINDS[n.dtype]) for n in self.data_inputs.values()),
            *(Argument(self._held_name(n), KINDS[n.dtype]) for n in self.kept.values()),
            *(Argument(name, KINDS[t.dtype]) for name, t in self.batches.items()),
            *(Argument(name, KINDS[t.dtype]) for name, t in self.lowered.buffers.items()),
            *(Argument(name, KINDS[t.dtype]) for name, t in self.lowered.private.items()),
            Argument("order", "int64"),
            Argument("starts", "int64"),
            Argument("numbers", "f64"),
            Argument("watched", "f64"),
            Argument("sync", "int64"),
            *(Argument(name, "int64", array=False) for name in ("steps", "thread", "threads")),
        ]

    def _gathering(self) -> Group:
        """The rows of a batch, copied together."""
        group = Group(split=self.dim if self.lowered.split else None, index="i", note="the rows of the batch")
        group.writes |= self.batches.keys()
        group.lines += [f"for i in range({span(self.dim, 'i', group)}):", "    row = order[first + i]"]
        for node in self.data_inputs.values():
            width, buffer = ArrayType(node.shape[1:], node.dtype).size, self.lowered.place[node]
            group.lines += [
                f"    for j in range({width}):",
                f"        {buffer}[i*{width} + j] = d_{buffer}[row*{width} + j]",
            ]
        return group

    def groups(self) -> list[Group]:
        """The statements of the kernel."""
        single = [self._name_of(n) for n in self.kept.values() if n.shape == ()]
        before, after = joined([self._gathering(), *self.lowered.groups]), joined(self.lowered.updates)
        inside = [*before, self._guard(), *after]
        end = [f"c_{name}[0] = {name}" for name in single]
        if self.lowered.split:
            inside = joined(shared(inside))
            end = ["if thread == 0:", *("    " + line for line in end)] if end else []
            end += barrier().lines
        start = self._start(single, {g.split for g in every(inside)} - {None})
        groups = [start, *inside, Group(lines=end, note="the end of the step")]
        groups = [indented(group) for group in groups]
        divided = sorted({g.split for g in every(groups) if isinstance(g.split, int)})
        head = [line for size in divided for line in _parts(size, str(size))]
        return [Group(lines=[*head, "for s in range(steps):"]), *groups, Group(lines=["return steps"])]

    def _guard(self) -> Group:
        """Keeps the cost of the step, and ends the run where it is not finite."""
        cost = self.lowered.place[self.cut.outputs[self.watch]]
        kept = [f"watched[s] = {cost}"]
        if self.lowered.split:
            kept = ["if thread == 0:", f"    {kept[0]}"]
        lines = [*kept, f"if not {cost} - {cost} == 0.0:", "    return s"]
        return Group(
            lines=lines, note=f"a step whose {self.watch} is not finite replaces nothing", fence=True
        )

    def _start(self, single: list[str], split: set[Dim | None]) -> Group:
        """What a step begins with: its rows, its numbers, and the single numbers that are carried."""
        lines = ["first = starts[s]", f"n_{self.dim} = starts[s + 1] - first"]
        if self.dim in split:
            lines += _parts(self.dim, f"n_{self.dim}")
        for k, (name, node) in enumerate(self.numbers.items()):
            if name in self.cut.inputs:
                number = f"numbers[s*{len(self.numbers)} + {k}]"
                kind = {"i64": f"int64({number})", "bool": f"{number} != 0.0"}
                lines.append(f"{self._name_of(node)} = {kind.get(node.dtype, f'real({number})')}")
        lines += [f"{name} = c_{name}[0]" for name in single]
        return Group(lines=lines, note="how many rows, and the numbers of this step")

    def _source(self) -> str:
        return "\n".join(line for group in self.groups() for line in group.lines) + "\n"

    # ---- taps

    @cached_property
    def _taps(self) -> Taps:
        """What of a step can be kept."""
        lowered = self.lowered
        alone = {
            lowered.place[n]: None
            for n in self.cut.nodes
            if has_regular_size(n) and n.shape == () and not n.op.feeds and n in lowered.place
        }
        single = {name: k for k, name in enumerate(alone)}
        held = [n.array_type for n in self.kept.values()]
        kinds = {KINDS[t.dtype] for t in (*held, *self.batches.values(), *lowered.buffers.values())}
        return Taps(lowered.dtype, kinds, whole(self.memory), single, self.dim, lowered.split)

    def tapped_source(self) -> str:
        """The source of the kernel that keeps numbers: every line as it is, and more at the end of a step."""
        *step, end = [line for group in self.groups() for line in group.lines]
        return "\n".join([*step, *("    " + line for line in self._taps.statements()), end]) + "\n"

    def _source_of(self, node: Node) -> Source | None:
        """Where a value lies at the end of a step."""
        place = self.lowered.place.get(node)
        kind = KINDS.get(getattr(node.type, "dtype", ""), "")
        kind = "real" if kind == self.lowered.dtype else kind
        if node in self.kept.values():
            return self._taps.in_memory(self.held[str(node.name)], kind)
        if not has_regular_size(node) or place is None:
            return None
        if place in self.batches or place in self.lowered.buffers:
            return self._taps.in_memory(self.memory[place], kind)
        number = self._taps.single.get(place)
        return None if number is None else Source("single", number)

    def _log(self, asked: Sequence[Tap], rows: int, steps: int) -> Log:
        """Memory for what these taps keep of a call."""
        found = []
        for tap in asked:
            checked(tap, self)
            source = self._source_of(tap.node)
            assert source is not None  # or `keeps` would have said so
            found.append((source, tap))
        return Log(self._taps, found, rows, steps)

    def keeps(self, node: Node) -> bool:
        return self._source_of(node) is not None

    def blas_name(self) -> str:
        return library_name(self.blas.name) if calls_blas(self.source) else "products of its own"

    def load(self, carry: Mapping[str, Array]) -> None:
        for name, array in self.held.items():
            if name in carry:
                array[:] = np.asarray(carry[name]).reshape(-1)
                self._loaded.add(name)
            elif name not in self._loaded:
                raise UsageError(f"no value was given for {name} ({self.kept[name].type})")

    def state(self) -> dict[str, Array]:
        carried = carried_inputs(self.step)
        return {name: shaped(self.held[name], n.array_type) for name, n in carried.items()}

    def run(self, order: Array, starts: Array, numbers: Array, taps: Sequence[Tap] = ()) -> Chunk:
        steps = len(starts) - 1
        sizes = np.diff(starts)
        if steps and (
            sizes.max() > self.batch or sizes.min() < 1 or order.min() < 0 or order.max() >= self._length
        ):
            raise ValueError("an order or a batch is outside of what this loop was compiled for")
        order, starts = np.ascontiguousarray(order, np.int64), np.ascontiguousarray(starts, np.int64)
        numbers = np.ascontiguousarray(numbers, np.float64).reshape(steps, len(self.numbers))
        watched = np.empty(steps, np.float64)
        log = self._log(taps, len(order), steps) if taps else None
        done = stretch = 0
        with limits(self.source, self.blas):
            while done < steps and done >= 0 and stretch == 0:
                threads, stretch = self._pace.next(steps - done)
                begun = time.perf_counter()
                given = order, starts[done:], numbers[done:], watched[done:]
                here = self._stretch(*given, stretch, threads, () if log is None else log.arguments(done))
                self._pace.saw(threads, here, time.perf_counter() - begun)
                stretch -= here  # what is left of it where the kernel stopped
                done = done + here if here >= 0 else here
        check_rows(done)
        self._last_rows = int(sizes[min(done, steps - 1)]) if steps else 0
        kept = () if log is None else log.kept(starts, int(done))
        return Chunk(int(done), watched[: min(done + 1, steps)], kept)

    def _stretch(
        self,
        order: Array,
        starts: Array,
        numbers: Array,
        watched: Array,
        steps: int,
        threads: int,
        tapped: tuple[Array | int, ...],
    ) -> int:
        """Some steps; how many were done, or less than 0 where a row number was wrong."""
        kernel, sync = self.compile(bool(tapped)), np.zeros(BARRIER_ENTRIES, np.int64)
        given = order, starts, numbers.reshape(-1), watched, sync, steps

        def part(thread: int) -> int:
            private = self._private[thread].values()
            arrays = *self.rows.values(), *self.memory.values(), *private
            return kernel(*arrays, *given, thread, threads, *tapped)

        others = Together(part, range(1, threads))
        done = part(0)
        others.join()
        return done

    def peek(self, node: Node) -> Array | None:
        place = self.lowered.place.get(node)
        if place is None or (place not in self.batches and place not in self.lowered.buffers):
            return None
        return shaped(self.memory[place], node.array_type.bind({self.dim: self._last_rows}))


def _parts(dim: Dim, size: str) -> list[str]:
    """Which entries of a dimension a thread does."""
    return [f"from_{dim} = {size}*thread // threads", f"to_{dim} = {size}*(thread + 1) // threads"]
