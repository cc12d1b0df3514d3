"""The reference executor: NumPy, node by node. It is the meaning of a Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backpass.errors import UsageError
from backpass.exec.base import Array, Chunk, Tap, carried_inputs, checked, has_regular_size, held_inputs
from backpass.exec.machine import library_name
from backpass.exec.threads import blas_threads, blas_threads_for
from backpass.ir import Graph, Node
from backpass.ir.interpret import interpret
from backpass.ir.types import dims_of


class Reference:
    """Runs programs with NumPy, one node after another."""

    name = "reference"

    def compile(self, graph: Graph) -> ReferenceFunction:
        return ReferenceFunction(graph)

    def compile_loop(
        self, step: Graph, data: Mapping[str, Array], batch: int, watch: str = "C"
    ) -> ReferenceLoop:
        return ReferenceLoop(step, data, batch, watch)


class ReferenceFunction:
    """A Graph as a function of its inputs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def values(self, feeds: Mapping[str, Array]) -> dict[Node, Array]:
        """Every value of the program, by node."""
        dims = dims_of(self.graph.input_types, feeds)
        with np.errstate(all="ignore"):  # whether a value may be infinite is the caller's question
            return interpret(self.graph, feeds, dims)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        values = self.values(feeds)
        return {name: np.asarray(values[n]) for name, n in self.graph.outputs.items()}


class ReferenceLoop:
    """Many steps, one after another."""

    name = "reference"

    def __init__(self, step: Graph, data: Mapping[str, Array], batch: int, watch: str) -> None:
        self.step, self.watch = step, watch
        self.data = {name: data[name] for name in step.inputs_of_kind("data")}
        first = [n.shape[0] for n in step.inputs_of_kind("data").values() if n.shape]
        dims = {d: batch for d in first if isinstance(d, str)}
        self.threads = blas_threads_for(step, dims) if step.dims <= dims.keys() else 1
        self.function = ReferenceFunction(step)
        self.held: dict[str, Array] = {}
        self.values: dict[Node, Array] = {}

    def load(self, carry: Mapping[str, Array]) -> None:
        for name, node in held_inputs(self.step).items():
            if name in carry:
                self.held[name] = np.array(carry[name])
            elif name not in self.held:
                raise UsageError(f"no value was given for {name} ({node.type})")

    def state(self) -> dict[str, Array]:
        return {name: self.held[name].copy() for name in carried_inputs(self.step)}

    def run(self, order: Array, starts: Array, numbers: Array, taps: Sequence[Tap] = ()) -> Chunk:
        with blas_threads(self.threads):
            return self._run(order, starts, numbers, taps)

    def _run(self, order: Array, starts: Array, numbers: Array, taps: Sequence[Tap]) -> Chunk:
        places = [_place(tap, checked(tap, self)) for tap in taps]
        kept: list[list[Array]] = [[] for _ in taps]
        kinds = {name: n.array_type.numpy_dtype for name, n in self.step.inputs_of_kind("number").items()}
        watched = []
        for s in range(len(starts) - 1):
            rows = order[starts[s] : starts[s + 1]]
            feeds = {name: array[rows] for name, array in self.data.items()}
            feeds |= {name: np.asarray(x, kinds[name]) for name, x in zip(kinds, numbers[s], strict=True)}
            feeds |= self.held
            self.values = self.function.values(feeds)
            watched.append(float(self.values[self.step[self.watch]]))
            if not np.isfinite(watched[-1]):
                return Chunk(s, np.array(watched), tuple(map(_joined, kept)))
            self.held |= {
                old: np.asarray(self.values[self.step.outputs[new]]) for new, old in self.step.carry.items()
            }
            for tap, place, found in zip(taps, places, kept, strict=True):
                held = tap.node.op.feeds and str(tap.node.name) in self.held
                value = self.held[str(tap.node.name)] if held else self.values[tap.node]
                found.append(np.asarray(value)[place].astype(np.float64))
        return Chunk(len(starts) - 1, np.array(watched), tuple(map(_joined, kept)))

    def blas_name(self) -> str:
        return library_name("numpy")

    def keeps(self, node: Node) -> bool:
        return node in self.step.users and has_regular_size(node)

    def peek(self, node: Node) -> Array | None:
        value = self.values.get(node)
        return None if value is None else np.asarray(value)


def _place(tap: Tap, axis: int | None) -> tuple[int | slice, ...]:
    """Where in a value the numbers lie that a tap keeps."""
    return tap.index if axis is None else (*tap.index[:axis], slice(None), *tap.index[axis:])


def _joined(kept: Sequence[Array]) -> Array:
    return np.concatenate([np.atleast_1d(array) for array in kept]) if kept else np.zeros(0)
