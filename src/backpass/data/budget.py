"""How much memory data may take."""

from __future__ import annotations

import os
import re

from backpass.errors import UsageError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def memory_budget(given: int | str | None = None) -> int:
    """The bytes that a data set may take in memory; a larger table stays on disk and is streamed.

    Parameters
    ----------
    given : int or str, optional
        Bytes, or a size such as "2GB". By default the environment variable ``BACKPASS_MEMORY``, else a
        quarter of this machine's memory, at most 4 GiB.

    Raises
    ------
    UsageError

    Examples
    --------
    >>> memory_budget("1.5GB")
    1500000000
    """
    given = os.environ.get("BACKPASS_MEMORY") or None if given is None else given
    if given is None:
        try:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):  # no sysconf on this system
            memory = 16 * 2**30
        return int(min(memory // 4, 4 * 2**30))
    size = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", str(given), re.IGNORECASE)
    if not size or isinstance(given, bool):
        raise UsageError(f"a memory budget is a number of bytes or a size such as '2GB', got {given!r}")
    unit = _UNITS[size[2].upper()]
    if size[3]:
        unit = 1024 ** "_KMGT".index(size[2].upper() or "_")
    return int(float(size[1]) * unit)
