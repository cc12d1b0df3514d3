"""``backpass train``: from data to a tested network and its run folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from backpass import defaults
from backpass.cli import example, words
from backpass.cli.data_options import DataOptions, fraction_or_file
from backpass.cli.going import go_on
from backpass.cli.net_options import LearnOptions, NetOptions, training_rows
from backpass.cli.options import FLAG, WHOLE, check_whole, default
from backpass.cli.output import Output
from backpass.cli.places import RUNS, is_run
from backpass.cli.progress import Bar
from backpass.cli.result import finish, result, stopped, told_divergence
from backpass.cli.signals import Stop
from backpass.cli.streamed import where
from backpass.errors import BackpassError, NonFinite, UsageError

if TYPE_CHECKING:
    from backpass.data import Dataset
    from backpass.record.folder import RunFolder
    from backpass.run import Run
    from backpass.running.loop import Progress

_DATA, _LEARNING = Group("Data", sort_key=1), Group("Learning", sort_key=3)
Auto = Literal["auto", "reference", "compiled"]


def train(
    data: str | None = None,
    /,
    *,
    table: DataOptions | None = None,
    validation: Annotated[str | None, Parameter(group=_DATA), default(defaults.VALIDATION)] = None,
    test: Annotated[
        str | None, Parameter(group=_DATA), default(f"{defaults.TEST}, or the source's own test rows")
    ] = None,
    rows: Annotated[str | None, Parameter(group=_DATA), default("all")] = None,
    net: NetOptions | None = None,
    learning: LearnOptions | None = None,
    batch: Annotated[int, Parameter(group=_LEARNING), WHOLE] = defaults.BATCH,
    epochs: Annotated[
        int | None,
        Parameter(group=_LEARNING),
        WHOLE,
        default(f"{defaults.EPOCHS}, or as many as make {defaults.STEPS:,} steps"),
    ] = None,
    patience: Annotated[
        int | None, Parameter(group=_LEARNING), WHOLE, default("a fifth of the epochs, at least 10")
    ] = None,
    time_limit: Annotated[str | None, Parameter(group=_LEARNING)] = None,
    class_weight: Annotated[Literal["balanced"] | None, Parameter(group=_LEARNING)] = None,
    start: Annotated[str | None, Parameter(group=_LEARNING)] = None,
    resume: str | None = None,
    seed: Annotated[int, WHOLE] = 0,
    executor: Auto = "auto",
    record_mb: float = defaults.RECORD_MB,
    out: Annotated[str | None, default(f"{RUNS}/<name>-<number>")] = None,
    json: Annotated[bool, FLAG] = False,
    quiet: Annotated[bool, FLAG] = False,
) -> None:
    """Train a network and test it on rows that it has not seen.

    The run is kept in a folder with a report to look at: every step of it can be visited and asked about
    afterwards. Ctrl-C stops after the step at hand and keeps the run so far; a second one leaves at once.

    Parameters
    ----------
    data
        A table (CSV, TSV, Parquet, JSON lines), with --target; a folder of images, a sub-folder for each
        class; an .npz file with X and y; a folder with the four MNIST files; or a bundled name, as digits.
    validation
        Part of the rows held out to watch the training, or a file with rows of their own.
    test
        Part of the rows held out for the end, or a file with rows of their own.
    rows
        Train on so many rows only. Several numbers, as in 100,300,1000,all, train once for each and draw how
        the result grows with the data.
    batch
        Rows of a step.
    epochs
        How often all training rows are used.
    patience
        Epochs without a better validation loss, after which the training stops; the best weights are kept. 0
        trains to the end and keeps the last.
    time_limit
        Seconds after which the training ends; or as in 5m, 1h.
    class_weight
        Let all classes count the same, however many rows they have.
    start
        A run whose weights to start from.
    resume
        A run that was stopped or killed, instead of data: it goes on in its own folder, and becomes the run
        that it would have been. Of the other options only --time-limit, --json and --quiet go with it.
    seed
        Fixes the weights to start from, which rows are held out, and the order of rows.
    executor
        What computes the steps; auto compiles where it pays.
    record_mb
        Megabytes of checkpoints that the run may keep: the more, the quicker any step can be visited. 0 keeps
        only the start and the end.
    out
        A new folder for the run.
    json
        Print one object with the result as the last line of standard output.
    quiet
        Print only the run folder.
    """
    output = Output(json, quiet)
    if resume is not None:
        counted_ = {"batch": batch, "seed": seed, "executor": executor, "record-mb": record_mb}
        usual = {"batch": defaults.BATCH, "seed": 0, "executor": "auto", "record-mb": defaults.RECORD_MB}
        given = {
            "validation": validation, "test": test, "rows": rows, "epochs": epochs, "patience": patience,
            "class-weight": class_weight, "start": start, "out": out,
        } | {name: value if value != usual[name] else None for name, value in counted_.items()}  # fmt: skip
        go_on(output, data, resume, _seconds(time_limit), given, (table, net, learning))
        return
    if data is None:
        raise UsageError(
            f"something is missing after train. For example:\n{example('train')}\n"
            "  All options: backpass train --help"
        )
    if is_run(data):
        raise UsageError(f"{data} is a run, and train takes data.\n  To use the run: backpass show {data}")
    for name, value, least in (("--batch", batch, 1), ("--epochs", epochs, 1), ("--seed", seed, 0)):
        check_whole(name, value, least)
    check_whole("--patience", patience, 0)
    held, validation_file = fraction_or_file("--validation", validation)
    tested, test_file = fraction_or_file("--test", test)
    counts = _counts(rows)
    with Stop() as stop:
        from backpass.fit import train as fit
        from backpass.training.stopping import EarlyStopping

        net, learning = net or NetOptions(), learning or LearnOptions()
        limit = _seconds(time_limit)
        dataset = (table or DataOptions()).load(data, test=test_file, validation=validation_file)
        optimiser = learning.optimiser(small=bool(dataset.suggests))
        few = len(dataset) < defaults.FEW  # a truth table, say: all of its rows are to be learned
        if held is None and dataset.validation is None:
            held = 0.0 if few else defaults.VALIDATION
        if tested is None and dataset.test is None:
            tested = 0.0 if few else defaults.TEST
        known = None
        if start is not None:
            from backpass.cli.places import open_run

            known = open_run(start)

        def one(folder: RunFolder, count: int | None, begun: Callable[[Run], None], bar: Bar) -> Run:
            def stepped(event: Progress) -> None:
                bar.show(event)
                stop.check()

            many = count or training_rows(dataset, held, tested)
            planned, penalties = (
                epochs or defaults.epochs_for(many, batch),
                learning.penalties(many, small=bool(dataset.suggests)),
            )
            rule = None
            if patience != 0 and (held or dataset.validation is not None):
                rule = EarlyStopping(patience or defaults.patience_for(planned))
            return fit(
                lambda preparation: net.network(preparation, dataset.suggests, learning.loss),
                dataset,
                loss=learning.loss,
                optimizer=optimiser,
                batch=batch,
                epochs=planned,
                rows=count,
                seed=seed,
                validation=held,
                test=tested,
                dtype=net.dtype or "f32",
                executor=executor,
                out=folder,
                stop=rule,
                time_limit=limit,
                l1=penalties["l1"],
                l2=penalties["l2"],
                class_weight=class_weight,
                start=known,
                record_mb=record_mb,
                begun=begun,
                progress=stepped,
            )

        if len(counts) > 1:
            from backpass.cli.train_rows import check_counts, train_rows

            check_counts(dataset, counts, held, tested, seed)
            train_rows(output, dataset, counts, one, stop, out)
            return
        with Bar(output) as bar, new_folder(out, dataset.name) as folder:

            def begun(run: Run) -> None:
                bar.pause()
                announce(output, dataset, run)
                bar.resume()
                stop.stepping = True

            try:
                run = one(folder, counts[0], begun, bar)
            except KeyboardInterrupt as error:
                bar.close()
                raise stopped(getattr(error, "run", None), folder.path, stop.code) from None
            except NonFinite as error:
                told_divergence(error, folder.path)
                raise
            except BackpassError as error:
                # The disk is full, say: what is on it is whole, and it is worth saying where.
                if (Path(folder.path) / "run.json").exists():
                    error.add_note(f"  The run up to there is in {folder.path}")
                raise
        stop.stepping = False
        stop.told = f"while it was judged; the training is done, and is kept in {folder.path}"
        finish(output, run, _command())
        told = result(run) if json else {}
    if json:
        output.result(told)
    elif quiet:
        output.program(str(run.path))


# ---- what was asked for


def _counts(written: str | None) -> list[int | None]:
    """``--rows 100,300,all`` as numbers; None stands for all.

    Examples
    --------
    >>> _counts("100,1_000,all"), _counts(None)
    ([100, 1000, None], [None])
    """
    found: list[int | None] = []
    for word in (written or "all").split(","):
        plain = word.strip().replace("_", "").lower()
        if plain == "all":
            found.append(None)
        elif plain.isascii() and plain.isdecimal() and int(plain) > 0:
            found.append(int(plain))
        else:
            raise UsageError(
                f"--rows {written}: {word.strip()!r} is not a number of rows.\n"
                "  Write one number, or several with commas between them, as in 100,300,1000,all."
            )
    if len(set(found)) < len(found):
        raise UsageError(f"--rows {written} has a number twice.")
    return found


def _seconds(written: str | None) -> float | None:
    """A time as it is written on the command line.

    Examples
    --------
    >>> _seconds("90"), _seconds("1.5m"), _seconds("2h")
    (90.0, 90.0, 7200.0)
    """
    if written is None:
        return None
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    text = written.strip().lower()
    unit = units.get(text[-1:], 0.0)
    try:
        value = float(text[:-1] if unit else text) * (unit or 1.0)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UsageError(f"--time-limit is a time such as 90, 5m or 1h; got {written}")
    return value


def _command() -> str:
    """What was typed, for the report."""
    import shlex
    import sys

    return shlex.join(["backpass", *sys.argv[1:]]) if len(sys.argv) > 1 else ""


# ---- before


def announce(output: Output, dataset: Dataset, run: Run, several: str = "") -> None:
    """What is about to happen: the data and what was done to them, the network, the plan.

    `several` says on how many rows, where the network is trained on more than one number of them.
    """
    settings, preparation = run.settings, run.preparation
    output.field("data", words.data(dataset))
    if streamed := where(run):
        output.field("streamed", streamed)
    for number, line in enumerate(preparation.summary()):
        output.field("prepared" if number == 0 else "", line)
    counts = [f"{several or f'{settings.data.rows:,}'} to train on"]
    counts += [
        f"{len(run.parts[part][0]):,} {what}"
        for part, what in (("validation", "to watch it (validation)"), ("test", "for the test at the end"))
        if part in run.parts
    ]
    output.field("rows", ", ".join(counts) if len(counts) > 1 else f"{counts[0]}, none held out")
    loss = words.LOSSES.get(str(settings.loss), words.named(settings.loss))
    output.field(
        "network", f"{words.network(settings)}, {words.weights(run.graph):,} weights and biases, loss {loss}"
    )
    each = words.counted(-(-settings.data.rows // settings.batch), "step")
    plan = f"{words.counted(settings.epochs, 'epoch')} of {each} of {words.counted(settings.batch, 'row')}, "
    learns = f"{words.optimiser(settings.optimiser, run.record.number_values)}, seed {settings.seed}"
    output.field("training", learns if several else plan + learns)
    if settings.stop is not None:
        patience = settings.stop["patience"]
        waits = f"stops after {words.counted(patience, 'epoch')} without a better validation loss, and "
        never = several or patience >= settings.epochs
        output.field("", ("" if never else waits) + "keeps the best weights")
    if not several:
        output.field("executor", f"{settings.executor}: {settings.executor_why}")
    for warning in preparation.warnings:
        output.note(f"note: {warning}")


@contextlib.contextmanager
def new_folder(out: str | None, name: str) -> Iterator[RunFolder]:
    """A new run folder; it goes again if the run never begins."""
    from backpass.record.folder import RunFolder

    folder = RunFolder.next(RUNS, name) if out is None else RunFolder.create(Path(out).expanduser())
    try:
        yield folder
    finally:
        if not (folder.path / "run.json").exists():
            with contextlib.suppress(OSError):  # not empty, or not ours to remove
                (folder.path / "checkpoints").rmdir()
                folder.path.rmdir()
                if out is None:
                    RUNS.rmdir()
