"""Commands that are stopped: signals, kills, divergence, full disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import QUICK, REPO, Command, Said, script, small


def _long_training(folder: Path) -> subprocess.Popen[str]:
    small(folder)
    words = (
        "train",
        "small.npz",
        "--layers",
        "5",
        "--epochs",
        "10000000",
        "--executor",
        "reference",
        "--json",
    )
    process = script(*words, cwd=folder)
    started = time.monotonic()
    while not list(folder.glob("runs/*/record.sqlite")) and time.monotonic() - started < 60:
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
    time.sleep(0.5)
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_keeps_the_run(
    backpass: Command, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = _long_training(tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    said = Said(process.returncode, out, err)
    assert said.code == code, err
    found = said.object
    assert found["error"]["exit_code"] == code
    assert found["status"] == "interrupted"
    assert found["steps"] > 0
    assert f"stopped: after step {found['steps']:,}" in err
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.glob("runs/*/*.sqlite*")) == ["record.sqlite"], (
        "the log is folded in"
    )
    assert backpass("why", found["run"], "W2[0,0]", "--json").object["step"] == found["steps"]
    assert "interrupted" in backpass("predict", found["run"], "small.npz").err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_kill_leaves_a_readable_run(backpass: Command, tmp_path: Path) -> None:
    process = _long_training(tmp_path)
    started = time.monotonic()
    (told,) = tmp_path.glob("runs/*/run.json")
    while not json.loads(told.read_text())["outcome"]["steps"]:  # written once a second at most
        assert time.monotonic() - started < 60, "no state after the start has been written in a minute"
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    (run,) = (tmp_path / "runs").iterdir()
    assert backpass("why", str(run), "W2[0,0]", "--json").object["step"] > 0
    assert backpass("show", str(run)).code == 0
    said = backpass("predict", str(run), "small.npz")
    assert said.code == 0
    assert "running" in said.err


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_keeps_what_was_written_and_says_where(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    code = (
        "import resource, signal, sys\n"
        "from backpass.cli import main\n"
        "from backpass.record.store import Writer\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "wrote = Writer.wrote\n"
        "def then_full(*given, **more):\n"
        "    wrote(*given, **more)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "Writer.wrote = then_full\n"
        "sys.exit(main('train small.npz --epochs 10000000 --executor reference --json'.split()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120,
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
    )  # fmt: skip
    said = Said(done.returncode, done.stdout, done.stderr)
    said.fails(6, "The run up to there is in runs/small-1")
    assert said.object["error"]["exit_code"] == 6
    assert backpass("predict", "runs/small-1", "small.npz").code == 0


def test_stopped_while_it_is_judged_the_run_is_kept(
    backpass: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(tmp_path)

    def judged(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("backpass.cli.train.finish", judged)
    said = backpass("train", "small.npz", *QUICK)
    assert said.code == 130
    assert "the training is done, and is kept in runs/small-1" in said.err
    monkeypatch.undo()
    os.chdir(tmp_path)
    assert backpass("predict", "runs/small-1", "small.npz").code == 0


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from backpass.cli.signals import Stop\n"
        "with Stop() as stop:\n"
        "    stop.stepping = True\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('first', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('second', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "first\n")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    process = script("show", "xor", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert err == ""
