"""The compiled executor: kernels with the arrays that they work on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backpass.errors import DataError, NotLowered, UsageError
from backpass.exec.base import Array, Chunk, carried_inputs, held_inputs
from backpass.exec.compiled.kernels import build, empty, flat_view, module_text, read, written
from backpass.exec.compiled.lower import lower, one_real_type
from backpass.exec.compiled.updates import carried_only
from backpass.exec.threads import blas_threads, threads_for
from backpass.ir import ArrayType, Graph, Node
from backpass.ir.types import dims_of

_USUAL_SIZE = 64  # of a named dimension whose size is not known when a function is compiled


class Compiled:
    """Compiles a Graph, whole, into one native function with Numba and SciPy's BLAS."""

    name = "compiled"

    def compile(self, graph: Graph) -> CompiledFunction:
        return CompiledFunction(graph)

    def compile_loop(
        self, step: Graph, data: Mapping[str, Array], batch: int, watch: str = "C"
    ) -> CompiledLoop:
        return CompiledLoop(step, data, batch, watch)


class CompiledFunction:
    """A Graph as a native function of its inputs.

    Raises
    ------
    NotLowered
        At construction: the Graph has something that cannot be compiled; the message names it.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.lowered = lower(graph, in_place=False, sizes=dict.fromkeys(graph.dims, _USUAL_SIZE))
        self.dims = sorted(graph.dims)
        self.scalars = {name: node for name, node in graph.outputs.items() if node.shape == ()}
        self._kernel = build(self.source(), self._signature())

    def _signature(self) -> list[str]:
        results = [*self.lowered.buffers.values(), *(n.array_type for n in self.scalars.values())]
        return (
            [read(n.dtype) for n in self.graph.inputs.values()]
            + [written(t.dtype) for t in results]
            + ["types.int64"] * len(self.dims)
        )

    def source(self) -> str:
        """The source of the kernel."""
        place = self.lowered.place
        single = {place[n] for n in self.graph.inputs.values() if n.shape == ()}
        given = [f"a_{p}" if p in single else p for p in (place[n] for n in self.graph.inputs.values())]
        results = [f"o_{k}" for k in range(len(self.scalars))]
        sizes = [f"n_{d}" for d in self.dims]
        lines = [f"{p} = a_{p}[0]" for p in sorted(single)]
        lines += self.lowered.lines
        lines += [f"o_{k}[0] = {place[n]}" for k, n in enumerate(self.scalars.values())]
        lines += ["return 0"]
        return module_text(self.graph, self.lowered, [*given, *self.lowered.buffers, *results, *sizes], lines)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        dims = dims_of(self.graph.input_types, feeds)
        place = self.lowered.place
        given = {place[n]: flat_view(feeds[name]) for name, n in self.graph.inputs.items()}
        buffers = {n: empty(t.bind(dims)) for n, t in self.lowered.buffers.items()}
        scalars = {name: np.zeros(1, n.array_type.numpy_dtype) for name, n in self.scalars.items()}
        with blas_threads(1):
            done = self._kernel(
                *given.values(), *buffers.values(), *scalars.values(), *(dims[d] for d in self.dims)
            )
        _check_rows(done)
        results: dict[str, Array] = {}
        for name, node in self.graph.outputs.items():
            if name in scalars:
                results[name] = scalars[name].reshape(())
            else:
                flat = (given | buffers)[place[node]]
                results[name] = _shaped(flat, node.array_type.bind(dims))
        return results


class CompiledLoop:
    """A step Graph as a native loop: gather the rows, run the step, check the cost, replace the carry.

    Attributes
    ----------
    source : str
        The source of the kernel.
    threads : int
        BLAS threads, a function of the sizes alone.

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
        self.lowered = lower(self.cut, in_place=True, sizes=dims)
        self.threads = threads_for(step, dims)
        place = self.lowered.place
        self.data = {name: data[name] for name in self.data_inputs}
        self.rows = {name: flat_view(array) for name, array in self.data.items()}
        self._length = min(map(len, self.data.values()), default=0)
        self.held = {name: empty(n.array_type) for name, n in self.kept.items()}
        self.batches = {place[n]: empty(n.array_type.bind(dims)) for n in self.data_inputs.values()}
        self.buffers = {name: empty(t.bind(dims)) for name, t in self.lowered.buffers.items()}
        self.source = self._source()
        self._kernel = build(self.source, self._signature())
        self._loaded: set[str] = set()
        self._last_rows = 0

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

    def _signature(self) -> list[str]:
        kept = [n.dtype for n in (*self.data_inputs.values(), *self.kept.values())]
        buffers = [t.dtype for t in self.lowered.buffers.values()]
        return (
            [read(n.dtype) for n in self.data_inputs.values()]
            + [written(dtype) for dtype in (*kept, *buffers)]
            + ["types.int64[::1]"] * 2
            + ["types.float64[:, ::1]", "types.float64[::1]"]
        )

    def _source(self) -> str:
        place = self.lowered.place
        name_of = {n: f"in{i}" for i, n in enumerate(self.cut.nodes) if n.op.feeds}
        rows = [f"d_{name_of[n]}" for n in self.data_inputs.values()]
        single = [name_of[n] for n in self.kept.values() if n.shape == ()]
        kept = [f"c_{name}" if name in single else name for name in (name_of[n] for n in self.kept.values())]
        arguments = [*rows, *self.batches, *kept, *self.buffers, "order", "starts", "numbers", "watched"]
        inside = ["first = starts[s]", f"n_{self.dim} = starts[s + 1] - first"]
        for k, (name, node) in enumerate(self.numbers.items()):
            if name in self.cut.inputs:
                kind = {"i64": "int64", "bool": "bool"}.get(node.dtype, "real")
                inside.append(f"{name_of[node]} = {kind}(numbers[s, {k}])")
        inside += [f"{name} = c_{name}[0]" for name in single]
        inside += [f"for i in range(n_{self.dim}):", "    row = order[first + i]"]
        for node in self.data_inputs.values():
            width, buffer = ArrayType(node.shape[1:], node.dtype).size, place[node]
            inside += [
                f"    for j in range({width}):",
                f"        {buffer}[i*{width} + j] = d_{buffer}[row*{width} + j]",
            ]
        inside += self.lowered.lines
        cost = place[self.cut.outputs[self.watch]]
        inside += [f"watched[s] = {cost}", "if not watched[s] - watched[s] == 0.0:", "    return s"]
        inside += self.lowered.updates
        inside += [f"c_{name}[0] = {name}" for name in single]
        lines = [
            "for s in range(starts.size - 1):",
            *("    " + line for line in inside),
            "return starts.size - 1",
        ]
        return module_text(self.cut, self.lowered, arguments, lines)

    def load(self, carry: Mapping[str, Array]) -> None:
        for name, array in self.held.items():
            if name in carry:
                array[:] = np.asarray(carry[name]).reshape(-1)
                self._loaded.add(name)
            elif name not in self._loaded:
                raise UsageError(f"no value was given for {name} ({self.kept[name].type})")

    def state(self) -> dict[str, Array]:
        carried = carried_inputs(self.step)
        return {name: _shaped(self.held[name], n.array_type) for name, n in carried.items()}

    def run(self, order: Array, starts: Array, numbers: Array) -> Chunk:
        steps = len(starts) - 1
        sizes = np.diff(starts)
        if steps and (
            sizes.max() > self.batch or sizes.min() < 1 or order.min() < 0 or order.max() >= self._length
        ):
            raise ValueError("an order or a batch is outside of what this loop was compiled for")
        watched = np.empty(steps, np.float64)
        with blas_threads(self.threads):
            done = self._kernel(
                *self.rows.values(),
                *self.batches.values(),
                *self.held.values(),
                *self.buffers.values(),
                np.ascontiguousarray(order, np.int64),
                np.ascontiguousarray(starts, np.int64),
                np.ascontiguousarray(numbers, np.float64).reshape(steps, len(self.numbers)),
                watched,
            )
        _check_rows(done)
        self._last_rows = int(sizes[min(done, steps - 1)]) if steps else 0
        return Chunk(int(done), watched[: min(done + 1, steps)])

    def peek(self, node: Node) -> Array | None:
        place = self.lowered.place.get(node)
        arrays = self.batches | self.buffers
        if place is None or place not in arrays:
            return None
        return _shaped(arrays[place], node.array_type.bind({self.dim: self._last_rows}))


def _shaped(flat: Array, type_: ArrayType) -> Array:
    """A copy of the first entries of a buffer, in a shape."""
    return flat[: type_.size].reshape(type_.shape).copy()  # type: ignore[arg-type]


def _check_rows(done: int) -> None:
    """What a kernel says where it stopped for a row number that is in no array."""
    if done < 0:
        raise DataError(
            "a row number that gather or scatter_add was given is outside of the array it counts in.\n"
            "  Of an embedding of k categories, the numbers are 0 to k - 1."
        )
