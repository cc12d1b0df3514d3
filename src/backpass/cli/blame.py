"""``backpass blame``: what made a weight what it is, over the whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from backpass.cli.asking import Form, ask_run
from backpass.cli.options import WHOLE, default

if TYPE_CHECKING:
    from backpass.cli.progress import Waiting
    from backpass.explain import Answer
    from backpass.run import Run


def blame(
    run: str,
    target: str,
    /,
    *,
    by: Literal["example", "class", "step", "epoch", "row"] = "example",
    from_: Annotated[int | None, WHOLE, default("1"), Parameter(name="--from")] = None,
    to: Annotated[int | None, WHOLE, default("that of the result")] = None,
    form: Form | None = None,
) -> int:
    """Say what made a weight what it is: the ledger of the whole run, as a sum that balances.

    Every step is computed once more by the run's own kernel. What an example did goes on acting through
    momentum; that is counted, too.

    Parameters
    ----------
    run
        A run folder.
    target
        One entry of a parameter, in quotes: 'W2[3,1]'.
    by
        What the ledger has a line for. Rows are examples, but after batch normalisation, where examples have
        no shares of their own.
    from_
        The first step that counts, counted from 1.
    to
        The last step that counts.
    """

    def question(found: Run, waiting: Waiting) -> Answer:
        return found.blame(target, by, start=from_, stop=to, progress=waiting.show)

    return ask_run(run, form, "computing the run again", question)
