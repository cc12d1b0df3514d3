"""``backpass report``: the report of a run, one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from backpass.cli.options import FLAG
from backpass.cli.output import Output
from backpass.cli.places import open_run
from backpass.cli.progress import Waiting
from backpass.errors import UsageError


def report(run: str, /, *, out: Path | None = None, json: Annotated[bool, FLAG] = False) -> None:
    """Write the report of a run: one HTML page to hand out or to attach.

    It has what the report after a training has, and always the rows that were hardest to learn: for these,
    every row is followed through the whole run.

    Parameters
    ----------
    run
        A run folder.
    out
        Where to write it; ends in .html. In the run folder, unless told otherwise.
    json
        Print the place of the report as one object as the last line of standard output.
    """
    output = Output(json)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"a report is an HTML page, so --out ends in .html; got {out}")
    found = open_run(run)
    if found.status in ("running", "interrupted", "diverged"):
        output.note(f"note: this run is not finished ({found.status}); it has steps 1 to {found.steps:,}")
    with Waiting(output, "following the rows through the run") as waiting:
        path = found.report(out, progress=waiting.show)
    output.say(f"written: {path}")
    if json:
        output.result({"report": str(path), "status": found.status, "steps": found.steps})
