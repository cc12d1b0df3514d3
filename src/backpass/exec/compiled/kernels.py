"""Native code of kernels: made by LLVM, kept on disk, and loaded.

A file of the cache is the object file that LLVM wrote, after the hash of its bytes: one that was cut short or
changed is not loaded but made again. It is written under another name and then moved, so that processes that
make the same kernel at once do not meet. Where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.exec.compiled import barrier, blas, target
from backpass.exec.compiled.compiler import LIBRARY, Argument, Unit
from backpass.exec.compiled.compiler import kernel as written
from backpass.exec.machine import cpu_name, versions
from backpass.ir import ArrayType

Kernel = Callable[..., int]  #: of arrays and integers, in the order of its arguments
loaded: dict[str, Kernel] = {}  #: in this process, by the hash of what they are made of
_engines: list[Any] = []  # native code lives as long as they do


def build(
    source: str,
    real: str,
    arguments: Sequence[Argument],
    constants: Mapping[str, float],
    usual: Mapping[str, int] | None = None,
    used: blas.Blas | None = None,
) -> Kernel:
    """The native code of a kernel: loaded as it was made before, or made.

    The arguments are those of `compiler.kernel`, and the BLAS that it calls.
    """
    used = used or blas.chosen()
    key = hashlib.sha256()
    given = (source, real, arguments, sorted(constants.items()), sorted((usual or {}).items()))
    machine = (versions(), cpu_name(), target.processor(), target.features(), used.name, used.version)
    for part in (repr(given), repr(machine), _own_source()):
        key.update(part.encode())
    name = key.hexdigest()[:40]
    if name not in loaded:
        code = _read(name)
        if code is None:
            code = compiled(source, real, arguments, constants, usual)
            _keep(name, code)
        loaded[name] = _load(code, used if calls_blas(source) else None)
    return loaded[name]


@cache
def _own_source() -> str:
    """What decides how a source becomes native code, besides versions."""
    names = ("compiler", "mathematics", "products", "source", "barrier", "kernels", "target")
    return "".join(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in names)


def compiled(
    source: str,
    real: str,
    arguments: Sequence[Argument],
    constants: Mapping[str, float],
    usual: Mapping[str, int] | None = None,
) -> bytes:
    """An object file with the function ``kernel``."""
    unit = Unit(real)
    written(unit, source, arguments, constants, usual)
    machine = target.machine()
    whole = _parsed(unit.module)
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(whole, builder)
    products = _parsed(unit.products().module)
    light = llvm.create_new_module_pass_manager()
    light.add_instruction_combine_pass()
    light.add_simplify_cfg_pass()
    light.run(products, builder)
    whole.link_in(products)
    return bytes(machine.emit_object(whole))


def _parsed(module: Any) -> Any:
    module.triple, module.data_layout = llvm.get_process_triple(), str(target.machine().target_data)
    return llvm.parse_assembly(str(module))


def calls_blas(source: str) -> bool:
    """Whether a kernel has products that are left to BLAS."""
    return "gemm(" in source


def _load(code: bytes, used: blas.Blas | None) -> Kernel:
    _symbols(used)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target.machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    native = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(engine.get_function_address("kernel"))

    def kernel(*given: Array | int) -> int:
        table = np.array([x.ctypes.data if isinstance(x, np.ndarray) else x for x in given], np.int64)
        return int(native(table.ctypes.data))

    return kernel


def _symbols(used: blas.Blas | None) -> None:
    """Tell LLVM where the functions lie that kernels call."""
    if used is not None:
        for name, address in zip(("backpass_sgemm", "backpass_dgemm"), used.addresses(), strict=True):
            llvm.add_symbol(name, address)
    for name, address in _addresses().items():
        llvm.add_symbol(name, address)


@cache
def _addresses() -> dict[str, int]:
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    found = {"backpass_yield": barrier.yield_address()}
    for name in (f"{n}{kind}" for n in LIBRARY for kind in ("", "f")):
        found[f"backpass_{name}"] = ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    return found


# ---- the cache


def cache_folder() -> Path:
    """``$BACKPASS_CACHE``, or the folder for caches that the system has for a user."""
    home = os.environ.get("BACKPASS_CACHE")
    usual = {
        "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local"),
        "darwin": "~/Library/Caches",
    }.get(sys.platform, os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    return Path(home) if home else Path(usual).expanduser() / "backpass"


def _read(name: str) -> bytes | None:
    try:
        data = (cache_folder() / f"{name}.kernel").read_bytes()
    except OSError:
        return None
    digest, code = data[:32], data[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(name: str, code: bytes) -> None:
    path = cache_folder() / f"{name}.kernel"
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(code).digest() + code)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


# ---- memory


def flat_view(array: Array) -> Array:
    """The entries of an array in a row, read-only: a view, or a copy of what is not row-major in memory."""
    flat = np.require(np.asarray(array), requirements=["C", "A"]).reshape(-1).view(np.ndarray)
    flat.flags.writeable = False
    return flat


def arena(types: Mapping[str, ArrayType]) -> dict[str, Array]:
    """One piece of memory for all arrays of a kernel, each beginning on a cache line.

    Raises
    ------
    UsageError
        There is not as much memory.
    """
    starts, size = {}, 0
    for name, type_ in types.items():
        starts[name] = size
        size += -(-type_.nbytes // 64) * 64
    try:
        raw = np.zeros(size + 64, np.uint8)
    except (MemoryError, ValueError):  # ValueError: more than NumPy counts to
        raise UsageError(
            f"the values of a step need {size / 1e9:,.1f} GB of memory, which this computer does not give.\n"
            "  Make the layers or the batch smaller."
        ) from None
    first = -raw.ctypes.data % 64
    raw = raw[first : first + size]
    return {
        name: raw[starts[name] : starts[name] + t.nbytes].view(t.numpy_dtype) for name, t in types.items()
    }


def whole(arrays: Mapping[str, Array]) -> Array:
    """The bytes that all arrays of an `arena` lie in."""
    first = min(array.ctypes.data for array in arrays.values())
    (raw,) = {id(array.base): array.base for array in arrays.values()}.values()
    assert isinstance(raw, np.ndarray)
    start = first - raw.ctypes.data
    return raw[start : start + (raw.nbytes - start) // 64 * 64]
