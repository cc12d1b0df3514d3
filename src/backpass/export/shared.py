"""What exported scripts have in common: their constants, how they are used, and `standalone`."""

from __future__ import annotations

import json
from importlib.resources import files as resources

from backpass.export.contents import Contents, plain

#: What every script imports, by the kind of the module.
STANDARD = ["import csv", "import sys", "from pathlib import Path", "", "import numpy as np"]


def usage(module: str) -> list[str]:
    """How a script is used, as lines."""
    return [
        f"    python {module}.py rows.csv      (or rows.npy, or - for standard input)",
        "",
        "prints a table: for each row the prediction, and for classes the probability of each.",
        f"From Python: import {module}; {module}.predict(X), {module}.predict_raw(X).",
    ]


def constants(found: Contents) -> str:
    """What a script knows of its network: plain numbers and text, written as literals."""
    data = found.run.settings.data
    known = {
        "DTYPE": {"f32": "float32", "f64": "float64"}[found.dtype],
        "IN_FEATURES": found.run.settings.in_features,
        "OUTPUTS": int(found.run.record.network.outputs),
        "SCALE": float(data.scale),
        "TASK": str(data.task),
        "CLASSES": json.loads(json.dumps(plain(data.classes))),
        "PROBABLE": found.run.record.network.activation in ("softmax", "sigmoid"),
    }
    return "\n".join(f"{name} = {value!r}" for name, value in known.items())


def shared() -> str:
    """The part of `standalone` that goes into a script."""
    text = resources("backpass.export").joinpath("standalone.py").read_text(encoding="utf-8")
    _, line, kept = text.partition("# -----")
    return (line + kept).rstrip("\n") + "\n"
