"""Answers as data, and their four renderings."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re
from dataclasses import dataclass

import pytest

from backpass.explain.answer import (
    Answer,
    Block,
    Check,
    Entry,
    Equations,
    Figure,
    Heading,
    Ledger,
    Note,
    Table,
)
from backpass.explain.render.latex import equation

NASTY = "<script>alert('x')</script> 50% of a_b & {c} | `d` \\ δ"


@dataclass(frozen=True, kw_only=True)
class Sample(Answer):
    """An answer with every kind of block."""

    parts: tuple[float, ...] = (3.0, -2.0, 0.5)
    note: str = "a sentence"
    off: float = 0.0

    @property
    def checks(self) -> tuple[Check, ...]:
        return (Check("balance", self.off, 1e-6, "the parts and the sum"),)

    def blocks(self) -> list[Block]:
        entries = tuple(Entry(f"part {k}", v, self.note) for k, v in enumerate(self.parts))
        return [
            Equations(("z1[0,7] = x @ W1 + b1 = 0.83", "W1_new[0,7] = W1[0,7] - lr * dW1[0,7] = 1e-05")),
            Ledger("by part", entries, sum(self.parts), "update", shown=2),
            Table("numbers", ("name", "value"), (("a", 1), ("b", 0.123456789), ("c", float("nan")))),
            Figure("a picture", '<svg xmlns="http://www.w3.org/2000/svg"></svg>', "a falling line"),
            Heading("Part two", self.note),
            Note(self.note),
        ]


def sample(**changes: object) -> Sample:
    plain = Sample(question="why", target="W1[0,7]", step=1234, claim="W1[0,7] moved.", evidence=("a1",))
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_data_hold_everything() -> None:
    found = json.loads(json.dumps(sample().to_dict()))
    assert found["parts"] == [3.0, -2.0, 0.5]
    assert found["balanced"] is True
    assert found["checks"] == [
        {"name": "balance", "value": 0.0, "bound": 1e-6, "words": "the parts and the sum", "holds": True}
    ]


@pytest.mark.parametrize("off", [1e-3, -1e-3, float("nan")])
def test_a_check_that_fails_is_seen_everywhere(off: float) -> None:
    wrong = sample(off=off)
    assert not wrong.balanced
    for shown in (wrong.text(), wrong.markdown(), wrong.latex(), wrong.html()):
        assert "balance FAILS" in shown
    assert 'class="note"' in wrong.html()
    assert "balance FAILS" not in sample().text()


def test_a_ledger_shows_the_first_and_totals_the_rest() -> None:
    whole = sample(parts=(5.0, -3.0, 1.0, 1.0))
    text = whole.text()
    assert re.search(r"part 0 +\+5\.000000e\+00 +50\.0% +a sentence", text)
    assert re.search(r"part 1 +-3\.000000e\+00 +30\.0%", text)
    assert "part 2" not in text
    assert re.search(r"2 others +\+2\.000000e\+00", text)
    assert re.search(r"update +\+4\.000000e\+00", text)
    almost = sample(parts=(5.0, -3.0, 1.0))  # one more than is shown: shown itself, instead of "1 others"
    assert "part 2" in almost.text()
    assert "others" not in almost.text()


def test_an_empty_ledger_has_no_shares() -> None:
    ledger = Ledger("nothing", (Entry("a", 0.0), Entry("b", 0.0)), 0.0)
    assert "%" not in sample().__class__.text(_of(ledger))


def _of(block: Block) -> Answer:
    @dataclass(frozen=True, kw_only=True)
    class One(Answer):
        def blocks(self) -> list[Block]:
            return [block]

    return One(question="value", target="C", step=None, claim="c")


def test_text_is_narrow_and_has_no_trailing_blanks() -> None:
    lines = sample(claim="word " * 60).text().split("\n")
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)


class _Checker(html.parser.HTMLParser):
    """Every tag is closed in order, and there are no scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert tag != "script"
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_and_escapes_everything() -> None:
    page = sample(claim=NASTY, note=NASTY, target=NASTY).page()
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    assert "alert(&#x27;x&#x27;)" in page
    assert sample()._repr_html_() == sample().html()


def test_markdown_has_whole_tables() -> None:
    lines = sample(note=NASTY).markdown().split("\n")
    tables = [line for line in lines if line.startswith("|")]
    assert tables
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
    assert set(widths) == {5, 3}, "a sign in a cell must not make a column"


def test_latex_has_no_bare_signs() -> None:
    written = sample(claim=NASTY, note=NASTY).latex()
    assert written.count(r"\begin{tabular}") == written.count(r"\end{tabular}") == 2
    body = written.split(r"\end{align*}")[1]
    assert not re.search(r"(?<!\\)[%#]", body)
    assert "δ" not in written
    for row in re.findall(r"^(.*) \\\\$", body, re.MULTILINE):
        assert len(re.findall(r"(?<!\\)&", row)) in (1, 3), row
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", written):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("δ1[12,7] = 0.5", r"{\delta^{1}}_{12,7} = 0.5"),
        ("W2_new[3,1]", r"{W^{2}_{\text{new}}}_{3,1}"),
        ("lr * 2e-03", r"{\eta} \cdot  2 \cdot 10^{-3}"),
        ("sum over b of a1[b,3]", r"\text{ sum } \text{ over } {b} \text{ of } {a^{1}}_{b,3}"),
    ],
)
def test_equations_in_latex(line: str, wanted: str) -> None:
    assert equation(line) == wanted
