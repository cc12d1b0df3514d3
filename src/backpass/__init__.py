"""backpass: train neural networks by backpropagation, and know what they did.

>>> import backpass as bp
>>> net = bp.Network([bp.Dense(30, "sigmoid"), bp.Dense(10, "softmax")])
>>> run = bp.train(net, "digits", optimizer=bp.SGD(0.5), epochs=2, test=0.2)
>>> visit = run.at(17)
>>> visit["δ1"].shape
(32, 30)

Names are looked up when they are first used, so that importing the package stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from backpass.version import __version__

if TYPE_CHECKING:
    from backpass.explain import Answer
    from backpass.fit import network_for, resume, train
    from backpass.ir import Graph
    from backpass.nn import (
        Activation,
        Apply,
        BatchNorm,
        Dense,
        Dropout,
        Embedding,
        Flatten,
        Inputs,
        LayerNorm,
        Network,
        Residual,
        initialisers,
        join,
        losses,
    )
    from backpass.ops import functions
    from backpass.passes import backward, grad, trace, value_and_grad
    from backpass.run import Run, load
    from backpass.testing import check_gradients, check_op
    from backpass.training import schedules
    from backpass.training.optimisers import SGD, Adagrad, Adam, AdamW, RMSprop
    from backpass.training.stopping import EarlyStopping
    from backpass.visit import Visit

_HOMES = {
    "Activation": "backpass.nn",
    "Adagrad": "backpass.training.optimisers",
    "Adam": "backpass.training.optimisers",
    "AdamW": "backpass.training.optimisers",
    "Answer": "backpass.explain",
    "Apply": "backpass.nn",
    "BatchNorm": "backpass.nn",
    "Dense": "backpass.nn",
    "Dropout": "backpass.nn",
    "EarlyStopping": "backpass.training.stopping",
    "Embedding": "backpass.nn",
    "Flatten": "backpass.nn",
    "Graph": "backpass.ir",
    "Inputs": "backpass.nn",
    "LayerNorm": "backpass.nn",
    "Network": "backpass.nn",
    "RMSprop": "backpass.training.optimisers",
    "Residual": "backpass.nn",
    "Run": "backpass.run",
    "SGD": "backpass.training.optimisers",
    "Visit": "backpass.visit",
    "backward": "backpass.passes",
    "check_gradients": "backpass.testing",
    "check_op": "backpass.testing",
    "functions": "backpass.ops",
    "grad": "backpass.passes",
    "initialisers": "backpass.nn",
    "join": "backpass.nn",
    "load": "backpass.run",
    "losses": "backpass.nn",
    "network_for": "backpass.fit",
    "resume": "backpass.fit",
    "schedules": "backpass.training",
    "trace": "backpass.passes",
    "train": "backpass.fit",
    "value_and_grad": "backpass.passes",
}

__all__ = [
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Answer",
    "Apply",
    "BatchNorm",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "Flatten",
    "Graph",
    "Inputs",
    "LayerNorm",
    "Network",
    "RMSprop",
    "Residual",
    "Run",
    "Visit",
    "__version__",
    "backward",
    "check_gradients",
    "check_op",
    "functions",
    "grad",
    "initialisers",
    "join",
    "load",
    "losses",
    "network_for",
    "resume",
    "schedules",
    "trace",
    "train",
    "value_and_grad",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'backpass' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
