"""What is said of a table that is larger than the memory budget: where it lies, and what memory it took."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backpass.run import Run


def where(run: Run) -> str:
    """Where the rows of a run lie, if in files; else ""."""
    from backpass.data import cache, mapped
    from backpass.data.budget import memory_budget

    if not any(mapped.in_file(array) for pair in run.parts.values() for array in pair):
        return ""
    folder = cache.cache_folder()
    there = size(cache.size_of(run.settings.data.source))
    return f"from {folder} ({there}): more than the {size(memory_budget())} that data may take in memory"


def parts_scored(run: Run) -> str:
    """Which parts the figures are of a sample of; "" for none."""
    found = [(part, x["rows"], x["of"]) for part, x in run.scores.items() if "of" in x]
    told = ", ".join(f"{rows:,} of the {of:,} {part} rows" for part, rows, of in found)
    return f"the figures are those of {told}, drawn by the seed" if told else ""


def peak() -> str:
    """The most memory that this process has had, pages of files included; "" where that is not known."""
    try:
        import resource
    except ImportError:  # not on Windows
        return ""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size(most if sys.platform == "darwin" else most * 1024)


def size(count: int) -> str:
    """Bytes in words.

    Examples
    --------
    >>> size(2_012_963_989), size(1_000_000_000), size(51_200)
    ('2.01 GB', '1.00 GB', '51 kB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.2f} {unit}" if unit == "GB" else f"{count / factor:.0f} {unit}"
    return f"{count / 1e3:.0f} kB"
