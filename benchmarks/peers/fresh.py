"""What can be seen only in a fresh process: compiling, starting from the cache, and memory.

Run as a module, it is that process: it prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_STARTS = 3
_MEMORY_STEPS = 100

Mode = Literal["cold", "cached", "reference", "memory"]


@dataclass(frozen=True)
class Start:
    """Seconds until the first step of a training is done."""

    case: str
    imports: float  #: with an empty cache: everything that is imported
    compiling: float  #: with an empty cache: the program of the step becomes a kernel
    cached: float  #: in all, with the kernel in the cache; median
    reference: float  #: in all, with the reference executor; median

    @property
    def later(self) -> float:
        return self.cached - self.reference


@dataclass(frozen=True)
class Memory:
    """Megabytes (millions of bytes) at the peak, above what they were with the rows of data in memory."""

    case: str
    data: float
    compiling: float
    cached: float


def starts(case: Any, repeats: int = _STARTS) -> Start:
    with tempfile.TemporaryDirectory(prefix="backpass-peers-") as cache:
        cold = _fresh(case, "cold", cache)
        pairs = [(_fresh(case, "cached", cache), _fresh(case, "reference", cache)) for _ in range(repeats)]
    cached, reference = (statistics.median(r["total"] for r in found) for found in zip(*pairs, strict=True))
    return Start(case.name, cold["imports"], cold["compiling"], cached, reference)


def memory(case: Any) -> Memory:
    with tempfile.TemporaryDirectory(prefix="backpass-peers-") as cache:
        compiling, cached = _fresh(case, "memory", cache), _fresh(case, "memory", cache)
    return Memory(case.name, cached["data"], compiling["above"], cached["above"])


def _fresh(case: Any, mode: Mode, cache: str) -> dict[str, float]:
    from peers.cases import CASES

    benchmarks = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "peers.fresh", mode, str(CASES.index(case))],
        cwd=benchmarks,
        env=os.environ | {"BACKPASS_CACHE": cache, "BACKPASS_BLAS": "scipy"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


# ---- in the fresh process


def _first_step(case: Any, data: dict[str, Any], mode: Mode) -> tuple[float, float]:
    """Seconds of importing (for "cold", all of it) and of making the loop; a step is run."""
    import numpy as np

    began = time.perf_counter()
    from backpass.exec.choose import compile_loop
    from backpass.nn import Network  # noqa: F401
    from backpass.training.step import step_graph  # noqa: F401

    if mode == "cold":  # making the loop would import it, and the two times are to be seen apart
        import backpass.exec.compiled.executor  # noqa: F401
    imported = time.perf_counter()
    step = case.step()
    values = case.network().initial(case.sizes[0], 0, "f32")
    numbers = case.our_optimiser().numbers
    ready = time.perf_counter()
    wanted = "reference" if mode == "reference" else "compiled"
    loop, why = compile_loop(step, data, case.batch, 1_000_000, wanted)
    made = time.perf_counter()
    assert loop.name == wanted, why
    slots = step.inputs_of_kind("state")
    values |= {name: np.zeros(tuple(map(int, n.shape)), np.float32) for name, n in slots.items()}
    loop.load(values)
    steps = _MEMORY_STEPS if mode == "memory" else 1
    order = np.arange(steps * case.batch, dtype=np.int64) % len(data["x"])
    row = [numbers[name] for name in step.inputs_of_kind("number")]
    loop.run(order, np.arange(steps + 1) * case.batch, np.tile(row, (steps, 1)))
    return imported - began, made - ready


def _peak() -> float:
    """The most memory that this process has had, in millions of bytes.

    Linux hands the peak of the parent down in `ru_maxrss`, so the process's own is read there.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def main() -> None:
    from peers.cases import CASES, FEW, MANY, random_rows

    mode: Any = sys.argv[1]
    case = CASES[int(sys.argv[2])]
    data = random_rows(case.sizes[0], case.sizes[-1], MANY if mode == "memory" else FEW)
    rows = {"x": data.X, "t": data.T}
    before, began = _peak(), time.perf_counter()
    imports, compiling = _first_step(case, rows, mode)
    total = time.perf_counter() - began
    megabytes = (data.X.nbytes + data.T.nbytes) / 1e6
    found = {"imports": imports, "compiling": compiling, "total": total}
    print(json.dumps(found | {"data": megabytes, "above": _peak() - before}))


if __name__ == "__main__":
    main()
