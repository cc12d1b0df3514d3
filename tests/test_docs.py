"""The examples of the docstrings and of the README run as they are printed."""

import doctest
import importlib
import pkgutil
import re

import numpy as np
import pytest
from conftest import REPO
from sklearn.datasets import load_digits

import backpass

MODULES = ["backpass", *(m.name for m in pkgutil.walk_packages(backpass.__path__, "backpass."))]


@pytest.mark.parametrize("name", [m for m in MODULES if not m.endswith("__main__")])
def test_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_the_python_of_the_readme(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    X, y = load_digits(return_X_y=True)
    scope = {"X": X, "y": y, "X_new": X[:3]}
    exec(code, scope)
    assert "δ1" in capsys.readouterr().out
    assert len(scope["bp"].load("runs/x").predict(np.zeros((2, 64)))) == 2


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
