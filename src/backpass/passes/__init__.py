"""Functions from Graph to Graph, or from Graph to numbers. They know ops; they know no executor."""

from backpass.passes.backward import backward
from backpass.passes.forward_mode import forward_mode
from backpass.passes.functions import grad, trace, value_and_grad
from backpass.passes.linear import Term, linear_terms, scalar_of
from backpass.passes.retype import retyped
from backpass.passes.simplify import simplify
from backpass.passes.work import Work, work

__all__ = [
    "Term",
    "Work",
    "backward",
    "forward_mode",
    "grad",
    "linear_terms",
    "retyped",
    "scalar_of",
    "simplify",
    "trace",
    "value_and_grad",
    "work",
]
