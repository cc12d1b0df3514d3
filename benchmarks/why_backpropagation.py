"""The races of the page *Why backpropagation*: run, and put into the page.

    python benchmarks/why_backpropagation.py           # all of its races, some minutes
    python benchmarks/why_backpropagation.py digits    # this one only; what others left in the page stays

The page docs/why-backpropagation.md is written by hand, but for the parts between ``<!-- race: NAME -->`` and
``<!-- end -->``: claims and tables of races, as they came out. Pictures go to docs/pictures/race-NAME.svg.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from backpass.explain.answer import Answer, Figure, Table
from backpass.explain.render.markdown import table_text
from backpass.rivals.budget import Budget
from backpass.rivals.outcome import outcome
from backpass.rivals.problem import Problem
from backpass.rivals.race import Race, entrants
from backpass.rivals.scaling import scaling
from backpass.rivals.tasks import task_named, usual_passes

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "why-backpropagation.md"


def race(name: str) -> Answer:
    """The race as `backpass race NAME` runs it."""
    problem, budget = Problem(task_named(name)), Budget(usual_passes(name))
    taking_part, left_out = entrants(problem, None)
    return outcome(problem, budget, Race(problem, taking_part, budget).run(), left_out)


def grown() -> Answer:
    """`backpass race scaling`."""
    return scaling(["xor", "parity-4", "iris", "digits"], None, None, None, lambda share, words: None)


RACES: dict[str, Callable[[], Answer]] = {
    "xor": lambda: race("xor"),
    "digits": lambda: race("digits"),
    "scaling": grown,
}


def parts(name: str, answer: Answer) -> dict[str, str]:
    """What the page may show of a race: its claim, and its tables by their place."""
    tables = [block for block in answer.blocks() if isinstance(block, Table)]
    figures = [block for block in answer.blocks() if isinstance(block, Figure)]
    found = {f"{name} claim": answer.claim}
    for k, table in enumerate(tables, start=1):
        found[f"{name} table {k}"] = table_text(table)
    for k, figure in enumerate(figures, start=1):
        file = f"pictures/race-{name}-{k}.svg"
        found[f"{name} picture {k}"] = f"![{figure.title}]({file})"
        if f"race: {name} picture {k} " in PAGE.read_text(encoding="utf-8"):
            (DOCS / file).write_text(figure.svg, encoding="utf-8")
    return found


def put(page: str, found: dict[str, str]) -> str:
    """The page with these parts in their places.

    Examples
    --------
    >>> put("<!-- race: a claim -->\\nold\\n<!-- end -->", {"a claim": "new"})
    '<!-- race: a claim -->\\nnew\\n<!-- end -->'
    """

    def place(match: re.Match[str]) -> str:
        return f"{match[1]}\n{found[match[2]]}\n{match[3]}" if match[2] in found else match[0]

    return re.sub(r"(<!-- race: (.+?) -->)\n.*?(<!-- end -->)", place, page, flags=re.DOTALL)


def main() -> None:
    for name in sys.argv[1:] or RACES:
        answer = RACES[name]()
        print(answer.text())
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), parts(name, answer)), encoding="utf-8")


if __name__ == "__main__":
    main()
