"""Which promise a replay can keep here: whether this machine calculates the bits that the run had.

===== ========================================================= ==========================================
level here is                                                   promised
===== ========================================================= ==========================================
L1    what the run had: versions, processor, BLAS               every number, bit for bit
L4    another processor, for kernels that do not depend on it   every number, bit for bit; `verify` shows it
L5    anything else                                             the same within rounding, which grows
===== ========================================================= ==========================================

L0 (twice in a process) and L2 (stopped and resumed) are L1 as far as the machine is concerned; tests hold all
three. L3 is for runs on several machines, which there are none of yet.

What decides bits:

- The versions of backpass, and of LLVM (llvmlite) for kernels, of NumPy for the reference executor.
- The reference executor is NumPy: its BLAS chooses kernels by the processor and cuts products by threads, and
  its functions have versions for vectors of several widths.
- A kernel that calls BLAS depends on that BLAS in the same way.
- A kernel with products of its own does not depend on the processor: each entry of a product is one chain
  of fused multiply-adds, whatever the width of a vector (`exec/compiled/products.py`); sums run in the order
  of the program, LLVM may not reorder them (no fast-math), and exp, log, tanh are compiled in. Assumed is
  that the processor has fused multiply-add; x86 without AVX2 has not. Nor does it depend on the number of
  threads.
- How many threads a replay uses is what the run used, on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backpass.exec.machine import cpu_name, library_name, versions
from backpass.record.settings import Settings

OWN = "products of its own"  #: what a loop calls its BLAS where it has none

#: Versions that count, by executor.
_COUNT = {"compiled": ("backpass", "llvmlite"), "reference": ("backpass", "numpy")}


@dataclass(frozen=True)
class Promise:
    """What a replay on this machine is worth.

    Attributes
    ----------
    level : {"L1", "L4", "L5"}
    bitwise : bool
        Whether it is bit-equal to the run.
    words : str
        Why, in a sentence or two.
    """

    level: Literal["L1", "L4", "L5"]
    bitwise: bool
    words: str


def promise(settings: Settings, blas: str | None = None) -> Promise:
    """Compare the machine of a run with this one.

    Parameters
    ----------
    settings : Settings
        Of the run.
    blas : str, optional
        What calculates the products of its loop here (`Loop.blas_name`), where a loop is at hand; else it is
        taken to call BLAS just where the run did.

    Returns
    -------
    Promise
    """
    then, here = settings.machine, versions()
    compiled = settings.executor == "compiled"
    if blas is None:
        blas = OWN if then.blas == OWN else _blas_here(compiled)
    names = _COUNT["compiled" if compiled else "reference"]
    parted = [
        f"{name} {then.versions.get(name, '(unknown)')} then, {here.get(name, '(none)')} now"
        for name in names
        if then.versions.get(name) != here.get(name)
    ]
    parted += [f"{then.blas} then, {blas} now"] if then.blas != blas else []
    other = then.cpu != cpu_name()
    own = compiled and then.blas == blas == OWN
    if other and not own:
        parted.append(f"{then.cpu} then, {cpu_name()} now")
    if parted:
        return Promise(
            "L5",
            False,
            f"This run was computed with other means than there are here ({'; '.join(parted)}), so what is "
            "computed again is the same only within rounding, which can grow with the steps (level L5).",
        )
    if not other:
        return Promise(
            "L1",
            True,
            "Versions, processor and BLAS are those of the run: what is computed again is bit-equal "
            "(level L1).",
        )
    if not _fused():
        return Promise(
            "L5",
            False,
            f"This processor ({cpu_name()}) has no fused multiply-add, as that of the run has ({then.cpu}), "
            "so what is computed again is the same only within rounding (level L5).",
        )
    return Promise(
        "L4",
        True,
        f"The run was computed on another processor ({then.cpu}). Its kernels have products of their own, "
        "whose order does not depend on it, so what is computed again is bit-equal if both have fused "
        "multiply-add (level L4); backpass replay RUN --verify shows whether it is.",
    )


def _blas_here(compiled: bool) -> str:
    """The BLAS that an executor would call."""
    if not compiled:
        return library_name("numpy")
    from backpass.exec.compiled import blas

    return library_name(blas.chosen().name)


def _fused() -> bool:
    """Whether this processor has fused multiply-add."""
    from backpass.exec.compiled import target

    return target.fused()
