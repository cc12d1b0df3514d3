"""What all tests share: where the data is, golden files, hypothesis profiles, and no leaked state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from command import backpass, here, trained  # noqa: F401  (fixtures of the command line)

from backpass import ops as _ops  # noqa: F401 (a test that is the first to import it must not take the ops with it)
from backpass.ir import REGISTRY

REPO = Path(__file__).resolve().parents[1]
GOLDEN = REPO / "tests" / "golden"

# dev and ci draw the same examples every time; thorough (`--hypothesis-profile=thorough`) draws new ones.
_COMMON = {"deadline": None, "database": None, "suppress_health_check": list(hypothesis.HealthCheck)}
hypothesis.settings.register_profile("dev", max_examples=200, derandomize=True, **_COMMON)
hypothesis.settings.register_profile("ci", max_examples=500, derandomize=True, **_COMMON)
hypothesis.settings.register_profile("thorough", max_examples=5000, **_COMMON)
hypothesis.settings.load_profile("dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="rewrite the golden files with what the tests got")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data sets: $BACKPASS_DATA, or a folder beside the repository."""
    folder = Path(os.environ.get("BACKPASS_DATA", REPO.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}; set BACKPASS_DATA")
    return folder


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a file in golden/; `pytest --accept` rewrites the file."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--accept"):
            path.write_text(text + "\n", encoding="utf-8")
        assert path.exists(), f"there is no {path}; write it with pytest --accept"
        assert text + "\n" == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(autouse=True)
def no_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ops that a test defines go with it; NumPy's settings and global generator stay as they were."""
    monkeypatch.setattr(REGISTRY, "_ops", REGISTRY.all())
    errors, generator = np.geterr(), np.random.get_state()[1].copy()
    yield
    assert np.geterr() == errors, "a test changed how NumPy treats floating-point errors"
    assert np.array_equal(np.random.get_state()[1], generator), "a test used NumPy's global generator"
