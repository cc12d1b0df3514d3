"""Imports point downward; heavy packages stay where they belong; public names are the listed ones."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import backpass

SOURCE = Path(backpass.__file__).parent

#: Rank of each part: a module imports only parts of a lower rank, or its own part.
RANKS = {
    "version": 0,
    "errors": 0,
    "ir": 1,
    "ops": 2,
    "passes": 3,
    "exec": 4,
    "nn": 4,
    "data": 4,
    "pictures": 4,
    "scoring": 5,
    "training": 5,
    "testing": 5,
    "record": 6,
    "running": 7,
    "explain": 7,
    "rivals": 8,
    "report": 8,
    "export": 8,
    "lookup": 9,
    "visit": 9,
    "run": 10,
    "fit": 11,
    "classics": 12,
    "cli": 13,
}

#: Packages that only some parts may import.
HOMES = {
    "llvmlite": ("exec/compiled/",),
    "sklearn": ("data/", "scoring/", "sklearn.py"),
    "jax": ("exec/xla/",),
    "rich": ("cli/",),
    "cyclopts": ("cli/",),
    "autograd": ("testing/",),
    "duckdb": ("data/",),
    "narwhals": ("data/",),
    "PIL": ("data/",),
}


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            found.append((node.lineno, node.module or ""))
    return found


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    inside = path.relative_to(SOURCE)
    part = inside.parts[0].removesuffix(".py")
    wrong = []
    for line, name in imports(path):
        words = name.split(".")
        if words[0] == "backpass" and len(words) > 1 and part != "__init__":
            other = words[1]
            assert other in RANKS, f"{inside}:{line}: {other} has no rank; give it one in this test"
            if other != part and RANKS[other] >= RANKS[part]:
                wrong.append(
                    f"{inside}:{line}: {part} (rank {RANKS[part]}) imports {other} (rank {RANKS[other]})"
                )
        homes = HOMES.get(words[0])
        if homes and not str(inside).replace("\\", "/").startswith(homes):
            wrong.append(f"{inside}:{line}: {words[0]} may be imported only in {', '.join(homes)}")
    assert not wrong, "\n".join(wrong)


def test_the_walk_sees_a_wrong_import(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def f():\n    from backpass.cli import main\n")
    assert imports(tmp_path / "m.py") == [(2, "backpass.cli")]


def test_importing_backpass_is_light() -> None:
    heavy = ["llvmlite", "scipy", "sklearn", "rich", "cyclopts", "msgspec", "safetensors", "threadpoolctl"]
    code = f"import sys, backpass; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_public_names_exist_and_are_all() -> None:
    assert sorted(backpass.__all__) == dir(backpass)
    for name in backpass.__all__:
        assert getattr(backpass, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = backpass.nonsense


def test_names_stay_after_submodules_are_imported() -> None:
    code = "import backpass as bp, backpass.running.loop; print(callable(bp.train), callable(bp.load))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "True True"


def test_the_heart_stays_small() -> None:
    """The chain rule and its transform can be read in one sitting."""

    def code_lines(path: Path) -> int:
        """Lines of code: no docstrings, comments or blank lines."""
        tree = ast.parse(path.read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        prose: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
                text = node.body[0]
                prose |= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
        lines = path.read_text().split("\n")
        return sum(
            bool(line.strip()) and not line.strip().startswith("#") and k not in prose
            for k, line in enumerate(lines, start=1)
        )

    chain = next(
        n
        for n in ast.walk(ast.parse((SOURCE / "ir/chain.py").read_text()))
        if getattr(n, "name", "") == "pullback"
    )
    assert chain.end_lineno is not None
    assert code_lines(SOURCE / "ir/chain.py") <= 100
    assert code_lines(SOURCE / "passes/backward.py") <= 40
