"""The bare weights, by the names that the printed program gives them."""

from __future__ import annotations

import json

from backpass.export.contents import Contents, plain
from backpass.version import __version__


def files(found: Contents) -> dict[str, bytes]:
    """``weights.safetensors``: the arrays, and as metadata what they belong to.

    The metadata are text, as the format has it; "network" and "classes" are JSON.
    """
    from safetensors.numpy import save

    settings = found.run.settings
    about = {
        "format": "backpass",
        "version": __version__,
        "dtype": found.dtype,
        "summary": found.summary,
        "network": json.dumps(plain(found.run.record.network.describe())),
        "in_features": str(settings.in_features),
        "prediction": found.output,
        "task": settings.data.task,
        "classes": json.dumps(plain(settings.data.classes)),
        "program": found.graph.text(),
    }
    return {"weights.safetensors": save(dict(found.weights), about)}
