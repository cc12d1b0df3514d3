"""Compiling the source of a kernel, keeping it on disk, and the buffers that it works in."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from backpass.errors import NotLowered
from backpass.exec.base import Array, Chunk
from backpass.exec.compiled.lower import Lowered, lower
from backpass.exec.machine import cpu_name, versions
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
        self.kernel = _build(self.source(), self.signature())

    def signature(self) -> list[str]:
        arrays = len(self.graph.inputs) + len(self.lowered.buffers) + len(self._scalars())
        return ["real[::1]"] * arrays + ["types.int64"] * len(self.dims)

    def _scalars(self) -> dict[str, str]:
        """Outputs that are single numbers, and the local variable that each is in."""
        found = {}
        for name, node in self.graph.outputs.items():
            if node.shape == ():
                place = self.lowered.place.get(node)
                if place is None:
                    raise NotLowered(f"the output {name} is a bare number")
                found[name] = place
        return found

    def source(self) -> str:
        scalars = self._scalars()
        inputs = {n: self.lowered.place[node] for n, node in self.graph.inputs.items()}
        given = [f"a_{p}" if self.graph.inputs[n].shape == () else p for n, p in inputs.items()]
        results = [f"o_{k}" for k in range(len(scalars))]
        sizes = [f"n_{d}" for d in self.dims]
        lines = [f"{p} = a_{p}[0]" for n, p in inputs.items() if self.graph.inputs[n].shape == ()]
        lines += self.lowered.lines
        lines += [f"o_{k}[0] = {place}" for k, place in enumerate(scalars.values())]
        lines += ["return 0"]
        return _module(self.graph, self.lowered, [*given, *self.lowered.buffers, *results, *sizes], lines)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        dims = dims_of(self.graph.input_types, feeds)
        dtype = next(iter(self.graph.input_types.values())).numpy_dtype
        given = [aligned(np.asarray(feeds[name])) for name in self.graph.inputs]
        buffers = {n: empty(t.bind(dims)) for n, t in self.lowered.buffers.items()}
        scalars = {name: np.zeros(1, dtype) for name in self._scalars()}
        with blas_threads(1):
            self.kernel(*given, *buffers.values(), *scalars.values(), *(dims[d] for d in self.dims))
        inputs = dict(zip((self.lowered.place[n] for n in self.graph.inputs.values()), given, strict=True))
        results: dict[str, Array] = {}
        for name, node in self.graph.outputs.items():
            if name in scalars:
                results[name] = scalars[name].reshape(())
            else:
                type_ = node.array_type.bind(dims)
                place = self.lowered.place[node]
                flat = buffers[place] if place in buffers else inputs[place]
                results[name] = flat[: type_.size].reshape(type_.shape).copy()  # type: ignore[arg-type]
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
        carried = step.carry
        self.step = step
        self.cut = Graph(
            {name: step.outputs[name] for name in carried} | {watch: step[watch]}, carried, step.origins
        )
        self.watch, self.batch = watch, batch
        self.data_inputs, self.numbers = self.cut.inputs_of_kind("data"), step.inputs_of_kind("number")
        self.kept = self.cut.inputs_of_kind("parameter") | self.cut.inputs_of_kind("state")
        self.dim = self._batch_dimension(data)
        dims = {self.dim: batch}
        self.lowered = lower(self.cut, in_place=True, sizes=dims)
        self.threads = threads_for(step, dims)
        place = self.lowered.place
        self.rows = {name: aligned(data[name]) for name in self.data_inputs}
        self.state_arrays = {name: empty(n.array_type) for name, n in self.kept.items()}
        self.batches = {place[n]: empty(n.array_type.bind(dims)) for n in self.data_inputs.values()}
        self.buffers = {name: empty(t.bind(dims)) for name, t in self.lowered.buffers.items()}
        self.source = self._source()
        self._kernel = _build(self.source, self._signature())
        self._last_rows = 0

    def _batch_dimension(self, data: Mapping[str, Array]) -> str:
        """The one named dimension: the rows of a batch, the first axis of every data input."""
        if len(self.cut.dims) != 1:
            raise NotLowered(f"a loop is over one named dimension, this program has {sorted(self.cut.dims)}")
        (dim,) = self.cut.dims
        for name, node in self.data_inputs.items():
            rows = node.shape[:1] == (dim,) and ArrayType((len(data[name]), *node.shape[1:]), node.dtype)
            if not rows or (data[name].shape, data[name].dtype) != (rows.shape, rows.numpy_dtype):
                given = f"{data[name].dtype}{list(data[name].shape)}"
                raise NotLowered(f"the rows of {name} must be {node.type}, got {given}")
        return dim

    def _signature(self) -> list[str]:
        arrays = len(self.rows) + len(self.batches) + len(self.state_arrays) + len(self.buffers)
        return (
            ["real[::1]"] * arrays
            + ["types.int64[::1]"] * 2
            + ["types.float64[:, ::1]", "types.float64[::1]"]
        )

    def _source(self) -> str:
        place = self.lowered.place
        rows = [f"d_{place[n]}" for n in self.data_inputs.values()]
        scalars = {name for name, n in self.kept.items() if n.shape == ()}
        kept = [f"c_{self._input(n)}" if name in scalars else self._input(n) for name, n in self.kept.items()]
        arguments = [*rows, *self.batches, *kept, *self.buffers, "order", "starts", "numbers", "watched"]
        inside = ["first = starts[s]", f"n_{self.dim} = starts[s + 1] - first"]
        inside += [
            f"{self._input(self.cut.inputs[name])} = real(numbers[s, {k}])"
            for k, name in enumerate(self.numbers)
            if name in self.cut.inputs
        ]
        inside += [
            f"{self._input(self.kept[name])} = c_{self._input(self.kept[name])}[0]"
            for name in sorted(scalars)
        ]
        inside += [f"for i in range(n_{self.dim}):", "    row = order[first + i]"]
        for node in self.data_inputs.values():
            width = ArrayType(node.shape[1:], node.dtype).size
            inside += [
                f"    for j in range({width}):",
                f"        {place[node]}[i*{width} + j] = d_{place[node]}[row*{width} + j]",
            ]
        inside += self.lowered.lines
        cost = place[self.cut.outputs[self.watch]]
        inside += [f"watched[s] = {cost}", "if not watched[s] - watched[s] == 0.0:", "    return s"]
        inside += self.lowered.updates
        inside += [
            f"c_{self._input(self.kept[name])}[0] = {self._input(self.kept[name])}"
            for name in sorted(scalars)
        ]
        lines = [
            "for s in range(starts.size - 1):",
            *("    " + line for line in inside),
            "return starts.size - 1",
        ]
        return _module(self.cut, self.lowered, arguments, lines)

    def _input(self, node: Node) -> str:
        """The name of an input in the source (its place may since have been given to its successor)."""
        return f"in{self.cut.nodes.index(node)}"

    def load(self, carry: Mapping[str, Array]) -> None:
        for name, array in self.state_arrays.items():
            array[:] = np.asarray(carry[name]).reshape(-1)

    def state(self) -> dict[str, Array]:
        shapes = {name: n.array_type.bind({}).shape for name, n in self.kept.items()}
        return {name: a.copy().reshape(shapes[name]) for name, a in self.state_arrays.items()}  # type: ignore[arg-type]

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
                *self.state_arrays.values(),
                *self.buffers.values(),
                np.ascontiguousarray(order, np.int64),
                np.ascontiguousarray(starts, np.int64),
                np.ascontiguousarray(numbers, np.float64).reshape(steps, -1),
                watched,
            )
        self._last_rows = int(sizes[min(done, steps - 1)]) if steps else 0
        return Chunk(int(done), watched[: min(done + 1, steps)])

    @property
    def _length(self) -> int:
        name, node = next(iter(self.data_inputs.items()))
        return self.rows[name].size // max(1, ArrayType(node.shape[1:], node.dtype).size)

    def peek(self, node: Node) -> Array | None:
        place = self.lowered.place.get(node)
        arrays = self.batches | self.buffers
        if place is None or place not in arrays:
            return None
        type_ = node.array_type.bind({self.dim: self._last_rows})
        return arrays[place][: type_.size].reshape(type_.shape).copy()  # type: ignore[arg-type]


# ---- source and cache


def _module(graph: Graph, lowered: Lowered, arguments: list[str], lines: list[str]) -> str:
    dtype = next(n.array_type.dtype for n in graph.nodes)
    real = {"f32": "float32", "f64": "float64"}[dtype]
    head = [
        f'"""A kernel written by backpass for the program {graph.digest[:16]}."""',
        "from math import log, log1p",
        "import numpy as np",
        "from numba import njit, types",
        f"from backpass.exec.compiled.native import exp_{dtype} as exp, gemm, tanh_{dtype} as tanh",
        f"from backpass.exec.compiled.products import mm_{dtype} as mm",
        f"real = np.{real}",
    ]
    head += [f"{name} = real({value!r})" for name, value in lowered.constants.items()]
    head += ["", "", f"def kernel({', '.join(arguments)}):"]
    return "\n".join([*head, *("    " + line for line in lines), ""])


def _build(source: str, signature: list[str]) -> Callable[..., int]:
    """Compile the source, or load it as it was compiled before."""
    types_ = ", ".join(signature).replace(
        "real[", "types.float32[" if "np.float32" in source else "types.float64["
    )
    decorator = (
        f"@njit(types.int64({types_}), cache=True, nogil=True, error_model='numpy', boundscheck=False)\n"
    )
    text = source.replace("def kernel(", decorator + "def kernel(", 1)
    called = [Path(__file__).with_name(name).read_bytes() for name in ("native.py", "products.py")]
    key = hashlib.sha256()
    for part in (text.encode(), *called, repr(versions()).encode(), cpu_name().encode()):
        key.update(part)
    name = f"kernel_{key.hexdigest()[:24]}"
    path = cache_folder() / f"{name}.py"
    if not path.exists() or path.read_text() != text:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(text)
        os.replace(temporary, path)
    if name in sys.modules:
        return sys.modules[name].kernel  # type: ignore[no-any-return]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba's disk cache finds the module again by this name
    spec.loader.exec_module(module)
    kernel: Callable[..., int] = module.kernel
    return kernel


@cache
def cache_folder() -> Path:
    """Where kernels are kept; a temporary folder where the usual one cannot be written.

    The environment variable BACKPASS_CACHE names another.
    """
    home = os.environ.get("BACKPASS_CACHE")
    usual = {
        "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local"),
        "darwin": "~/Library/Caches",
    }.get(sys.platform, os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    folder = Path(home) if home else Path(usual).expanduser() / "backpass"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="backpass-"))
    return folder


# ---- memory


def empty(type_: ArrayType) -> Array:
    """A flat buffer whose first entry lies on a cache line: the same address bits, the same BLAS path."""
    raw = np.empty(type_.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    flat: Array = raw[start : start + type_.nbytes].view(type_.numpy_dtype)
    return flat


def aligned(array: Array) -> Array:
    """A flat, writable, row-major view or copy of an array."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.flags.writeable else flat.copy()
