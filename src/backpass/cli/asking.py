"""What the commands that ask a run share: which step, in which form the answer comes, and its exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import Parameter

from backpass.cli.options import FLAG, WHOLE, default
from backpass.cli.output import Output
from backpass.cli.places import open_run
from backpass.cli.progress import Waiting
from backpass.errors import RecordError, StorageError, UsageError

if TYPE_CHECKING:
    from backpass.explain import Answer
    from backpass.run import Run
    from backpass.visit import Visit

Kind = TypeVar("Kind", bound="Answer")

Format = Literal["text", "markdown", "latex", "html"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Form:
    """In which form an answer comes.

    Parameters
    ----------
    format
        How the answer is written: text for a terminal, or markdown, latex, html, pictures included.
    out
        Write the answer to this file; its ending tells the format: .md, .tex, .html, .txt.
    json
        Print the answer as one object as the last line of standard output.
    """

    format: Annotated[Format | None, default("text")] = None
    out: Path | None = None
    json: Annotated[bool, FLAG] = False


#: The option that says which step is asked about.
Step = Annotated[int | None, WHOLE, default("the last")]

#: The option that has a gradient calculated a second way.
Checked = Annotated[bool, FLAG]

_ENDINGS: dict[str, Format] = {
    ".md": "markdown",
    ".tex": "latex",
    ".html": "html",
    ".htm": "html",
    ".txt": "text",
}


def ask(spec: str, step: int | None, form: Form | None, question: Callable[[Run, int], Answer]) -> int:
    """Open a run, ask about one of its steps, and show the answer.

    Parameters
    ----------
    spec : str
        The run folder, as it was typed.
    step : int or None
        Counted from 1; the last, if none is named.
    form : Form or None
    question : callable
        From the run and the step to the answer.

    Returns
    -------
    int
        The exit code: 1 where a check of the answer fails, such as that its parts add up.
    """

    def of_step(run: Run, waiting: Waiting) -> Answer:
        number = step_of(run, spec, step)
        run.replay.told = lambda wait: waiting.show(wait.done, wait.steps, wait.seconds)
        return question(run, number)

    return ask_run(spec, form, "going to the step", of_step)


def ask_run(spec: str, form: Form | None, words: str, question: Callable[[Run, Waiting], Answer]) -> int:
    """Open a run, ask about the whole of it, and show the answer.

    Parameters
    ----------
    spec : str
    form : Form or None
    words : str
        What the bar says that shows how far the answer is.
    question : callable
        From the run and the bar to the answer.
    """
    form = form or Form()
    output = Output(form.json)
    run = open_run(spec)
    if run.status in ("running", "interrupted", "diverged"):
        output.note(f"note: this run is not finished ({run.status}); it has steps 1 to {run.steps:,}")
    note_promise(output, run)
    with Waiting(output, words) as waiting:
        answer = question(run, waiting)
    show(output, answer, form)
    return 0 if answer.balanced else 1


def note_promise(output: Output, run: Run) -> None:
    """Say so, where what is computed again may not be what the run itself had, bit for bit."""
    from backpass.record.promise import promise

    left = promise(run.settings)
    if not left.bitwise:
        output.note(f"note: {left.words}")


def checked(visit: Visit, target: str, answer: Kind) -> Kind:
    """The answer with a second route beside its gradient: a central difference in f64 through the step."""
    from backpass.explain.step.checking import checked
    from backpass.explain.step.places import place

    where = place(visit, target)
    return answer.with_check(checked(visit, where.name, where.entry))


def ask_visit(
    spec: str,
    step: int | None,
    form: Form | None,
    target: str,
    check: bool,
    question: Callable[[Visit], Answer],
) -> int:
    """Open a run, ask one of its steps about a target, with a second route if `check` asks for it."""

    def of_visit(run: Run, number: int) -> Answer:
        visit = run.at(number)
        answer = question(visit)
        return checked(visit, target, answer) if check else answer

    return ask(spec, step, form, of_visit)


def step_of(run: Run, spec: str, step: int | None) -> int:
    """The step that is meant; the last one, if none is named."""
    if run.steps == 0:
        raise RecordError(f"{spec} has no completed step, so no weight has moved.")
    step = run.steps if step is None else step
    if not 1 <= step <= run.steps:
        raise UsageError(f"there is no step {step:,}: {spec} has steps 1 to {run.steps:,}.")
    return step


def check_form(form: Form) -> Format | None:
    """The format that is asked for.

    Who works for long asks this first, so that no answer is lost at the end.

    Raises
    ------
    UsageError
        The ending of the file tells no format.
    StorageError
        There is no such folder.
    """
    if form.out is not None and not form.out.absolute().parent.is_dir():
        raise StorageError(f"{form.out} cannot be written: there is no folder {form.out.parent}")
    if form.out is None or form.format is not None:
        return form.format
    ending = _ENDINGS.get(form.out.suffix.lower())
    if ending is None:
        raise UsageError(f"--out {form.out} ends in none of {', '.join(_ENDINGS)}; add --format")
    return ending


def show(output: Output, answer: Answer, form: Form) -> None:
    """Print an answer, or write it to a file."""
    from backpass.pictures import write_text

    chosen = check_form(form)
    if form.out is not None or chosen not in (None, "text"):
        ways = {"text": answer.text, "markdown": answer.markdown, "latex": answer.latex, "html": answer.page}
        written = ways[chosen or "text"]()
        if form.out is None:
            output.program(written)
        else:
            output.say(
                f"written: {write_text(form.out, written + chr(10) * (not written.endswith(chr(10))))}"
            )
    elif not form.json:
        output.program(answer.text())
    if form.json:
        output.result(answer.to_dict())
