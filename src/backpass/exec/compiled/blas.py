"""The BLAS that kernels call for large products: SciPy's, or Intel's MKL where it is installed.

`pip install 'backpass[mkl]'` brings MKL; the environment variable ``BACKPASS_BLAS`` ("scipy" or "mkl")
decides where both are there. A kernel splits its work among threads by itself and calls BLAS from each of
them, so BLAS is told to use one.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any

from backpass.errors import UsageError, nearest

_OLDEST_MKL = (2024, 0)
NAMES = ("scipy", "mkl")


@dataclass(frozen=True)
class Blas:
    """A BLAS that kernels can call.

    Attributes
    ----------
    name : {"scipy", "mkl"}
    version : str
    addresses : callable
        Where sgemm and dgemm lie in memory: functions with Fortran's arguments and 32-bit integers. Loads the
        library where that was not done yet.
    alone : callable
        A context in which each call of this BLAS stays in its own thread.
    """

    name: str
    version: str
    addresses: Callable[[], tuple[int, int]]
    alone: Callable[[], AbstractContextManager[Any]]


def chosen() -> Blas:
    """The BLAS that kernels are to call.

    Raises
    ------
    UsageError
        ``BACKPASS_BLAS`` names one that there is not, or one that is missing or too old.
    """
    wanted = os.environ.get("BACKPASS_BLAS", "").strip().lower()
    if wanted and wanted not in NAMES:
        raise UsageError(f"BACKPASS_BLAS is {wanted!r}. {nearest(wanted, NAMES)}")
    if wanted == "scipy":
        return _scipy()
    problem = _problem_of_mkl()
    if problem is None:
        return _mkl()
    if wanted == "mkl":
        raise UsageError(
            f"BACKPASS_BLAS is 'mkl', but {problem}.\n"
            "  Write pip install 'backpass[mkl]', or leave BACKPASS_BLAS out to use SciPy's BLAS."
        )
    return _scipy()


def _scipy() -> Blas:
    return Blas("scipy", version("scipy"), _addresses_of_scipy, _one_thread_of_scipy)


@cache
def _addresses_of_scipy() -> tuple[int, int]:
    capsules = _cython_blas().__pyx_capi__
    return _address_in(capsules["sgemm"]), _address_in(capsules["dgemm"])


def _cython_blas() -> Any:
    """SciPy's table of BLAS functions, without the rest of scipy.linalg, which takes longer to load."""
    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        return sys.modules[name]
    import scipy

    folder = Path(scipy.__file__).parent / "linalg"
    path = next((p for s in EXTENSION_SUFFIXES if (p := folder / f"cython_blas{s}").exists()), None)
    if path is None:
        import scipy.linalg.cython_blas

        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=ExtensionFileLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sys.modules.setdefault(name, module)


def _address_in(capsule: Any) -> int:
    """What a capsule of Python holds."""
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer_of(capsule, name_of(capsule)))


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    _addresses_of_scipy()  # the library must be loaded before it is looked for
    return ThreadpoolController()


def _one_thread_of_scipy() -> AbstractContextManager[Any]:
    limit: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limit


def _problem_of_mkl() -> str | None:
    """Why MKL cannot be used; None where it can."""
    try:
        found = version("mkl")
    except PackageNotFoundError:
        return "the package mkl is not installed"
    numbers = tuple(int(n) for n in re.findall(r"\d+", found)[:2])
    if numbers < _OLDEST_MKL:
        return f"mkl {found} is too old ({'.'.join(map(str, _OLDEST_MKL))} or newer is needed)"
    try:
        _mkl()
    except OSError as problem:
        return f"mkl {found} cannot be loaded: {problem}"
    return None


@cache
def _mkl() -> Blas:
    wanted = re.compile(r"(lib)?mkl_rt(\.\d+)?\.(so(\.\d+)?|dll|dylib)")
    path = next((f.locate() for f in files("mkl") or [] if wanted.fullmatch(f.name)), None)
    if path is None:
        raise OSError("its library mkl_rt is not where it was installed")
    library = ctypes.CDLL(str(path))
    library.MKL_Set_Threading_Layer(1)  # sequential: the threads are those of the kernel
    library.MKL_Set_Interface_Layer(0)  # 32-bit integers
    sgemm, dgemm = (ctypes.cast(getattr(library, n), ctypes.c_void_p).value or 0 for n in ("sgemm", "dgemm"))
    return Blas("mkl", version("mkl"), lambda: (sgemm, dgemm), nullcontext)
