"""Which of the things on disk is meant: a run, or data."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from backpass.errors import RecordError

if TYPE_CHECKING:
    from backpass.run import Run

#: Where runs go unless --out says otherwise.
RUNS = Path("runs")
_MARKS = ("run.json", "graph.json", "record.sqlite", "checkpoints")
_SHOWN = 5


def is_run(spec: str) -> bool:
    """Whether a folder is a run, whole or torn."""
    path = Path(spec).expanduser()
    try:
        return path.is_dir() and any((path / mark).exists() for mark in _MARKS)
    except OSError:
        return False


def open_run(spec: str) -> Run:
    """Read a run folder, or say which there are."""
    from backpass.run import load

    if not is_run(spec):
        raise RecordError(_no_run(spec))
    return load(Path(spec).expanduser())


def run_or_data(spec: str) -> bool:
    """Whether `spec` is a run (True) or is to be read as data (False).

    Raises
    ------
    RecordError
        It is neither, and it looks like the name of a run.
    """
    if is_run(spec):
        return True
    path = Path(spec).expanduser()
    if not os.path.lexists(path) and spec != "digits":
        runs = _runs_near(path)
        if runs and (path.parent.name == RUNS.name or _close(path, runs)):
            raise RecordError(_no_run(spec))
    return False


def _no_run(spec: str) -> str:
    path = Path(spec).expanduser()
    what = f"{spec} is not a run folder" if os.path.lexists(path) else f"there is no run folder {spec}"
    runs = _runs_near(path)
    if not runs:
        return f"{what}, and there are no runs in {RUNS}.\n  Train one first: backpass train digits"
    close = _close(path, runs)
    hint = f"Did you mean {close[0]}? " if close else ""
    if close and len(runs) == 1:
        return f"{what}. Did you mean {close[0]}?"
    more = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
    return f"{what}. {hint}There {'is' if len(runs) == 1 else 'are'}: {', '.join(runs[-_SHOWN:])}{more}"


def _close(path: Path, runs: list[str]) -> list[str]:
    names = {Path(run).name: run for run in runs}
    return [names[name] for name in difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)]


def _runs_near(path: Path) -> list[str]:
    """The runs beside a path, or else in the usual place, in the order of their numbers."""
    for folder in (path.parent, RUNS):
        try:
            found = [str(p) for p in folder.iterdir() if is_run(str(p))]
        except OSError:
            continue
        if found:
            return sorted(
                found, key=lambda name: [int(w) if w.isdecimal() else w for w in re.split(r"(\d+)", name)]
            )
    return []
