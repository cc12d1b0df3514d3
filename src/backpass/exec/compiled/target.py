"""The processor that kernels are made for."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import llvmlite.binding as llvm


@cache
def features() -> str:
    """What the processor can do, as LLVM spells it."""
    return str(llvm.get_host_cpu_features().flatten())


@cache
def _has() -> frozenset[str]:
    return frozenset(f[1:] for f in features().split(",") if f.startswith("+"))


def vector_bytes() -> int:
    """Bytes in a vector."""
    return 64 if "avx512f" in _has() else 32 if "avx2" in _has() else 16


def vector_registers() -> int:
    """How many vectors the processor holds."""
    return 32 if _has() & {"avx512f", "neon"} else 16


def fused() -> bool:
    """Whether it has fused multiply-add; all 64-bit ARM processors have."""
    return "fma" in _has() or "neon" in _has()


def processor() -> str:
    """Its name for LLVM."""
    return str(llvm.get_host_cpu_name())


@cache
def machine() -> Any:
    """LLVM's view of it, which writes native code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    relocation = "default" if sys.platform == "win32" else "pic"
    return target.create_target_machine(
        cpu=processor(), features=features(), opt=3, reloc=relocation, codemodel="jitdefault", jit=True
    )
