"""A Graph as one native function of its inputs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from backpass.errors import DataError, UsageError
from backpass.exec.base import Array
from backpass.exec.compiled import blas
from backpass.exec.compiled.compiler import Argument
from backpass.exec.compiled.groups import joined
from backpass.exec.compiled.kernels import arena, build, calls_blas, flat_view
from backpass.exec.compiled.lower import lower
from backpass.exec.compiled.source import KINDS
from backpass.ir import ArrayType, Graph
from backpass.ir.types import dims_of

_USUAL_SIZE = 64  # of a named dimension whose size is not known when a function is compiled


class CompiledFunction:
    """A Graph as a native function of its inputs.

    Raises
    ------
    NotLowered
        At construction: the Graph has something that cannot be compiled; the message names it.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.blas = blas.chosen()
        usual = dict.fromkeys(graph.dims, _USUAL_SIZE)
        self.lowered = lower(graph, in_place=False, sizes=usual, blas=self.blas.name)
        self.dims = sorted(graph.dims)
        self.scalars = {name: node for name, node in graph.outputs.items() if node.shape == ()}
        place = self.lowered.place
        self._single = {place[n] for n in graph.inputs.values() if n.shape == ()}
        arguments = [
            *(Argument(self._argument(place[n]), KINDS[n.dtype]) for n in graph.inputs.values()),
            *(Argument(name, KINDS[t.dtype]) for name, t in self._memory().items()),
            *(Argument(f"o_{k}", KINDS[n.dtype]) for k, n in enumerate(self.scalars.values())),
            *(Argument(f"n_{d}", "int64", array=False) for d in self.dims),
        ]
        self._kept = threading.local()  # the memory of the last call, for the next one of the same sizes
        self.source = self._source()
        self._kernel = build(
            self.source, self.lowered.dtype, arguments, self.lowered.constants, used=self.blas
        )

    def _memory(self) -> dict[str, ArrayType]:
        return self.lowered.buffers | self.lowered.private

    def _argument(self, place: str) -> str:
        return f"a_{place}" if place in self._single else place

    def _source(self) -> str:
        lines = [f"{p} = a_{p}[0]" for p in sorted(self._single)]
        lines += [line for group in joined(self.lowered.groups) for line in group.lines]
        lines += [f"o_{k}[0] = {self.lowered.place[n]}" for k, n in enumerate(self.scalars.values())]
        return "\n".join([*lines, "return 0", ""])

    def _arena(self, dims: Mapping[str, int]) -> dict[str, Array]:
        """Memory for these sizes; what is in it means nothing."""
        sizes = tuple(dims[d] for d in self.dims)
        if getattr(self._kept, "sizes", None) != sizes:
            self._kept.arrays = arena({n: t.bind(dims) for n, t in self._memory().items()})
            self._kept.sizes = sizes
        found: dict[str, Array] = self._kept.arrays
        return found

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        dims = dims_of(self.graph.input_types, feeds)
        place = self.lowered.place
        given = {place[n]: flat_view(feeds[name]) for name, n in self.graph.inputs.items()}
        buffers = self._arena(dims)
        scalars = {name: np.zeros(1, n.array_type.numpy_dtype) for name, n in self.scalars.items()}
        arrays = [*given.values(), *buffers.values(), *scalars.values()]
        with limits(self.source, self.blas):
            done = self._kernel(*arrays, *(dims[d] for d in self.dims))
        check_rows(done)
        results: dict[str, Array] = {}
        for name, node in self.graph.outputs.items():
            if name in scalars:
                results[name] = scalars[name].reshape(())
            else:
                flat = (given | buffers)[place[node]]
                results[name] = shaped(flat, node.array_type.bind(dims))
        return results

    def bound(self, dims: Mapping[str, int]) -> BoundFunction:
        """The function for these sizes alone, which is called with less ado: for very many calls."""
        return BoundFunction(self, dims)


class BoundFunction:
    """A compiled function for inputs of fixed sizes, in memory of its own.

    A call copies its inputs to where the kernel expects them, and finds out nothing anew. What it costs
    besides its work is some ten microseconds, instead of about a hundred; of a small net, that is nearly all.
    It is for one thread.

    Parameters
    ----------
    function : CompiledFunction
    dims : mapping of str to int
        The size of each named dimension.
    """

    def __init__(self, function: CompiledFunction, dims: Mapping[str, int]) -> None:
        graph, place = function.graph, function.lowered.place
        self._function = function
        self._inputs = {name: _zeros(node.array_type.bind(dims)) for name, node in graph.inputs.items()}
        self._memory = arena({name: t.bind(dims) for name, t in function._memory().items()})
        scalars = {name: _zeros(node.array_type) for name, node in function.scalars.items()}
        where = {place[node]: self._inputs[name] for name, node in graph.inputs.items()} | self._memory
        arrays = [*self._inputs.values(), *self._memory.values(), *scalars.values()]
        self._given = [a.ctypes.data for a in arrays] + [dims[d] for d in function.dims]
        self._outputs = {
            name: scalars[name] if name in scalars else _first(where[place[node]], node.array_type.bind(dims))
            for name, node in graph.outputs.items()
        }
        self._limits = partial(limits, function.source, function.blas)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        for name, array in self._inputs.items():
            value = feeds[name]
            if value.shape != array.shape:
                raise UsageError(f"{name} was bound with shape {array.shape}, and is given {value.shape}.")
            array[...] = value
        with self._limits():
            done = self._function._kernel(*self._given)
        check_rows(done)
        return {name: array.copy() for name, array in self._outputs.items()}


def _zeros(type_: ArrayType) -> Array:
    return np.zeros(type_.shape, type_.numpy_dtype)  # type: ignore[arg-type]


def _first(flat: Array, type_: ArrayType) -> Array:
    """The first entries of a buffer, in a shape: a view."""
    return flat.reshape(-1)[: type_.size].reshape(type_.shape)  # type: ignore[arg-type]


def limits(source: str, used: blas.Blas) -> AbstractContextManager[Any]:
    """BLAS stays in the thread that calls it."""
    return used.alone() if calls_blas(source) else nullcontext()


def shaped(flat: Array, type_: ArrayType) -> Array:
    """A copy of the first entries of a buffer, in a shape."""
    return _first(flat, type_).copy()


def check_rows(done: int) -> None:
    """What a kernel says where it stopped for a row number that is in no array."""
    if done < 0:
        raise DataError(
            "a row number that gather or scatter_add was given is outside of the array it counts in.\n"
            "  Of an embedding of k categories, the numbers are 0 to k - 1."
        )
