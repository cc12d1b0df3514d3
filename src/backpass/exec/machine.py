"""What the numbers were calculated with: versions, processor, BLAS."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def versions() -> dict[str, str]:
    """Versions of what decides the bits of a result."""
    found = {"python": platform.python_version()}
    for name in ("backpass", "numpy", "scipy", "llvmlite"):
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
def library_name(owner: str) -> str:
    """The BLAS of "numpy" or "scipy", with the kernel that it chose for this processor, or "mkl"."""
    if owner == "mkl":
        return f"mkl {version('mkl')}"
    from threadpoolctl import threadpool_info

    for info in threadpool_info():
        folders = info["filepath"].replace("\\", "/").lower().split("/")[:-1]
        if info["user_api"] == "blas" and any(f.startswith(owner) for f in folders):
            return f"{info['internal_api']} {info['version']} {info.get('architecture', '')}".strip()
    return "unknown"
