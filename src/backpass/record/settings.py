"""What fixes a run: with the data, enough to repeat it. Stored as ``run.json``."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from backpass.errors import RecordError

#: Format 1 had one way to prepare data, and no program of prediction beside that of a step. Format 2 knew no
#: branches and is read as a run without.
FORMAT, _READ = 3, (2, 3)

Status = Literal["running", "finished", "interrupted", "diverged", "stopped early", "time limit"]


class DataSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the rows came from, and what was done to them."""

    name: str
    source: str  #: what `data.load` takes, or "" for rows kept in the run folder
    options: dict[str, Any]  #: of `data.load`
    fingerprint: str  #: of the whole data set
    preparation: dict[str, Any]  #: see `data.preparation.Preparation.describe`
    task: Literal["classification", "multilabel", "regression"]
    classes: tuple[str | int | float | bool, ...]
    outputs: int  #: columns of the targets, as the network has them
    validation: float | None  #: fraction held out; None for the part that the source itself gives
    test: float | None  #: likewise
    limit: int | None  #: how many of the rows that could be trained on were used; None for all
    rows: int  #: training rows
    all_rows: int  #: of the data set, held-out rows included
    image_shape: tuple[int, ...] | None = None


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the numbers were calculated with."""

    versions: dict[str, str]
    cpu: str
    blas: str
    threads: int


class Branch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a run left another's way, and what held up to there; what holds since is in `Settings`."""

    run: str  #: the folder of the other run; "" where it had none
    step: int  #: completed steps that both share
    hash: str  #: of the carried values after them
    optimiser: dict[str, Any]
    l1: float
    l2: float
    epochs: int  #: planned then
    steps: int  #: likewise
    dropped: str = ""  #: training rows that are left out from there on, by position, as in 17,40-60
    rows: str = ""  #: the same as numbered in the data set


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that fixes a run."""

    layers: tuple[dict[str, Any], ...]
    in_features: int
    loss: str | dict[str, Any]
    optimiser: dict[str, Any]
    batch: int
    epochs: int
    seed: int
    dtype: Literal["f32", "f64"]
    order: Literal["seeded", "sequential", "explicit"]
    executor: str
    executor_why: str
    spacing: int  #: steps from checkpoint to checkpoint at the beginning; see `checkpoints.Spacing`
    data: DataSettings
    machine: Machine
    l1: float = 0.0
    l2: float = 0.0
    weighted: bool = False  #: rows have weights, kept in the folder
    class_weight: Literal["", "balanced", "given"] = ""
    stop: dict[str, Any] | None = None
    time_limit: float | None = None
    start: str = ""  #: where the starting values came from, if they were given
    kept: int = 0  #: checkpoints between start and end, before every second one goes
    record_mb: float = 200.0  #: megabytes of checkpoints that the run may keep
    rules: dict[str, str] = {}  #: hashes of the forward rules of a user's own ops
    branches: tuple[Branch, ...] = ()  #: in the order of their steps; see `forks`


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a schedule decided while the run went: from this step on (counted from 0), times this factor."""

    step: int
    factor: float
    why: str = ""


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """How far a run came, and how well it did."""

    status: Status = "running"
    steps: int = 0  #: completed
    seconds: float = 0.0
    epochs: list[dict[str, float]] = []
    metrics: dict[str, dict[str, float]] = {}
    message: str = ""
    events: list[Event] = []
    best_step: int | None = None  #: the result is the state after this step, not the last
    notes: list[str] = []  #: what a person should know of a run that did not fail


class RunFile(msgspec.Struct, forbid_unknown_fields=True):
    """``run.json``."""

    format: int
    version: str
    settings: Settings
    outcome: Outcome


def encode(file: RunFile) -> bytes:
    """``run.json`` as bytes, indented for people."""
    return msgspec.json.format(msgspec.json.encode(file), indent=2)


def _holes_are_nan(head: dict[str, Any]) -> None:
    """JSON has no NaN: a metric without a value, such as R² of one row, is null in the file."""
    outcome = head.get("outcome")
    if not isinstance(outcome, dict):
        return  # the check of its fields says so
    for key in ("epochs", "metrics"):
        rows = outcome.get(key)
        for row in rows.values() if isinstance(rows, dict) else rows if isinstance(rows, list) else ():
            if isinstance(row, dict):
                row.update({name: float("nan") for name, value in row.items() if value is None})


def decode(raw: bytes, where: str) -> RunFile:
    """Read ``run.json``; every field is checked.

    Raises
    ------
    RecordError
        The file is torn, was not written by backpass, or by a version with another format.
    """
    try:
        head = msgspec.json.decode(raw)
        if not isinstance(head, dict) or not isinstance(head.get("format"), int):
            raise RecordError(f"{where} was not written by backpass: it has no format number")
        if head["format"] not in _READ:
            from backpass.version import __version__

            newer = head["format"] > FORMAT
            raise RecordError(
                f"{where} was written by backpass {head.get('version', '(unknown)')} in format "
                f"{head['format']}; this is backpass {__version__}, which reads format {FORMAT}. "
                + ("Install the newer version." if newer else "Install that version, or train again.")
            )
        _holes_are_nan(head)
        return msgspec.convert(head, RunFile)
    except msgspec.ValidationError as error:
        from backpass.version import __version__

        version = head.get("version")
        if isinstance(version, str) and version != __version__:
            raise RecordError(
                f"{where} was written by backpass {version[:50]}, and this is backpass {__version__}, which "
                f"does not know all of it: {error}. Install that version."
            ) from None
        raise RecordError(f"{where} is torn or was changed by hand: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{where} is torn or was changed by hand: {error}") from None
