"""What the numbers were calculated with: versions, processor, BLAS."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def versions() -> dict[str, str]:
    """Versions of what decides the bits of a result."""
    found = {"python": platform.python_version()}
    for name in ("backpass", "numpy", "scipy", "numba", "llvmlite"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def cpu_name() -> str:
    """The processor, as the system calls it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def blas_name(executor: str) -> str:
    """The BLAS that an executor's matrix products use, with the kernel that it chose for this processor."""
    from threadpoolctl import threadpool_info

    if executor == "compiled":
        import scipy.linalg.cython_blas  # noqa: F401  loads the library that is looked for below

    owner = "scipy" if executor == "compiled" else "numpy"
    for info in threadpool_info():
        if info["user_api"] == "blas" and owner in info["filepath"].replace("\\", "/").lower():
            return f"{info['internal_api']} {info['version']} {info.get('architecture', '')}".strip()
    return "unknown"
