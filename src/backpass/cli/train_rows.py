"""``backpass train --rows 100,300,1000,all``: how the result grows with the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backpass.cli import words
from backpass.cli.output import Output, duration
from backpass.cli.places import RUNS
from backpass.cli.progress import Bar
from backpass.cli.result import COLUMNS, cells, result, shown_part, stopped, told_divergence
from backpass.cli.signals import Stop
from backpass.cli.train import announce
from backpass.errors import NonFinite, StorageError, UsageError

if TYPE_CHECKING:
    from backpass.data import Dataset
    from backpass.record.folder import RunFolder
    from backpass.run import Run

Trainer = Callable[["RunFolder", "int | None", "Callable[[Run], None]", Bar], "Run"]


def check_counts(
    dataset: Dataset, counts: Sequence[int | None], held: float | None, tested: float | None, seed: int
) -> None:
    """Refuse more rows than there are, before the first training and not after some."""
    from backpass.record.rows import parts_of

    there = len(parts_of(dataset, held, tested, seed)["train"])
    most = max(count or 0 for count in counts)
    if most > there:
        raise UsageError(
            f"--rows {most} is not possible: there are {there:,} rows to train on, the others are held out.\n"
            "  Write all for all of them, as in --rows 100,300,all."
        )


def train_rows(
    output: Output,
    dataset: Dataset,
    counts: Sequence[int | None],
    train: Trainer,
    stop: Stop,
    out: str | None,
) -> None:
    """Train once for each number of rows, tell how it went, and draw the curve.

    All trainings have the same held-out rows, and the rows of a smaller one are among those of a larger.
    """
    from backpass.record.folder import RunFolder

    parent = _new(out, f"{dataset.name}-rows")
    done: list[Run] = []
    ordered = sorted(counts, key=lambda c: float("inf") if c is None else c)
    several = ", ".join("all" if count is None else f"{count:,}" for count in ordered)
    for count in ordered:
        rows = "all" if count is None else f"{count:,}"
        with Bar(output, f"{rows} rows, ") as bar:

            def begun(run: Run, bar: Bar = bar) -> None:
                if not done:
                    bar.pause()
                    announce(output, dataset, run, several)
                    bar.resume()
                stop.stepping = True

            folder = RunFolder.create(parent / ("all" if count is None else str(count)))
            try:
                done.append(train(folder, count, begun, bar))
            except KeyboardInterrupt as error:
                bar.close()
                raise stopped(getattr(error, "run", None), folder.path, stop.code) from None
            except NonFinite as error:
                told_divergence(error, folder.path)
                raise
        stop.stepping = False
        stop.told = f"after {words.counted(len(done), 'training')}; they are kept in {parent}"
    task, part = done[0].settings.data.task, shown_part(done[0])
    output.say()
    head = ["training rows", *(f"{heading} ({part})" for _, heading in COLUMNS[task]), "steps", "time"]
    output.table(
        head,
        [
            [
                f"{run.settings.data.rows:,}",
                *cells(run.scores[part], COLUMNS[task]),
                f"{run.steps:,}",
                duration(run.record.outcome.seconds),
            ]
            for run in done
        ],
    )
    picture = _drawn(done, dataset.name, parent)
    output.say()
    output.say(f"The runs are in {parent}, each in a folder of its own; to look at the curve, open {picture}")
    if output.json:
        output.result(
            {
                "folder": str(parent),
                "picture": str(picture),
                "rows": [run.settings.data.rows for run in done],
                "runs": [result(run) for run in done],
            }
        )
    elif output.quiet:
        output.program(str(parent))


def _new(out: str | None, name: str) -> Path:
    """A new folder for several runs."""
    if out is None:
        taken = (RUNS / f"{name}-{number}" for number in range(1, 1_000_000))
        path = next(p for p in taken if not p.exists())
    else:
        path = Path(out).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=False)
    except FileExistsError:
        raise StorageError(f"{path} is there already; name another folder") from None
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror}. Name another one.") from None
    return path


def _drawn(done: Sequence[Run], name: str, parent: Path) -> Path:
    from backpass.report import plot_rows

    results: list[dict[str, Any]] = [
        {"rows": run.settings.data.rows, **{part: _figures(run, part) for part in run.parts}} for run in done
    ]
    path = parent / "learning-curve.html"
    plot_rows(results, name).save(path)
    return path


def _figures(run: Run, part: str) -> dict[str, float]:
    """The figures of a part that a curve can show."""
    found = {**run.scores[part], **run.metrics[part]}
    return {key: value for key, value in found.items() if isinstance(value, float)}
