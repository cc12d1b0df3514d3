"""``backpass diff``: where two runs part, and what they were told."""

from __future__ import annotations

from backpass.cli.asking import Form, show
from backpass.cli.output import Output
from backpass.cli.places import open_run
from backpass.cli.progress import Waiting


def diff(run: str, other: str, /, *, form: Form | None = None) -> int:
    """Say in which step two runs part, which value is the first to differ, and why.

    Settings, data and machine are put side by side. States are compared bit for bit: by what both records
    keep first, then by a replay of both between the last equal state and the first different one. Runs of
    different networks are compared by their settings and programs.

    Parameters
    ----------
    run
        A run folder.
    other
        Another one.
    """
    from backpass.explain.compare import compare

    form = form or Form()
    output = Output(form.json)
    a, b = open_run(run), open_run(other)
    for run_, spec in ((a, run), (b, other)):
        if run_.status in ("running", "interrupted", "diverged"):
            output.note(f"note: {spec} is not finished ({run_.status}); it has steps 1 to {run_.steps:,}")
    with Waiting(output, "looking for the step") as waiting:
        answer = compare(a, b, lambda wait: waiting.show(wait.done, wait.steps, wait.seconds))
    show(output, answer, form)
    return 0
