"""The module of a kernel: its text, compiling it, keeping it on disk; and the memory that it works in."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from backpass.exec.base import Array
from backpass.exec.compiled.lower import Lowered
from backpass.exec.compiled.scalars import FUNCTIONS
from backpass.exec.machine import cpu_name, versions
from backpass.ir import ArrayType, Graph

_TYPES = {"f32": "float32", "f64": "float64", "i64": "int64", "bool": "boolean"}
_OWN = ("exp", "tanh")  # functions of `native`, which LLVM can vectorise


def written(dtype: str) -> str:
    """The type, for a signature, of an array that a kernel may write to."""
    return f"types.{_TYPES[dtype]}[::1]"


def read(dtype: str) -> str:
    """The type, for a signature, of an array that a kernel only reads."""
    return f"types.Array(types.{_TYPES[dtype]}, 1, 'C', readonly=True)"


def module_text(graph: Graph, lowered: Lowered, arguments: list[str], lines: list[str]) -> str:
    """The source of a module with one function, ``kernel``."""
    dtype = lowered.dtype
    own = ", ".join(f"{name}_{dtype} as {name}" for name in _OWN)
    head = [
        f'"""A kernel written by backpass for the program {graph.digest[:16]}."""',
        f"from math import {', '.join(sorted(set(FUNCTIONS) - set(_OWN)))}",
        "import numpy as np",
        "from numba import njit, types",
        f"from backpass.exec.compiled.native import {own}, gemm",
        "from backpass.exec.compiled.native import uniform_entry, uniform_start, uniform_step",
        f"from backpass.exec.compiled.products import mm_{dtype} as mm",
        f"real, int64 = np.{_TYPES[dtype]}, np.int64",
    ]
    for name, value in lowered.constants.items():
        number = repr(value) if math.isfinite(value) else f'"{value!r}"'
        head.append(f"{name} = real({number})")
    head += ["", "", f"def kernel({', '.join(arguments)}):"]
    return "\n".join([*head, *("    " + line for line in lines), ""])


def build(source: str, signature: list[str]) -> Callable[..., int]:
    """Compile the source, or load it as it was compiled before."""
    decorator = (
        f"@njit(types.int64({', '.join(signature)}), cache=True, nogil=True, error_model='numpy', "
        "boundscheck=False)\n"
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


def flat_view(array: Array) -> Array:
    """The entries of an array in a row, read-only: a view, or a copy of what is not row-major in memory."""
    flat = np.require(np.asarray(array), requirements=["C", "A"]).reshape(-1).view(np.ndarray)
    flat.flags.writeable = False
    return flat
