"""Answers as LaTeX, to be put into a document with amsmath and booktabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from backpass.explain.answer import Answer, Check, Equations, Figure, Heading, Ledger, Note, Table
from backpass.explain.render.words import blocks, cell, ledger_rows, verdict
from backpass.ir.text import latex_name

_SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " ",
    # What pdfLaTeX has no letter for.
    "δ": r"$\delta$", "ℓ": r"$\ell$", "∂": r"$\partial$", "Σ": r"$\Sigma$", "·": r"$\cdot$",
    "′": r"$'$", "≤": r"$\le$", "→": r"$\to$", "η": r"$\eta$", "μ": r"$\mu$", "λ": r"$\lambda$",
    "β": r"$\beta$", "ε": r"$\varepsilon$", "√": r"$\surd$", "−": "$-$", "×": r"$\times$", "∇": r"$\nabla$",
    "²": r"$^2$", "½": r"$\tfrac12$", "≈": r"$\approx$", "…": r"\ldots{}", "Δ": r"$\Delta$",
    "Π": r"$\Pi$",
}  # fmt: skip
#: A name with an index, a name, a number, anything else that is one sign.
_TOKEN = re.compile(
    r"(?P<name>[^\W\d]\w*)(?P<index>\[[^\]]*\])?|(?P<number>[-+]?\d[\d.]*(?:e[-+]?\d+)?)|\s+|."
)
_MATH = {
    "*": r"\cdot ", "@": r"\, ", "·": r"\cdot ", "Σ": r"\sum ", "%": r"\%", "#": r"\#", "&": r"\&",
    "_": r"\_", "{": r"\{", "}": r"\}", "√": r"\surd ", "−": "-", "→": r"\to ", "∂": r"\partial ",
    "≤": r"\le ", "≈": r"\approx ", "…": r"\ldots ", "′": "'", "$": r"\$", "^": r"\wedge ",
    "~": r"\sim ", "\\": r"\backslash ",
}  # fmt: skip

#: Short words, as in "sum over b of".
_WORDS = frozenset(["at", "by", "if", "in", "is", "no", "of", "to"])


def latex(answer: Answer) -> str:
    r"""The answer as LaTeX.

    Examples
    --------
    >>> print(latex(Answer(question="why", target="W2[3,1]", step=1, claim="W2[3,1] rose by 10 %.")))
    W2[3,1] rose by 10 \%.
    """
    return "\n\n".join([plain(answer.claim), *(_WAYS[type(block)](block) for block in blocks(answer))])


def plain(text: str) -> str:
    """Text whose signs mean nothing to LaTeX."""
    return "".join(_SIGNS.get(c, c) for c in text)


def equation(line: str) -> str:
    r"""A line in the notation of the program, in mathematical notation.

    Examples
    --------
    >>> equation("z1[0,7] = x @ W1 + b1 = 0.83")
    '{z^{1}}_{0,7} = {x} \\,  {W^{1}} + {b^{1}} = 0.83'
    >>> equation("dW2[3,1] = 1.5e-03")
    '{\\frac{\\partial C}{\\partial W^{2}}}_{3,1} = 1.5 \\cdot 10^{-3}'
    """
    written = []
    for match in _TOKEN.finditer(line):
        token, name = match[0], match["name"]
        if name and (name in _WORDS or (name.isalpha() and name.isascii() and len(name) > 2)):
            written.append(rf"\text{{ {name} }}" + (match["index"] or ""))
        elif name:
            index = f"_{{{match['index'][1:-1].replace('_', ' ')}}}" if match["index"] else ""
            written.append(f"{{{latex_name(name)}}}{index}")  # braces: the name may have an index of its own
        elif match["number"]:
            digits, _, power = token.partition("e")
            written.append(digits + (rf" \cdot 10^{{{int(power)}}}" if power else ""))
        else:
            written.append(_MATH.get(token, token))
    return "".join(written)


def _tabular(head: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str] = ()) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(plain, cells)) + r" \\"

    lines = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", line(head), r"\midrule"]
    lines += map(line, rows)
    lines += [r"\midrule", line(foot)] if foot else []
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _equations(block: Equations) -> str:
    lines = [equation(line).replace(" = ", " &= ", 1) for line in block.lines]
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}"


def _ledger(block: Ledger) -> str:
    *rows, total = ledger_rows(block)
    table = _tabular(["", "value", "of gross", ""], rows, total)
    return rf"\paragraph{{{plain(block.title)}}}" + "\n\n" + table


def _table(block: Table) -> str:
    table = _tabular(block.head, [list(map(cell, row)) for row in block.rows[: block.shown]])
    more = len(block.rows) - block.shown
    rest = f"\n\nand {more:,} more" if more > 0 else ""
    return (rf"\paragraph{{{plain(block.title)}}}" + "\n\n" if block.title else "") + table + rest


def _figure(block: Figure) -> str:
    return rf"\emph{{{plain(block.title)}}}: {plain(block.words)}"


def _heading(block: Heading) -> str:
    return rf"\subsection*{{{plain(block.title)}}}" + (f"\n\n{plain(block.text)}" if block.text else "")


def _note(block: Note) -> str:
    return plain(block.text)


def _check(block: Check) -> str:
    return plain(verdict(block))


_WAYS: dict[type, Callable[[Any], str]] = {
    Equations: _equations,
    Ledger: _ledger,
    Table: _table,
    Figure: _figure,
    Heading: _heading,
    Note: _note,
    Check: _check,
}
