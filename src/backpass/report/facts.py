"""Everything a report shows, as plain data: numbers are taken from the run here, and nowhere later."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.pictures.axes import count, figure, fixed, percent
from backpass.pictures.curves import Panel
from backpass.report.asked import Asked, asked
from backpass.report.held import PARTS, Held, Parts, held
from backpass.report.history import learning_panels
from backpass.report.weights import Images, Net, images, net
from backpass.version import __version__

_POINTS = 2000  # of a cloud
_CLASSES = 30  # of a confusion matrix

#: Metrics in the order of the table: key, name, how it is written.
_METRICS = (
    ("accuracy", "accuracy", percent),
    ("exact", "all labels right", percent),
    ("log_loss", "log loss (nats)", figure),
    ("auc", "AUC", fixed),
    ("precision", "precision (macro mean)", percent),
    ("recall", "recall (macro mean)", percent),
    ("f1", "F1 (macro mean)", percent),
    ("r2", "R²", fixed),
    ("mae", "mean absolute error", figure),
    ("rmse", "root mean squared error", figure),
)


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the first column is a name, the others are figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Confusion:
    """The parts of `confusion.confusion_matrix`."""

    part: str
    classes: tuple[Any, ...]
    counts: list[list[int]]
    shares: list[list[float]]
    note: str


@dataclass(frozen=True)
class Cloud:
    """The parts of `curves.scatter`."""

    part: str
    name: str
    true: list[float]
    predicted: list[float]
    note: str


@dataclass(frozen=True)
class Facts:
    """What a report says, section by section."""

    title: str
    headline: tuple[str, ...]
    summary: tuple[tuple[str, str], ...]
    preparation: tuple[str, ...]
    notes: tuple[str, ...]
    metrics: Table | None
    metric_notes: tuple[str, ...]
    details: Table | None
    panels: tuple[Panel, ...]
    confusion: Confusion | None
    clouds: tuple[Cloud, ...]
    net: Net | None
    images: Images | None
    weights: tuple[tuple[str, str], ...]
    asked: Asked
    backward: str
    step: str
    reproduce: tuple[tuple[str, str], ...]
    code: str


def facts(
    run: Any,
    *,
    scores: Mapping[str, dict[str, Any]] | None = None,
    baselines: Mapping[str, dict[str, Any]] | None = None,
    preparation_summary: Sequence[str] = (),
    parts: Parts | None = None,
    command: str = "",
    full: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Facts:
    """Take from a run what its report says; the parameters are those of `report_html`."""
    known = held(run, parts, scores)
    task = run.settings.data.task
    if baselines is None:
        baselines = known.baselines()
    metrics, notes = _metrics(run, known, baselines)
    return Facts(
        title=f"{run.settings.data.name}: {_network(run)}",
        headline=_headline(run, known, baselines),
        summary=_summary(run, known),
        preparation=tuple(preparation_summary) or tuple(run.preparation.summary()),
        notes=_notes(run),
        metrics=metrics,
        metric_notes=notes,
        details=_details(known),
        panels=tuple(learning_panels(run)),
        confusion=confusion(known) if task == "classification" else None,
        clouds=tuple(clouds(known)) if task == "regression" else (),
        net=net(run),
        images=images(run),
        weights=_weights(run),
        asked=asked(run, full=full, progress=progress),
        backward=run.text(section="backward", prelude=False),
        step=run.text(),
        reproduce=_reproduce(run, command),
        code=_code(run),
    )


# ---- words


def _network(run: Any) -> str:
    """The network in short: 64 - 30 relu - 10 softmax; layers of other kinds by their names."""
    words = [str(run.settings.in_features)]
    for layer in run.settings.layers:
        if "units" in layer:
            activation = layer.get("activation", "identity")
            name = activation if isinstance(activation, str) else activation.get("name", "")
            words.append(f"{layer['units']} {name}".removesuffix(" identity").strip())
        elif "same" in layer:
            words.append(f"layer {layer['same']} again")
        else:
            words.append(str(layer.get("layer", "layer")).replace("_", " "))
    return " - ".join(words)


def _named(settings: str | Mapping[str, Any]) -> str:
    """A loss or an optimiser in words: its name and the settings that are not off."""
    if isinstance(settings, str):
        return settings.replace("_", " ")
    rest = {k: v for k, v in settings.items() if k != "name" and v not in (None, 0, False)}
    told = [f"{k} {_named(v) if isinstance(v, Mapping) else figure(v) if isinstance(v, float) else v}"
            for k, v in rest.items()]  # fmt: skip
    return ", ".join([str(settings.get("name", "")).replace("_", " "), *told])


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _headline(run: Any, known: Held, baselines: Mapping[str, Any]) -> tuple[str, ...]:
    part = known.shown
    found = dict(known.scores.get(part) or run.metrics.get(part, {}))
    key, tell = ("r2", fixed) if run.settings.data.task == "regression" else ("accuracy", percent)
    value = found.get(key)
    if value is None or not math.isfinite(value):
        return ()
    name = {"r2": "R²"}.get(key, "accuracy")
    of = f" of {found['rows']:,} rows" if "rows" in found else ""
    told = [f"{name[0].upper()}{name[1:]} on the {part} part{of}: {tell(value)}."]
    compared = [
        f"{model['name']}: {tell(model['parts'][part][key])}"
        for model in baselines.values()
        if model["parts"].get(part, {}).get(key) is not None
    ]
    if compared:
        told.append(f"To compare, on the same rows: {'; '.join(compared)}.")
    return tuple(told)


def _summary(run: Any, known: Held) -> tuple[tuple[str, str], ...]:
    settings, outcome = run.settings, run.record.outcome
    rows = [f"{settings.data.rows:,} to train on"]
    for part in PARTS[1:]:
        held_out = (
            len(known.parts[part][0]) if part in known.parts else known.scores.get(part, {}).get("rows")
        )
        rows += [f"{held_out:,} for {part}"] if held_out else []
    answers = run.answers_named
    task = settings.data.task
    what = f"{task} into {len(answers)} classes" if task == "classification" else task
    parameters = sum(a.size for a in run.weights.values())
    epochs = f"{settings.epochs:,} epochs" if settings.epochs > 1 else "1 epoch"
    versions = {"backpass": __version__, **settings.machine.versions}
    threads = f"{settings.machine.threads} thread{'s' * (settings.machine.threads != 1)}"
    ended = {"finished": "", "stopped early": ", stopped early"}.get(run.status, f", {run.status}")
    return (
        ("data", f"{settings.data.name}, {what}"),
        ("rows", ", ".join(rows)),
        ("network", f"{_network(run)}; {parameters:,} weights and biases, {settings.dtype}"),
        ("loss", _named(settings.loss)),
        ("optimiser", _named(settings.optimiser)),
        ("training", f"{run.steps:,} steps of {settings.batch:,} rows, at most {epochs}{ended}"),
        ("time", _duration(outcome.seconds)),
        ("executor", f"{settings.executor}: {settings.executor_why}"),
        ("seed", str(settings.seed)),
        ("machine", f"{settings.machine.cpu}, {threads}, {settings.machine.blas}"),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
    )


def _notes(run: Any) -> tuple[str, ...]:
    outcome = run.record.outcome
    notes = [outcome.message] if outcome.message else []
    return (*notes, *outcome.notes, *run.preparation.warnings)


# ---- tables


def _metrics(
    run: Any, known: Held, baselines: Mapping[str, dict[str, Any]]
) -> tuple[Table | None, tuple[str, ...]]:
    """A row for each metric; a column for each part, and for each baseline on the part that counts."""
    shown = known.shown or next((p for p in reversed(PARTS) if p in run.metrics), "")
    columns: list[tuple[str, Mapping[str, Any]]] = []
    for part in PARTS:
        merged = {**run.metrics.get(part, {}), **known.scores.get(part, {})}
        if merged:
            columns.append((part, merged))
    if not columns:
        return None, ()
    for model in baselines.values():
        if shown in model["parts"]:
            columns.append((f"{model['name']} ({shown})", model["parts"][shown]))
    rows = []
    for key, name, tell in (("loss", f"loss ({_named(run.settings.loss)})", figure), *_METRICS):
        values = [found.get(key) for _, found in columns]
        if any(v is not None and math.isfinite(v) for v in values):
            rows.append((name, *(tell(v) for v in values)))
    if any("rows" in found for _, found in columns):
        rows.append(("rows", *(count(found.get("rows")) for _, found in columns)))
    notes = [
        f"The {model['name']} saw {model['rows']:,} of the {model['of']:,} training rows"
        + ("." if model["converged"] else ", and was stopped before it had converged.")
        for key, model in baselines.items()
        if key == "linear" and (model["rows"] < model["of"] or not model["converged"])
    ]
    for part, found in columns:
        if found.get("not_finite"):
            notes.append(f"{part}: {found['not_finite']:,} rows have outputs that are NaN or infinite.")
    return Table(("", *(name for name, _ in columns)), tuple(rows)), tuple(notes)


def _details(known: Held) -> Table | None:
    """Metrics by class, label or target, of the part that counts."""
    found = known.scores.get(known.shown, {})
    for key, name, tellers in (
        ("by_class", "class", {"precision": percent, "recall": percent, "f1": percent, "support": count}),
        ("by_label", "label", {"accuracy": percent, "auc": fixed, "precision": percent, "recall": percent,
                               "f1": percent, "support": count}),
        ("by_target", "target", {"r2": fixed, "mae": figure, "rmse": figure}),
    ):  # fmt: skip
        rows = found.get(key, [])
        if len(rows) > 1:
            words = {"f1": "F1", "auc": "AUC", "r2": "R²", "mae": "MAE", "rmse": "RMSE", "support": "rows"}
            head = (f"{name} ({known.shown})", *(words.get(k, k) for k in tellers))
            body = tuple((str(row[name]), *(t(row[k]) for k, t in tellers.items())) for row in rows)
            return Table(head, body)
    return None


# ---- pictures


def confusion(known: Held) -> Confusion | None:
    """The confusion matrix of the part that counts; of many classes, those with most mistakes."""
    found = known.scores.get(known.shown, {})
    counts = np.asarray(found.get("confusion") or [], dtype=np.int64)
    if not counts.size:
        return None
    classes, wrong = list(found["classes"]), ""
    if len(classes) > _CLASSES:
        mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        kept = np.sort(np.argsort(-mistakes, kind="stable")[:_CLASSES])
        wrong = f"; the {_CLASSES} of {len(classes)} classes with most mistakes"
    else:
        kept = np.arange(len(classes))
    # Shares are of all rows of a class, also of those whose answers are not shown.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    some = np.ix_(kept, kept)
    note = f"{found['rows']:,} {known.shown} rows{wrong}"
    names = tuple(classes[k] for k in kept)
    return Confusion(known.shown, names, counts[some].tolist(), shares[some].tolist(), note)


def clouds(known: Held) -> list[Cloud]:
    """Predicted and true quantities of the part that counts, for at most four targets."""
    part = known.shown
    if part not in known.parts:
        return []
    true, said = known.answers(part)
    rows = len(true)
    picked = np.arange(rows)
    note = f"{rows:,} {part} rows"
    if rows > _POINTS:
        # Evenly spaced: held-out rows are in no order that matters, and the picture is the same each time.
        picked = (np.arange(_POINTS) * rows) // _POINTS
        note = f"{_POINTS:,} of {rows:,} {part} rows"
    names = [str(n) for n in known.run.answers_named] or [""] * true.shape[1]
    if len(names) != true.shape[1] or (true.shape[1] > 1 and not any(names)):
        names = [f"target {k}" for k in range(true.shape[1])]
    return [
        Cloud(part, names[k], true[picked, k].tolist(), said[picked, k].tolist(), note)
        for k in range(min(true.shape[1], 4))
    ]


def _weights(run: Any) -> tuple[tuple[str, str], ...]:
    """Every parameter of a small net, in print."""
    if sum(a.size for a in run.weights.values()) > 100:
        return ()
    return tuple(
        (name, np.array2string(a, precision=4, suppress_small=True)) for name, a in run.weights.items()
    )


# ---- again


def _reproduce(run: Any, command: str) -> tuple[tuple[str, str], ...]:
    settings = run.settings
    found = [("command", command)] if command else []
    found += [("run folder", str(run.path))] if run.path is not None else []
    found += [("data", settings.data.source or "arrays given in Python")]
    found += [("fingerprint of the data (sha256)", settings.data.fingerprint), ("seed", str(settings.seed))]
    return tuple(found)


def _code(run: Any) -> str:
    """Python that computes the run again and compares."""
    path = repr(str(run.path)) if run.path is not None else None
    first = f"run = bp.load({path})" if path else 'run.save("my-run"); run = bp.load("my-run")'
    return (
        f"import backpass as bp\n{first}\n"
        f"run.verify()  # every step again, compared bit for bit with each checkpoint\n"
        f"run.at({max(1, run.steps)}).keys()  # every value of this step, by its printed name"
    )
