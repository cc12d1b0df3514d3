"""`backpass train`: what is printed, where, and with which exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import QUICK, Command, small

from backpass.exec.choose import EXECUTORS


def test_train_says_what_it_does(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", "--layers", "4,3", "--epochs", "3", "--batch", "10")
    assert said.code == 0
    for words in (
        "data      small: 60 rows of 3 columns, 2 classes",
        "prepared  3 columns, as they are",
        "rows      42 to train on, 6 to watch it (validation), 12 for the test at the end",
        "network   3 - 4 relu - 3 relu - 2 softmax, 39 weights and biases, loss cross-entropy",
        "training  3 epochs of 5 steps of 10 rows, adam, lr 0.003, ",
        "executor  reference: ",
        "log loss   accuracy      AUC",
        "always no, the most frequent (test)",
        "logistic regression (test)",
        "precision",
        "recall   rows",
        "The run is in runs/small-1; to look at it, open runs/small-1/report.html",
        "backpass show runs/small-1",
        "backpass why runs/small-1 'W3[",
    ):
        assert words in said.out, words
    assert "\x1b" not in said.out + said.err
    assert max(map(len, said.out.split("\n"))) <= 100
    assert (tmp_path / "runs/small-1/report.html").stat().st_size > 10_000


def test_train_json(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", *QUICK, "--json")
    found = said.object
    assert said.out.count("\n") == 1, "all else goes to standard error"
    assert "weights and biases" in said.err
    assert found["run"] == str(Path("runs") / "small-1")
    assert found["report"] == str(Path("runs/small-1/report.html"))
    assert (found["task"], found["epochs"], found["steps"]) == ("classification", 3, 15)
    assert found["rows"] == {"train": 42, "validation": 6, "test": 12}
    assert (found["status"], found["warnings"], found["notes"]) == ("finished", [], [])
    assert found["executor"] in EXECUTORS
    assert found["seconds"] > 0
    for part in ("train", "validation", "test"):
        assert {"loss", "accuracy", "auc", "log_loss", "confusion"} <= found["metrics"][part].keys()
    assert found["baselines"].keys() == {"majority", "linear"}
    assert 0.4 < found["baselines"]["majority"]["parts"]["test"]["accuracy"] < 0.6


def test_train_quiet(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", *QUICK, "--quiet")
    assert (said.out, said.err) == (f"{Path('runs') / 'small-1'}\n", "")


def test_runs_are_numbered_and_never_overwritten(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    names = [backpass("train", "small.npz", *QUICK, "--json").object["run"] for _ in range(2)]
    assert [Path(name).name for name in names] == ["small-1", "small-2"]
    backpass("train", "small.npz", *QUICK, "--out", names[0]).fails(6, "not empty")
    assert backpass("train", "small.npz", *QUICK, "--out", "mine", "--json").object["run"] == "mine"


def test_train_regression(backpass: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(80, 2))
    small(tmp_path, X=x, y=x @ [1.0, -2.0] + 0.5)
    words = (
        "train",
        "small.npz",
        "--layers",
        "none",
        "--lr",
        "0.05",
        "--epochs",
        "60",
        "--executor",
        "reference",
    )
    said = backpass(*words, "--json")
    assert said.object["task"] == "regression"
    assert said.object["metrics"]["test"]["r2"] > 0.95
    assert said.object["baselines"].keys() == {"mean", "linear"}
    assert "R²" in said.err
    assert "ridge regression (test)" in said.err
    out = backpass("predict", said.object["run"], "small.npz").out
    assert out.startswith("row,prediction\n0,")


def test_several_targets(backpass: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(80, 2))
    small(tmp_path, X=x, y=np.stack([x[:, 0], x[:, 1] ** 2], axis=1))
    said = backpass("train", "small.npz", *QUICK)
    assert "2 quantities to predict" in said.out
    assert [line.split()[0] for line in said.out.split("\n") if line[:2] in ("0 ", "1 ")] == ["0", "1"]
    assert backpass("predict", "runs/small-1", "small.npz").out.startswith("row,prediction_0,prediction_1\n")


def test_a_network_that_has_learned_nothing_is_called_that(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path, y=np.arange(60) * 1.5)
    said = backpass("train", "small.npz", *QUICK, "--lr", "1e-9")
    assert "learned nothing" in said.out
    assert "--lr" in said.out


def test_one_that_knows_its_training_rows_only_is_not_called_that(backpass: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    small(tmp_path, X=rng.normal(size=(60, 20)), y=rng.integers(0, 2, 60))
    words = ("--layers", "50", "--lr", "0.05", "--epochs", "40", "--l2", "0", "--executor", "reference")
    said = backpass("train", "small.npz", *words, "--patience", "0", "--test", "0.4")
    assert "It knows its training rows, but" in said.out
    assert "learned nothing" not in said.out


def test_worse_than_a_linear_model(backpass: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(80, 2))
    small(tmp_path, X=x, y=x @ [1.0, -2.0])
    words = ("--layers", "5", "--lr", "0.05", "--epochs", "10", "--executor", "reference")
    said = backpass("train", "small.npz", *words, "--json")
    assert 0.1 < said.object["metrics"]["test"]["r2"] < 0.999
    assert "A linear model does better here: prefer it, or give this one more" in said.err


def test_parts_can_be_left_out_or_be_the_source_s_own(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", *QUICK, "--validation", "0", "--test", "0", "--json")
    assert said.object["metrics"].keys() == {"train"}
    assert "60 to train on, none held out" in said.err
    small(tmp_path, "own.npz", X_test=np.zeros((7, 3)), y_test=np.array(["no"] * 7))
    said = backpass("train", "own.npz", *QUICK)
    assert "54 to train on, 6 to watch it (validation), 7 for the test at the end" in said.out
    small(tmp_path, "other.npz")
    said = backpass("train", "small.npz", *QUICK, "--test", "other.npz", "--validation", "0.5")
    assert "30 to train on, 30 to watch it (validation), 60 for the test at the end" in said.out


def test_no_row_of_a_truth_table_is_held_out(backpass: Command) -> None:
    said = backpass("train", "xor", "--epochs", "2", "--executor", "reference")
    assert said.code == 0
    assert "4 to train on, none held out" in said.out
    backpass("train", "xor", "--validation", "0.1").fails(3, "validation=0.1 of 4 rows")


SHOP = "colour,size,day,who,bought\n" + "".join(
    f"{['red', 'green', 'blue'][n % 3]},{'' if n % 17 == 3 else n % 7 + n / 100},2024-01-{1 + n % 28:02},"
    f"{n % 9},{['no', 'yes'][(n % 7 + n % 3) > 4]}\n"
    for n in range(90)
)


def test_a_table(backpass: Command, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(SHOP)
    backpass("train", "shop.csv").fails(2, "which column", "--target bought")
    said = backpass("train", "shop.csv", *QUICK, "--target", "bought", "--group", "who", "--drop", "day")
    assert said.code == 0
    assert "shop: 90 rows of 2 columns, 2 classes (bought)" in said.out
    assert "1 number standardised, 1 category as 3 columns of 0 and 1" in " ".join(said.out.split())
    assert "holes in size" in said.out
    assert max(map(len, said.out.split("\n"))) <= 100
    assert "new.csv" in said.out
    for more in (["--time", "day"], ["--target", "size", "--drop", "colour"], ["--target", "bought,who"]):
        told = ["--target", "bought", *more] if more[0] != "--target" else more
        assert backpass("train", "shop.csv", *QUICK, *told).code in (0, 3), more
    backpass("train", "shop.csv", "--target", "bougt").fails(2, "bougt", "bought")
    backpass("train", "shop.csv", "--target", "bought", "--drop", "sise").fails(2, "sise", "size")
    lines = SHOP.split("\n")
    (tmp_path / "bare.csv").write_text("\n".join(lines[1:60]) + "\n")
    (tmp_path / "test.csv").write_text("\n".join(lines[60:]))
    words = ("--names", "colour,size,day,who,bought", "--target", "bought", "--test", "test.csv")
    assert "31 for the test" in backpass("train", "bare.csv", *QUICK, *words).out


def test_images(backpass: Command, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name, light in (("cat", 60), ("dog", 190)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(15):
            grey = np.clip(rng.normal(light, 20, (6, 5 + number % 2)), 0, 255).astype(np.uint8)
            image.fromarray(grey).save(tmp_path / "pets" / name / f"{number}.png")
    backpass("train", "pets").fails(3, "--size 5x6")
    said = backpass("train", "pets", *QUICK, "--size", "5x6")
    assert "30 rows of 30 columns (6 x 5 images), 2 classes" in said.out
    assert "new.png" in said.out
    assert backpass("predict", "runs/pets-1", "pets/dog/3.png").out.startswith(
        "row,prediction,p_cat,p_dog\n0,"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--optimizer sgd", "sgd, lr 0.1, "),
        ("--optimizer momentum", "sgd, lr 0.02, momentum 0.9, "),
        ("--optimizer nesterov", "nesterov"),
        ("--optimizer adagrad", "adagrad, lr 0.05, "),
        ("--optimizer rmsprop", "rmsprop, lr 0.003, "),
        ("--optimizer adamw", "adamw, lr 0.003, decay 0.01, seed 0"),
        ("--schedule step", "lr 0.003 (step, factor"),
        ("--schedule exponential", "lr 0.003 (exponential, factor"),
        ("--schedule cosine --warm-up 4", "lr 0.003 (warm up over 4 steps, then cosine)"),
        ("--schedule inverse", "lr 0.003 (inverse scaling, power 0.5)"),
        ("--schedule plateau", "lr 0.003 (on plateau, factor 0.1, patience 10"),
        ("--schedule constant --warm-up 4", "lr 0.003 (warm up over 4 steps),"),
        ("--l1 0.001", "l1 0.001, seed"),
        ("--clip 1", "lr 0.003, clip 1, "),
        ("--clip-norm 2", "lr 0.003, clip norm 2, "),
        ("--dropout 0.2 --batch-norm", "loss cross-entropy"),
        ("--activation gelu --init orthogonal --dtype f64", "4 gelu"),
        ("--class-weight balanced", "adam"),
        ("--patience 2", "stops after 2 epochs without a better validation loss, and keeps the best weights"),
        ("--loss hinge", "4 relu - 2, 26 weights and biases, loss hinge"),
        ("--loss squared_error", "loss squared error"),
    ],
)
def test_options_of_learning(backpass: Command, tmp_path: Path, options: str, told: str) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", *QUICK, *options.split())
    assert said.code == 0, said.err
    assert told in " ".join(said.out.split()), said.out
    checked = backpass("check", "runs/small-1", "--batch", "7")
    assert checked.code == 0, checked.out + checked.err
    assert backpass("why", "runs/small-1", "W1[0,0]").code == 0
    assert backpass("predict", "runs/small-1", "small.npz").code == 0
    assert "dW1" in backpass("show", "runs/small-1", "--backward").out


def test_to_the_end_or_to_a_time(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", *QUICK, "--patience", "0")
    assert "best weights" not in said.out
    assert "15 steps in" in said.out
    words = ("--epochs", "1000000", "--time-limit", "0.3", "--executor", "reference")
    said = backpass("train", "small.npz", *words, "--patience", "0")
    assert said.code == 0
    assert "the time limit of 0.3 s ended the run" in " ".join(said.out.split())


def test_start_from_a_run(backpass: Command, here: Path) -> None:
    from backpass.run import load

    words = ("train", "small.npz", "--layers", "4,3", "--epochs", "1", "--executor", "reference")
    said = backpass(*words, "--start", "runs/small-1", "--json")
    before, after = load(here / "runs/small-1"), load(here / said.object["run"])
    assert np.array_equal(before.weights["W1"], after.record.checkpoints[0]["W1"])
    backpass(*words, "--start", "runs/small-7").fails(4, "runs/small-7")
    other = backpass("train", "small.npz", *QUICK, "--start", "runs/small-1")
    other.fails(2, "W1")


def test_how_the_result_grows_with_the_rows(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", *QUICK, "--rows", "all,10,20", "--json")
    found = said.object
    assert found["rows"] == [10, 20, 42]
    assert [run["rows"]["test"] for run in found["runs"]] == [12, 12, 12]
    assert [Path(run["run"]).name for run in found["runs"]] == ["10", "20", "all"]
    assert "10, 20, all to train on" in said.err
    assert said.err.count("data  ") == 1, "what all of them share is told once"
    assert "training rows   log loss (test)   accuracy (test)   AUC (test)   steps" in said.err
    assert (tmp_path / found["picture"]).stat().st_size > 1000
    assert backpass("show", found["runs"][1]["run"]).code == 0
    assert backpass("train", "small.npz", *QUICK, "--rows", "10", "--quiet").out == "runs/small-1\n"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.arange(59) % 2}, ["60", "59"]),
        ({"X": np.full((60, 3), np.nan)}, ["small.npz", "NaN"]),
        ({"X": np.full((60, 3), np.inf)}, ["small.npz", "inf"]),
        ({"y": np.zeros(60, int)}, ["class"]),
        ({"X": np.zeros((0, 3)), "y": np.zeros(0)}, ["empty", "0 x 3"]),
        ({"X": np.zeros((60, 0))}, ["empty", "60 x 0"]),
        ({"y": None}, ["y"]),
        ({"X": np.array([["a", "b", "c"]] * 60)}, ["'a'"]),
    ],
    ids=["lengths", "nan", "infinity", "one class", "empty", "no columns", "no labels", "words"],
)  # fmt: skip
def test_bad_data(backpass: Command, tmp_path: Path, arrays: dict[str, Any], words: Sequence[str]) -> None:
    small(tmp_path, **arrays)
    backpass("train", "small.npz").fails(3, *words)
    said = backpass("train", "small.npz", "--json")
    assert said.object["error"]["exit_code"] == 3
    assert not (tmp_path / "runs").exists()


def test_data_that_are_not_there(backpass: Command, tmp_path: Path) -> None:
    small(tmp_path)
    backpass("train", "smal.npz").fails(3, "Did you mean 'small.npz'?")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "small.npz").read_bytes()[:200])
    backpass("train", "torn.npz").fails(3, "torn.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    backpass("train", "empty.npz").fails(3, "empty")


@pytest.mark.parametrize("executor", ["reference", "compiled"])
def test_divergence_stops_with_code_5_and_a_readable_run(
    backpass: Command, tmp_path: Path, executor: str
) -> None:
    small(tmp_path)
    said = backpass("train", "small.npz", "--lr", "1e30", "--executor", executor, "--json")
    said.fails(5, "diverged at step", "is not finite", "learning rate", "runs")
    found = said.object
    assert found["error"]["type"] == "NonFinite"
    assert found["step"] == found["steps"] + 1
    assert found["tensor"] in said.err
    assert found["status"] == "diverged"
    shown = backpass("show", found["run"], "--update")
    assert shown.code == 0
    assert "lr = 1e+30" in shown.out
    assert "diverged" in backpass("predict", found["run"], "small.npz").err


def test_no_colour_off_a_terminal_and_with_no_color(
    backpass: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in backpass("train", "digts").err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in backpass("train", "digts").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in backpass("train", "digts").err
