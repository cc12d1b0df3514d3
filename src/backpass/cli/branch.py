"""``backpass branch``: a new run that shares the first steps of another and goes its own way from there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from backpass.cli.going import continued
from backpass.cli.options import FLAG, WHOLE, check_whole, default
from backpass.cli.output import Output
from backpass.cli.places import RUNS, open_run
from backpass.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backpass.run import Run
    from backpass.running.loop import Progress


def branch(
    run: str,
    /,
    *,
    at: Annotated[int, WHOLE],
    lr: float | None = None,
    set: list[str] | None = None,
    drop_rows: str | None = None,
    epochs: Annotated[int | None, WHOLE, default("as the run")] = None,
    time_limit: str | None = None,
    out: Annotated[str | None, default(f"{RUNS}/<name>-<number>")] = None,
    json: Annotated[bool, FLAG] = False,
    quiet: Annotated[bool, FLAG] = False,
) -> None:
    """Train on from a step of a run, with something changed, in a run of its own.

    All steps of the new run can be visited and asked about, the shared ones too. Where nothing is changed, it
    is the same run again, bit for bit. If something is, early stopping has its patience anew.

    Parameters
    ----------
    run
        A run folder; it is only read.
    at
        Completed steps that both share; 0 is the start.
    lr
        The learning rate from there on, in place of a schedule too.
    set
        Another number of the program, as in momentum=0.5; can be given several times.
    drop_rows
        Rows to leave out from there on, as numbered in the data, as in 17,40-60; or a file with a number a
        line.
    epochs
        How many epochs the whole is to have, those before --at counted.
    time_limit
        Seconds after which the training ends; or as in 5m, 1h.
    out
        A new folder for the new run.
    json
        Print one object with the result as the last line of standard output.
    quiet
        Print only the run folder.
    """
    from backpass.cli.train import _seconds, new_folder

    output = Output(json, quiet)
    check_whole("--at", at, 0)
    check_whole("--epochs", epochs, 1)
    limit, numbers = _seconds(time_limit), _numbers(set or [], lr)
    rows = _rows(drop_rows)
    found = open_run(run)
    with new_folder(out, found.settings.data.name) as folder:

        def go(begun: Callable[[Run], None], progress: Callable[[Progress], None]) -> Run:
            return found.branch(
                at, lr=lr, numbers=numbers, drop_rows=rows, epochs=epochs, out=folder,
                time_limit=limit, begun=begun, progress=progress,
            )  # fmt: skip

        continued(output, folder, go, lambda new: _announced(output, new, run, at))


def _announced(output: Output, new: Run, spec: str, at: int) -> None:
    fork = new.settings.branches[-1]
    output.field("branch", f"of {spec}, from step {at:,} on")
    changed = [
        f"{name} {value:g}"
        for name, value in new.record.number_values.items()
        if value != new.record.stretches[-2].number(name)
    ]
    changed += [f"without the rows {fork.rows[:80]}"] if fork.rows else []
    changed += [f"{new.settings.epochs:,} epochs" if new.settings.epochs != fork.epochs else ""]
    output.field("changed", ", ".join(filter(None, changed)) or "nothing: it is the same run again")


def _numbers(written: list[str], lr: float | None) -> dict[str, float]:
    """``--set momentum=0.5`` as a number by name."""
    found: dict[str, float] = {}
    for word in written:
        name, equals, value = (part.strip() for part in word.partition("="))
        try:
            number = float(value)
        except ValueError:
            number, equals = 0.0, ""
        if not equals or not name:
            raise UsageError(
                f"--set {word} is not a number by its name.\n  Write it as in --set momentum=0.5"
            )
        if name in found or (name == "lr" and lr is not None):
            raise UsageError(f"--set {word}: {name} is given twice.")
        found[name] = number
    return found


def _rows(written: str | None) -> str:
    """``--drop-rows``: as written, or what the file of that name has."""
    if written is None:
        return ""
    path = Path(written).expanduser()
    if not path.is_file():
        if "/" in written or path.suffix:
            raise DataError(f"--drop-rows: there is no file {written}.")
        return written
    text = path.read_text(encoding="utf-8", errors="replace")
    return ",".join(line.strip() for line in text.splitlines() if line.strip())
