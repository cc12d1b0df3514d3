"""What the documents show is run: the examples of docstrings, of the README and of every page of docs/."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPO
from sklearn.datasets import load_digits

import backpass

MODULES = ["backpass", *(m.name for m in pkgutil.walk_packages(backpass.__path__, "backpass."))]
PAGES = sorted((REPO / "docs").glob("*.md"))
#: Pages that must show something that runs.
LESSONS = {
    "add-an-op", "backprop-from-zero", "bring-your-own-data", "how-it-runs", "read-a-backward-pass", "replay",
    "why",
    "why-did-this-weight-move",
}  # fmt: skip


@pytest.mark.parametrize("name", [m for m in MODULES if not m.endswith("__main__")])
def test_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.filterwarnings("ignore:columns 0, 32, 39")  # blank pixels of the digits
def test_the_python_of_the_readme(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    X, y = load_digits(return_X_y=True)
    scope = {"X": X, "y": y, "X_new": X[:3]}
    exec(code, scope)
    assert "δ1" in capsys.readouterr().out
    assert len(scope["bp"].load("runs/x").predict(np.zeros((2, 64)))) == 2


# ------------------------------------------------------------------------------------------------ the pages


def blocks(page: str) -> list[tuple[int, str, str]]:
    """The fenced blocks of a page: line, language, text."""
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        found.append((page.count("\n", 0, match.start()) + 1, match[1], match[2]))
    return found


def masked(line: str) -> str:
    """A line without what another machine may change: digits, and the padding that depends on them."""
    return re.sub(r"\s+", " ", re.sub(r"-?[\d.,]*\d(e[+-]\d+)?", "#", line)).strip()


def run_command(command: str) -> tuple[int, str]:
    """Run one command of a page as the reader would, and what it printed."""
    words = shlex.split(command)
    if words[0] == "backpass":
        from backpass.cli import main

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            status = main(words[1:])
        return status, printed.getvalue()
    assert words[0] == "python", f"the documents may show commands of backpass and python, not {command!r}"
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def check_console(text: str, where: str) -> None:
    """Each command succeeds, unless the page shows an error, and prints the lines shown, in that order.

    ``...`` stands for lines left out; numbers may differ from machine to machine.
    """
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        status, printed = run_command(command)
        lines = [masked(line) for line in printed.split("\n")]
        wanted = [masked(line) for line in shown.split("\n") if line.strip() and line.strip() != "..."]
        refused = any(line.lower().startswith(("error", "backpass:")) for line in wanted)
        assert refused == (status != 0), f"{where}: {command} ended with {status}:\n{printed}"
        for line in wanted:
            assert line in lines, f"{where}: {command} did not print {line!r}; it printed\n{printed}"
            lines = lines[lines.index(line) + 1 :]


def check_page(text: str, where: str) -> int:
    """Run the blocks of a page in order, in one session; how many there were."""
    scope: dict[str, object] = {"__name__": "page"}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    count = 0
    for line, language, code in blocks(text):
        if language == "python" and ">>> " in code:
            test = doctest.DocTestParser().get_doctest(code, scope, where, where, line)
            said = io.StringIO()
            failed = runner.run(test, out=said.write, clear_globs=False).failed
            scope = test.globs
            assert not failed, said.getvalue()
        elif language == "python":
            exec(compile("\n" * line + code, where, "exec"), scope)
        elif language == "console":
            check_console(code, f"{where}:{line}")
        else:
            assert language in ("text", ""), f"{where}:{line}: a block in {language!r} is not run"
            continue
        count += 1
    return count


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_page_runs_as_it_is_printed(page: Path, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = check_page(page.read_text(encoding="utf-8"), page.name)
    assert count or page.stem not in LESSONS


def test_the_lessons_are_there() -> None:
    assert {page.stem for page in PAGES} >= LESSONS


@pytest.mark.parametrize(
    "wrong",
    [
        "```python\n>>> 1 + 1\n3\n```",
        "```python\nraise ValueError\n```",
        "```console\n$ backpass nonsense\n```",
        "```console\n$ backpass check xor --epochs 1\nno such line\n```",
        "```console\n$ rm -r somewhere\n```",
        "```python\nx = 1\n```\n```python\n>>> x\n2\n```",
    ],
)
def test_a_page_that_is_wrong_is_seen(wrong: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, ValueError)):
        check_page(wrong + "\n", "page.md")


def test_every_page_that_is_linked_is_there() -> None:
    pages = [
        REPO / "README.md",
        REPO / "CONTRIBUTING.md",
        REPO / "ARCHITECTURE.md",
        *(REPO / "docs").rglob("*.md"),
    ]
    missing = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert not missing
