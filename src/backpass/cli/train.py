"""``backpass train``: from data to a tested network and its run folder."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from backpass.cli import words
from backpass.cli.options import DEFAULTS, FLAG, WHOLE, NetOptions, check_fraction, check_whole, default
from backpass.cli.output import Output, Stopped, clean, duration, percent
from backpass.cli.places import RUNS, is_run
from backpass.errors import BackpassError, NonFinite, UsageError

if TYPE_CHECKING:
    from backpass.data import Dataset
    from backpass.ir import Graph
    from backpass.run import Run
    from backpass.training.folder import RunFolder
    from backpass.training.loop import Progress
    from backpass.training.settings import Settings

#: Seconds between plain lines of progress, where no terminal shows a bar.
_LINE_SECONDS = 2.0
_SCORES = {"accuracy": "accuracy", "r2": "R²"}


def train(
    data: str,
    /,
    *,
    net: NetOptions | None = None,
    batch: Annotated[int | None, WHOLE, default(DEFAULTS.batch)] = None,
    epochs: Annotated[int | None, WHOLE, default(DEFAULTS.epochs)] = None,
    seed: Annotated[int, WHOLE] = 0,
    validation: Annotated[float | None, default(DEFAULTS.validation)] = None,
    test: Annotated[float | None, default(f"{DEFAULTS.test}, or the source's own test rows")] = None,
    executor: Literal["auto", "reference", "compiled"] = "auto",
    out: Annotated[str | None, default(f"{RUNS}/<name>-<number>")] = None,
    json: Annotated[bool, FLAG] = False,
    quiet: Annotated[bool, FLAG] = False,
) -> None:
    """Train a network and test it on rows that it has not seen.

    The run is kept in a folder: every step of it can be visited and asked about afterwards. Ctrl-C stops
    after the step at hand and keeps the run so far; a second one leaves at once.

    Parameters
    ----------
    data
        digits, an .npz file with X and y, or a folder with the four MNIST files.
    batch
        Rows of a step.
    epochs
        How often all training rows are used.
    seed
        Fixes the weights to start from, which rows are held out, and the order of rows.
    validation
        Part of the rows held out to watch the training.
    test
        Part of the rows held out for the end.
    executor
        What computes the steps; auto compiles where it pays.
    out
        A new folder for the run.
    json
        Print one object with the result as the last line of standard output.
    quiet
        Print only the run folder.
    """
    output = Output(json, quiet)
    if is_run(data):
        raise UsageError(f"{data} is a run, and train takes data.\n  To use the run: backpass show {data}")
    for name, value, least in (("--batch", batch, 1), ("--epochs", epochs, 1), ("--seed", seed, 0)):
        check_whole(name, value, least)
    for name, fraction in (("--validation", validation), ("--test", test)):
        check_fraction(name, fraction)
    with _Stop() as stop:
        from backpass.data import load
        from backpass.fit import train as fit

        net = net or NetOptions()
        optimiser = net.sgd()
        dataset = load(data)
        network = net.network(dataset)
        share = DEFAULTS.validation if validation is None else validation
        held = test
        if held is None and dataset.test is None:
            held = DEFAULTS.test
        parts = _parts(dataset, share, held, seed)
        _announce_data(output, dataset, parts)
        with _Progress(output) as bar:

            def begun(run: Run) -> None:
                _announce_plan(output, run.settings, run.graph, bar)
                stop.stepping = True

            def stepped(event: Progress) -> None:
                bar.show(event)
                stop.check()

            with _new_folder(out, dataset.name) as folder:
                try:
                    run = fit(
                        network,
                        dataset,
                        loss=net.loss,
                        optimizer=optimiser,
                        batch=batch or DEFAULTS.batch,
                        epochs=epochs or DEFAULTS.epochs,
                        seed=seed,
                        validation=share,
                        test=held,
                        dtype=net.dtype or "f32",
                        executor=executor,
                        out=folder,
                        begun=begun,
                        progress=stepped,
                    )
                except KeyboardInterrupt as error:
                    bar.close()
                    raise _stopped(getattr(error, "run", None), folder.path, stop.code) from None
                except NonFinite as error:
                    _explain_divergence(error, folder.path)
                    raise
                except BackpassError as error:
                    # The disk is full, say: what is on it is whole, and it is worth saying where.
                    if (Path(folder.path) / "run.json").exists():
                        error.add_note(f"  The run up to there is in {folder.path}")
                    raise
    _report(output, run, _baseline(dataset, parts))
    if json:
        output.result(_result(run, _baseline(dataset, parts)))
    elif quiet:
        output.program(str(run.path))


# ---- before


def _parts(dataset: Dataset, validation: float, test: float | None, seed: int) -> dict[str, Any]:
    """The labels or quantities of each part."""
    from backpass.training.rows import parts_of

    numbers = parts_of(dataset, validation, test or 0.0, seed)
    parts = {
        name: dataset.y[rows] for name, rows in zip(("train", "validation", "test"), numbers, strict=True)
    }
    if test is None and dataset.test is not None:
        parts["test"] = dataset.test.y
    return parts


def _announce_data(output: Output, dataset: Dataset, parts: dict[str, Any]) -> None:
    output.field("data", words.data(dataset))
    counts = [f"{len(parts['train']):,} to train on"]
    if len(parts["validation"]):
        counts.append(f"{len(parts['validation']):,} to watch it (validation)")
    if len(parts["test"]):
        counts.append(f"{len(parts['test']):,} for the test at the end")
    output.field("rows", ", ".join(counts))


def _announce_plan(output: Output, settings: Settings, step: Graph, bar: _Progress) -> None:
    from backpass.training.optimisers import SGD

    bar.pause()
    layers = words.network(settings.in_features, settings.layers)
    loss = words.LOSSES.get(settings.loss, settings.loss)
    output.field("network", f"{layers}, {words.weights(step):,} weights and biases, loss {loss}")
    numbers = words.optimiser(SGD.from_description(settings.optimiser).numbers)
    each = -(-settings.data.rows // settings.batch)
    output.field(
        "training",
        f"{settings.epochs:,} epochs of {each:,} steps of {settings.batch} rows, {numbers}, "
        f"seed {settings.seed}",
    )
    output.field("executor", f"{settings.executor}: {settings.executor_why}")
    bar.resume()


@contextlib.contextmanager
def _new_folder(out: str | None, name: str) -> Iterator[RunFolder]:
    """A new run folder; it goes again if the run never begins."""
    from backpass.training.folder import RunFolder

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


# ---- meanwhile


class _Stop:
    """Ctrl-C and SIGTERM: the first one asks the training to stop, a second one leaves at once."""

    def __init__(self) -> None:
        self.signal = 0
        self.stepping = False  # then the training is asked; before it, nothing needs to be finished
        self._before: dict[int, Any] = {}

    @property
    def code(self) -> int:
        return 128 + (self.signal or signal.SIGINT)

    def check(self) -> None:
        """Stop here if that was asked for."""
        if self.signal:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            if sys.stderr is not None and sys.stderr.isatty():
                os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # the bar had hidden the cursor
            os._exit(128 + number)
        self.signal = number
        if not self.stepping:
            raise KeyboardInterrupt

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if isinstance(error, KeyboardInterrupt):
            raise Stopped("before the first step; nothing was kept", self.code) from None


class _Progress:
    """A bar on a terminal, plain lines elsewhere; both on standard error."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.bar: Any = None
        self.shown = ""  # the last validation score
        self.spoke = time.monotonic()

    def __enter__(self) -> _Progress:
        console = self.output.console(stderr=True)
        if not self.output.quiet and console.is_terminal:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

            self.bar = Progress(
                SpinnerColumn(finished_text=" "),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[words]}"),
                console=console,
                transient=True,
            )
            self.task = self.bar.add_task("preparing", total=None, words="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def pause(self) -> None:
        """Off, while others write."""
        if self.bar is not None:
            self.bar.stop()

    def resume(self) -> None:
        if self.bar is not None:
            self.bar.start()

    def show(self, event: Progress) -> None:
        """Take in where the run is."""
        if self.output.quiet:
            return
        if event.validation is not None:
            self.shown = f"validation {_score(event.validation)}"
        left = event.seconds / event.step * (event.steps - event.step)
        told = [f"step {event.step:,}/{event.steps:,}", f"cost {event.cost:.4f}", self.shown]
        told = [word for word in told if word] + [f"{duration(left)} left"]
        epoch = f"epoch {min(event.epoch + (event.step < event.steps), event.epochs):,}/{event.epochs:,}"
        if self.bar is not None:
            self.bar.update(
                self.task, description=epoch, total=event.steps, completed=event.step, words="  ".join(told)
            )
        elif time.monotonic() - self.spoke >= _LINE_SECONDS:
            self.spoke = time.monotonic()
            self.output.console(stderr=True).print("  ".join([epoch, *told]))


# ---- after


def _score(metrics: dict[str, float]) -> str:
    """The figure that people look at first."""
    if "accuracy" in metrics:
        return percent(metrics["accuracy"])
    return f"R² {metrics['r2']:.4f}" if "r2" in metrics else f"{metrics['loss']:.4f}"


def _baseline(dataset: Dataset, parts: dict[str, Any]) -> dict[str, Any] | None:
    """How often the most frequent class of the training rows is right."""
    if dataset.task != "classification":
        return None
    import numpy as np

    names, counts = np.unique(parts["train"], return_counts=True)
    common = names[np.argmax(counts)]
    shares = {name: float(np.mean(labels == common)) for name, labels in parts.items() if len(labels)}
    return {"class": common.item() if hasattr(common, "item") else common, "accuracy": shares}


def _report(output: Output, run: Run, baseline: dict[str, Any] | None) -> None:
    metrics = run.metrics
    score = "accuracy" if run.settings.data.task == "classification" else "r2"
    rows = []
    for part, found in metrics.items():
        value = found[score]
        rows.append([part, f"{found['loss']:.4f}", percent(value) if score == "accuracy" else f"{value:.4f}"])
    best = "test" if "test" in metrics else "validation" if "validation" in metrics else "train"
    output.say()
    output.table(["", "loss", _SCORES[score]], rows)
    if baseline is not None:
        share = percent(baseline["accuracy"][best])
        output.say(f"Always answering {baseline['class']}, the most frequent class, is right in {share}.")
    else:
        output.say("R² is 1 for perfect predictions and 0 for always answering the mean.")
    if metrics[best][score] <= (0.02 if baseline is None else baseline["accuracy"][best]):
        output.say("So this network has learned nothing yet.", "yellow")
        output.say("Try another --lr, more --epochs, or columns and quantities scaled to about [-1, 1].")
    output.say()
    output.say(f"{run.steps:,} steps in {duration(run.record.outcome.seconds)}; the run is in {run.path}")
    output.say("Next, for example:")
    for line in _next(run):
        output.say(f"  {line}")


def _next(run: Run) -> list[str]:
    """What to type next, with a weight that has something to say."""
    return [
        f"backpass show {run.path} --backward",
        f"backpass why {run.path} '{_moved(run)}' --step {run.steps}",
        f"backpass predict {run.path} new.npy --out predictions.csv",
    ]


def _moved(run: Run) -> str:
    """The weight of the output layer that has moved most since the start."""
    import numpy as np

    name = f"W{len(run.settings.layers)}"
    moved = np.abs(run.weights[name].astype(np.float64) - run.record.checkpoints[0][name])
    return f"{name}[{','.join(str(int(i)) for i in np.unravel_index(np.argmax(moved), moved.shape))}]"


def _result(run: Run, baseline: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object of ``--json``."""
    settings, batches = run.settings, run.record.batches
    found: dict[str, Any] = {
        "run": str(run.path),
        "status": run.status,
        "task": settings.data.task,
        "data": settings.data.name,
        "network": words.network(settings.in_features, settings.layers),
        "weights": words.weights(run.graph),
        "steps": run.steps,
        "epochs": batches.epoch_of(run.steps) if run.steps < batches.steps else settings.epochs,
        "seconds": round(run.record.outcome.seconds, 6),
        "executor": settings.executor,
        "executor_why": settings.executor_why,
        "seed": settings.seed,
        "metrics": {name: run.metrics.get(name) for name in ("train", "validation", "test")},
    }
    if baseline is not None:
        found["baseline"] = baseline
    return found


def _stopped(run: Run | None, folder: Path, code: int) -> Stopped:
    """A training that was asked to stop."""
    if run is None or not (folder / "run.json").exists():
        return Stopped("before the first step; nothing was kept", code)
    total = run.record.batches.steps
    error = Stopped(
        f"after step {run.steps:,} of {total:,}; these steps are kept in {folder}", code, _result(run)
    )
    scores = [f"{part} {_score(found)}" for part, found in run.metrics.items()]
    if scores and run.steps:
        error.add_note(f"  So far: {', '.join(scores)}")
        error.add_note(f"  Ask it something: backpass why {folder} '{_moved(run)}'")
    return error


def _explain_divergence(error: NonFinite, folder: Path) -> None:
    """Where the run is, and how to look at its last good step."""
    run = getattr(error, "run", None)
    error.add_note(f"  The run up to there is in {folder}")
    details: dict[str, Any] = {"step": error.step, "tensor": error.tensor}
    if run is not None:
        details |= clean(_result(run))
        if run.steps:
            error.add_note(
                f"  Look at its last good step: backpass why {folder} '{_moved(run)}' --step {run.steps}"
            )
    error.details = details  # type: ignore[attr-defined]
