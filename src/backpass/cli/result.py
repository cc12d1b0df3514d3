"""How a training ended: its metrics, its report, what to type next; and the same as an object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from backpass.cli import words
from backpass.cli.output import Output, Stopped, clean, duration, percent
from backpass.cli.streamed import parts_scored, peak, where
from backpass.errors import BackpassError, NonFinite

if TYPE_CHECKING:
    from backpass.run import Run

_MOST_CLASSES = 12  # with a line of their own

#: Columns of the table: key, heading, how it is written.
COLUMNS = {
    "classification": (("log_loss", "log loss"), ("accuracy", "accuracy"), ("auc", "AUC")),
    "multilabel": (
        ("log_loss", "log loss"),
        ("accuracy", "accuracy"),
        ("exact", "all right"),
        ("auc", "AUC"),
    ),
    "regression": (("r2", "R²"), ("mae", "MAE"), ("rmse", "RMSE")),
}
_SHARES = ("accuracy", "exact", "precision", "recall")


def finish(output: Output, run: Run, command: str) -> None:
    """Say how it went, and write the report."""
    best = shown_part(run)
    output.say()
    columns = COLUMNS[run.settings.data.task]
    rows = [[part, *cells(found, columns)] for part, found in run.scores.items()]
    for model in run.baselines.values():
        rows.append([f"{model['name']} ({best})", *cells(model["parts"][best], columns)])
    output.table(["", *(heading for _, heading in columns)], rows)
    _by_class(output, run, best)
    output.say()
    for line in _judged(run, best):
        output.prose(line, "yellow")
    for note in filter(None, (*run.record.outcome.notes, parts_scored(run))):
        output.note(f"note: {note}")
    kept = run.record.outcome.best_step
    told = [f"{words.counted(run.steps, 'step')} in {duration(run.record.outcome.seconds)}"]
    if run.status != "finished":
        told.append(run.record.outcome.message or run.status)
    if kept not in (None, run.steps):
        told.append(f"the weights are those of step {kept:,}, the best")
    output.prose("; ".join(told))
    try:
        report = run.report(command=command, full=False)
    except BackpassError as error:
        output.note(f"note: no report could be written: {error}")
        output.say(f"The run is in {run.path}")
    else:
        output.say(f"The run is in {run.path}; to look at it, open {report}")
    if where(run) and (most := peak()):
        output.say(f"Peak memory: {most}, the pages of files among it")
    output.say("Next, for example:")
    for line in _next(run):
        output.say(f"  {line}")


def shown_part(run: Run) -> str:
    """The part to judge a network by."""
    return next(part for part in ("test", "validation", "train") if part in run.parts)


def cells(found: dict[str, Any], columns: tuple[tuple[str, str], ...]) -> list[str]:
    return [_cell(key, found.get(key)) for key, _ in columns]


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return percent(value) if key in _SHARES else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"


def _by_class(output: Output, run: Run, part: str) -> None:
    """Precision and recall of each class or label; or the figures of each target."""
    scores = run.scores[part]
    found = scores.get("by_class") or scores.get("by_label") or scores.get("by_target") or []
    if not 2 <= len(found) <= _MOST_CLASSES:
        return
    key = next(k for k in ("class", "label", "target", "name") if k in found[0])
    if "precision" in found[0]:
        rows = [
            [
                str(x[key]),
                _cell("precision", x["precision"]),
                _cell("recall", x["recall"]),
                f"{x['support']:,}",
            ]
            for x in found
        ]
        head = [part, "precision", "recall", "rows"]
    else:
        rows = [[str(x[key]), *cells(x, COLUMNS["regression"])] for x in found]
        head = [part, *(heading for _, heading in COLUMNS["regression"])]
    output.say()
    output.table(head, rows)


def _judged(run: Run, part: str) -> list[str]:
    """Whether the network is worth its trouble: nothing if it is, else what is wrong and what to do."""
    key = "r2" if run.settings.data.task == "regression" else "accuracy"
    ours, simple = run.scores[part].get(key), {n: m["parts"] for n, m in run.baselines.items()}
    constant = simple.get("majority") or simple.get("mean") or {}
    margin = 0.02 if key == "r2" else 0.0
    least, linear = (known.get(part, {}).get(key) for known in (constant, simple.get("linear") or {}))
    if ours is None or least is None:
        return []
    learned = run.scores["train"][key] > constant["train"][key] + max(margin, 0.02)
    if ours <= least + margin:
        if not learned:
            return [
                "This network has learned nothing yet: always giving the same answer does as well.",
                "Try another --lr, more --epochs, or other columns.",
            ]
        return [
            f"It knows its training rows, but on the {part} rows always giving the same answer does as well.",
            "More rows help, or a smaller network, or a larger --l2 such as 0.01.",
        ]
    if linear is not None and ours < linear:
        planned = run.record.batches.steps
        growing = run.status == "finished" and (run.record.outcome.best_step or planned) > 0.9 * planned
        more = "--epochs, for it was still getting better" if growing else "rows"
        return [f"A linear model does better here: prefer it, or give this one more {more}."]
    return []


def _next(run: Run) -> list[str]:
    """What to type next, with a weight that has something to say."""
    given = run.settings.data.source
    new = "new.csv" if run.preparation.kind == "table" else "new.npy"
    if run.settings.data.image_shape and Path(given).is_dir():
        new = "new.png"
    return [
        f"backpass show {run.path} --backward",
        f"backpass why {run.path} '{moved(run)}' --step {run.steps}",
        f"backpass predict {run.path} {new} --out predictions.csv",
    ]


def moved(run: Run) -> str:
    """The weight of the output layer that has moved most since the start."""
    import numpy as np

    name = [n for n, array in run.weights.items() if array.ndim == 2][-1]
    moved = np.abs(run.weights[name].astype(np.float64) - run.record.checkpoints[0][name])
    return f"{name}[{','.join(str(int(i)) for i in np.unravel_index(np.argmax(moved), moved.shape))}]"


def result(run: Run, judged: bool = True) -> dict[str, Any]:
    """The object of ``--json``; where a person waits for it to stop, without what takes time."""
    settings, batches, outcome = run.settings, run.record.batches, run.record.outcome
    judged = judged and run.steps > 0
    return {
        "run": str(run.path),
        "report": str(run.path / "report.html") if run.path and (run.path / "report.html").exists() else None,
        "status": run.status,
        "task": settings.data.task,
        "data": settings.data.name,
        "prepared": run.preparation.summary(),
        "warnings": list(run.preparation.warnings),
        "network": words.network(settings),
        "weights": words.weights(run.graph),
        "rows": {part: len(x) for part, (x, _) in run.parts.items()},
        "steps": run.steps,
        "best_step": outcome.best_step,
        "epochs": batches.epoch_of(run.steps) if run.steps < batches.steps else settings.epochs,
        "seconds": round(outcome.seconds, 6),
        "executor": settings.executor,
        "executor_why": settings.executor_why,
        "seed": settings.seed,
        "notes": list(outcome.notes),
        "metrics": {
            part: {**run.metrics.get(part, {}), **(run.scores[part] if judged else {})} for part in run.parts
        },
        "baselines": run.baselines if judged else {},
    }


def stopped(run: Run | None, folder: Path, code: int) -> Stopped:
    """A training that was asked to stop."""
    if run is None or not (folder / "run.json").exists():
        return Stopped("before the first step; nothing was kept", code)
    total = run.record.batches.steps
    kept = f"after step {run.steps:,} of {total:,}; these steps are kept in {folder}"
    error = Stopped(kept, code, result(run, judged=False))
    scores = [f"{part} {words.quick_score(found)}" for part, found in run.metrics.items()]
    if scores and run.steps:
        error.add_note(f"  So far: {', '.join(scores)}")
        error.add_note(f"  Ask it something: backpass why {folder} '{moved(run)}'")
    error.add_note(f"  Go on with it: backpass train --resume {folder}")
    return error


def told_divergence(error: NonFinite, folder: Path) -> None:
    """Where the run is, and how to look at its last good step."""
    run = getattr(error, "run", None)
    error.add_note(f"  The run up to there is in {folder}")
    details: dict[str, Any] = {"step": error.step, "tensor": error.tensor}
    if run is not None:
        details |= {"run": str(folder), "status": run.status, "steps": run.steps}
        if run.steps:
            error.add_note(
                f"  Look at its last good step: backpass why {folder} '{moved(run)}' --step {run.steps}"
            )
            error.add_note(
                f"  Go on from an earlier one: backpass branch {folder} --at {run.steps // 2} --lr RATE"
            )
    error.details = clean(details)  # type: ignore[attr-defined]
