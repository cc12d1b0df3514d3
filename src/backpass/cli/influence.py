"""``backpass influence``: which training examples moved the loss on an input; which labels are suspicious."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from backpass.cli.asking import Form, ask_run
from backpass.cli.options import WHOLE, check_whole
from backpass.errors import UsageError

if TYPE_CHECKING:
    from backpass.cli.progress import Waiting
    from backpass.explain import Answer
    from backpass.run import Run


def influence(
    run: str,
    /,
    *,
    input: str | None = None,
    verify: Annotated[int | None, WHOLE] = None,
    form: Form | None = None,
) -> int:
    """Say which training examples moved the loss on an input, along the run as it was, every step of it.

    Without --input, each training row is asked for its influence on itself: rows with a wrong label come
    first.

    Parameters
    ----------
    run
        A run folder.
    input
        The number of a row in the data set; a row of a part, as in test/3; or a file of rows with their
        targets.
    verify
        Train again without so many of the rows that lowered the loss most, and say what really happened.
    """
    check_whole("--verify", verify, 1)
    if verify is not None and input is None:
        raise UsageError(f"--verify goes with --input: backpass influence {run} --input 17 --verify 20")

    def question(found: Run, waiting: Waiting) -> Answer:
        if input is None:
            return found.self_influence(progress=waiting.show)
        row = int(input) if input.isdecimal() else input
        return found.influence(row, verify=verify or 0, progress=waiting.show)

    return ask_run(run, form, "following the run", question)
