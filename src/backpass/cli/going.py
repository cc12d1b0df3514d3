"""A run that goes on from a step of its own or of another: what is shown meanwhile, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backpass.cli.output import Output
from backpass.cli.places import is_run, open_run
from backpass.cli.progress import Bar
from backpass.cli.result import finish, result, stopped, told_divergence
from backpass.cli.signals import Stop
from backpass.errors import BackpassError, NonFinite, UsageError

if TYPE_CHECKING:
    from backpass.record.folder import RunFolder
    from backpass.run import Run
    from backpass.running.loop import Progress

    Go = Callable[[Callable[[Run], None], Callable[[Progress], None]], Run]


def continued(output: Output, folder: RunFolder, go: Go, announce: Callable[[Run], None]) -> None:
    """Have a run go on, show how far it is, and say how it ended, as train does.

    Parameters
    ----------
    output : Output
    folder : RunFolder
        Where it is written.
    go : callable
        Runs it, given what to call before the first step and on the way.
    announce : callable
        Says what is about to happen.
    """
    from backpass.cli.train import _command

    with Stop() as stop:

        def stepped(event: Progress) -> None:
            bar.show(event)
            stop.check()

        def begun(run: Run) -> None:
            bar.pause()
            announce(run)
            for note in run.record.outcome.notes:
                output.note(f"note: {note}")
            bar.resume()
            stop.stepping = True

        try:
            with Bar(output) as bar:
                run = go(begun, stepped)
        except KeyboardInterrupt as error:
            raise stopped(getattr(error, "run", None), Path(folder.path), stop.code) from None
        except NonFinite as error:
            told_divergence(error, Path(folder.path))
            raise
        except BackpassError as error:
            if getattr(error, "run", None) is not None:
                error.add_note(f"  The run up to there is in {folder.path}")
            raise
        stop.stepping = False
        stop.told = f"while it was judged; the training is done, and is kept in {folder.path}"
        finish(output, run, _command())
        told = result(run) if output.json else {}
    if output.json:
        output.result(told)
    elif output.quiet:
        output.program(str(run.path))


def go_on(
    output: Output,
    data: str | None,
    spec: str,
    time_limit: float | None,
    given: Mapping[str, object],
    groups: Sequence[object],
) -> None:
    """``backpass train --resume``: go on with a run in its own folder; see `backpass.resume`.

    Parameters
    ----------
    output : Output
    data : str or None
        What stands in the place of the data.
    spec : str
        The run.
    time_limit : float or None
    given : mapping of str to object
        Options of a new training, None where they were not given.
    groups : sequence
        Their groups.
    """
    told = {name: value for name, value in given.items() if value is not None}
    for group in groups:
        chosen = {} if group is None else vars(group)
        told |= {name.replace("_", "-"): value for name, value in chosen.items() if value is not None}
    wrong = "" if data is None else repr(data)
    wrong = wrong or next((f"--{name}" for name in told), "")
    if wrong:
        raise UsageError(
            f"{wrong} goes with a new training; a run that is resumed keeps what it was told.\n"
            f"  To go on with something changed: backpass branch {spec} --at STEP --lr ..."
        )
    if not is_run(spec):
        open_run(spec)  # says which runs there are
    path = Path(spec).expanduser()

    def go(begun: Callable[[Run], None], progress: Callable[[Progress], None]) -> Run:
        import backpass

        return backpass.resume(path, time_limit=time_limit, begun=begun, progress=progress)

    def announce(run: Run) -> None:
        planned = run.record.batches.steps
        output.field("resumed", f"{path}, after step {run.steps:,} of {planned:,}")

    from backpass.record.folder import RunFolder

    continued(output, RunFolder(path), go, announce)
