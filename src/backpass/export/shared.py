"""What exported scripts have in common: their constants, how they are used, and the `standalone` parts."""

from __future__ import annotations

import inspect
import json
from importlib.resources import files as resources
from typing import Any

from backpass.data import columns
from backpass.data.sniff import HOLES
from backpass.export.contents import Contents, plain

#: What every script imports.
STANDARD = [
    "from __future__ import annotations",
    "",
    "import csv",
    "import datetime",
    "import json",
    "import os",
    "import re",
    "import sys",
    "import warnings",
    "from pathlib import Path",
    "",
    'os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the run: it can decide the last bit',
    "import numpy as np",
]


def usage(found: Contents, module: str) -> list[str]:
    """How a script is used, as lines."""
    others = "or - for standard input" if of_table(found) else "or rows.npy, or - for standard input"
    return [
        f"    python {module}.py rows.csv      ({others})",
        "",
        "prints a table: for each row the prediction, and for classes the probability of each.",
        f"From Python: import {module}; {module}.predict(X), {module}.predict_raw(X)"
        + (", X a data frame." if of_table(found) else "."),
    ]


def of_table(found: Contents) -> bool:
    """Whether the network learned from a table, so that columns have names and are prepared one by one."""
    return bool(found.preparation["kind"] == "table")


def constants(found: Contents) -> str:
    """What a script knows of its network: plain numbers and text, written as literals."""
    data, made = found.run.settings.data, found.preparation
    known: dict[str, Any] = {
        "DTYPE": {"f32": "float32", "f64": "float64"}[found.dtype],
        "OUTPUTS": int(found.run.record.network.outputs),
        "TASK": str(data.task),
        "CLASSES": plain(data.classes),
        "PROBABLE": found.run.record.network.activation in ("softmax", "sigmoid"),
        "TARGETS": list(made.get("target_names", ())),
        "TARGET_MEAN": made.get("target_mean"),
        "TARGET_STD": made.get("target_std"),
    }
    if of_table(found):
        options = data.options
        holes = (*HOLES, *(word.strip().lower() for word in options.get("holes", ())))
        known |= {"HOLES": holes, "NAMES": options.get("names")}
    else:
        known |= {"IN_FEATURES": found.run.settings.in_features, "SCALE": float(made.get("scale", 1.0))}
        known |= {"MEAN": made.get("mean"), "STD": made.get("std")}
    lines = [f"{name} = {json.loads(json.dumps(plain(value)))!r}" for name, value in known.items()]
    if of_table(found):
        lines.append('COLUMNS = json.loads(Path(__file__).with_name("columns.json").read_text("utf-8"))')
    return "\n".join(lines)


def beside(found: Contents) -> dict[str, bytes]:
    """Files that a script reads besides its weights."""
    if not of_table(found):
        return {}
    return {"columns.json": json.dumps(found.preparation["columns"], indent=1, ensure_ascii=False).encode()}


def shared(found: Contents) -> str:
    """The parts of a script that prepare rows, predict and print."""
    if not of_table(found):
        return _below("standalone_matrix") + "\n\n" + _below("standalone")
    names = ("as_days", "column_names", "encode", "_encode_words", "_encode_date")
    encoding = [inspect.getsource(getattr(columns, name)) for name in names]
    weekdays = f"_WEEKDAYS = {columns._WEEKDAYS!r}\n"
    return "\n\n".join([_below("standalone_table"), weekdays, *encoding, _below("standalone")])


def _below(name: str) -> str:
    """A module below its line of dashes."""
    text = resources("backpass.export").joinpath(f"{name}.py").read_text(encoding="utf-8")
    _, line, kept = text.partition("# -----")
    return (line + kept).rstrip("\n") + "\n"
