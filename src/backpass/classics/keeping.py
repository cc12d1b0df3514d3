"""Where a recipe keeps its runs: in a folder that somebody asked for, so that they can be questioned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_FOLDER: ContextVar[Path | None] = ContextVar("folder of the classics' runs", default=None)


@contextmanager
def keeping(folder: Path | None) -> Iterator[None]:
    """Let recipes keep their runs in a folder; None keeps none."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def kept(name: str) -> Path | None:
    """The folder for a run of a recipe, for ``bp.train(..., out=kept("seed 1"))``; None if none is kept.

    Where there is one of that name, a number is added to the new one.

    Examples
    --------
    >>> print(kept("seed 1"))
    None
    >>> with keeping(Path("runs/sonar")):
    ...     print(kept("H = 2, seed 1").as_posix())
    runs/sonar/h-2-seed-1
    """
    folder = _FOLDER.get()
    if folder is None:
        return None
    plain = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
    path, number = folder / plain, 2
    while path.exists():
        path, number = folder / f"{plain}-{number}", number + 1
    return path
