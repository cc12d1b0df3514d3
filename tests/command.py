"""What the tests of the command line share: running a command, and small data to run it on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backpass.cli import main

#: Options of a training that takes no time.
QUICK = ("--layers", "4", "--epochs", "3", "--batch", "10", "--executor", "reference")
REPO = Path(__file__).resolve().parents[1]


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def object(self) -> Any:
        """The last line of standard output, which must be JSON."""
        return json.loads(self.out.rstrip("\n").split("\n")[-1], parse_constant=pytest.fail)

    def fails(self, code: int, *words: str) -> None:
        """It ends with this code and a message with these words, and no traceback."""
        assert self.code == code, (self.code, self.out, self.err)
        assert "error: " in self.err
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err, f"{word!r} is not in: {self.err}"


Command = Callable[..., Said]


@pytest.fixture
def backpass(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    for name in ("BACKPASS_DEBUG", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = main(words)
        return Said(code, *capsys.readouterr())

    return run


def small(folder: Path, name: str = "small.npz", **other: Any) -> str:
    """A data set that is learned in no time: two clouds."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    arrays = {"X": rng.normal(size=(60, 3)) + 3 * y[:, None], "y": np.array(["no", "yes"])[y], **other}
    np.savez(folder / name, **{k: v for k, v in arrays.items() if v is not None})
    return name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small.npz and a finished run of it; tests copy what they change."""
    folder = tmp_path_factory.mktemp("trained")
    small(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        code = main(
            [
                "train",
                "small.npz",
                "--layers",
                "4,3",
                "--epochs",
                "3",
                "--batch",
                "10",
                "--optimizer",
                "momentum",
                "--lr",
                "0.05",
                "--l2",
                "0",
                "--executor",
                "reference",
                "--quiet",
            ]
        )
    finally:
        os.chdir(before)
    assert code == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, backpass: Command) -> Path:
    """The trained folder, copied to where the test runs."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def script(*words: str, **more: Any) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src"), "PYTHONUNBUFFERED": "1"}
    environment.pop("BACKPASS_DEBUG", None)
    return subprocess.Popen(
        [sys.executable, "-m", "backpass.cli", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **more,
    )  # fmt: skip
