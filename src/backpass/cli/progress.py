"""How far a training is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from backpass.cli.output import Output, duration
from backpass.cli.words import quick_score

if TYPE_CHECKING:
    from backpass.running.loop import Progress

#: Seconds between plain lines, where no terminal shows a bar.
_LINE_SECONDS = 2.0


class Bar:
    """A bar on a terminal, plain lines elsewhere; both on standard error."""

    def __init__(self, output: Output, before: str = "") -> None:
        self.output, self.before = output, before
        self.bar: Any = None
        self.shown = ""  # the last validation score
        self.spoke = time.monotonic()

    def __enter__(self) -> Bar:
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
            self.shown = f"validation {quick_score(event.validation)}"
        left = event.seconds / event.step * (event.steps - event.step)
        told = [f"step {event.step:,}/{event.steps:,}", f"cost {event.cost:.4f}", self.shown]
        told = [word for word in told if word] + [f"{duration(left)} left"]
        now = min(event.epoch + (event.step < event.steps), event.epochs)
        epoch = f"{self.before}epoch {now:,}/{event.epochs:,}"
        if self.bar is not None:
            self.bar.update(
                self.task, description=epoch, total=event.steps, completed=event.step, words="  ".join(told)
            )
        elif time.monotonic() - self.spoke >= _LINE_SECONDS:
            self.spoke = time.monotonic()
            self.output.console(stderr=True).print("  ".join([epoch, *told]))


class Waiting:
    """A bar while a question is worked out, where that takes more than a moment.

    Parameters
    ----------
    output : Output
    words : str
        What is done meanwhile.
    """

    def __init__(self, output: Output, words: str) -> None:
        self.output, self.words = output, words
        self.bar: Any = None
        self.announced = False

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(self, done: int, total: int, seconds: float | None = None) -> None:
        """So many of `total` steps are done; `seconds` is what all of them take."""
        if self.output.quiet:
            return
        console = self.output.console(stderr=True)
        about = f", about {duration(seconds)}" if seconds is not None else ""
        if not console.is_terminal:
            if not self.announced:
                console.print(f"{self.words}: {total:,} steps{about}")
            self.announced = True
            return
        if self.bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
                TextColumn("steps"), TimeRemainingColumn(), console=console, transient=True,
            )  # fmt: skip
            self.task = self.bar.add_task(f"{self.words}{about}", total=total)
            self.bar.start()
        self.bar.update(self.task, total=total, completed=done)


class Shares:
    """A bar for work that says itself how far it is: a share of it, and words.

    Parameters
    ----------
    output : Output
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        self.bar: Any = None
        self.spoke = time.monotonic()

    def __enter__(self) -> Shares:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(self, share: float, words: str) -> None:
        """`share` of it is done, from 0 to 1; `words` say what is done now."""
        if self.output.quiet:
            return
        console = self.output.console(stderr=True)
        if not console.is_terminal:
            if time.monotonic() - self.spoke >= _LINE_SECONDS:
                self.spoke = time.monotonic()
                console.print(f"{share:.0%}  {words}")
            return
        if self.bar is None:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn(),
                TextColumn("{task.description}"), console=console, transient=True,
            )  # fmt: skip
            self.task = self.bar.add_task(words, total=1.0)
            self.bar.start()
        self.bar.update(self.task, completed=share, description=words)
