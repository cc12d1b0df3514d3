"""The methods, a file each."""

from backpass.errors import UsageError, nearest
from backpass.rivals.method import Method
from backpass.rivals.methods.backprop import Backprop
from backpass.rivals.methods.delta_rule import DeltaRule
from backpass.rivals.methods.feedback_alignment import FeedbackAlignment
from backpass.rivals.methods.finite_differences import FiniteDifferences
from backpass.rivals.methods.forward_gradient import ForwardGradient
from backpass.rivals.methods.grid import Grid
from backpass.rivals.methods.hill_climbing import HillClimbing
from backpass.rivals.methods.node_perturbation import NodePerturbation
from backpass.rivals.methods.one_weight import OneWeight
from backpass.rivals.methods.random_search import RandomSearch
from backpass.rivals.methods.spsa import SPSA
from backpass.rivals.methods.weight_perturbation import WeightPerturbation

#: By name, in the order in which they are told.
METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Backprop,
        DeltaRule,
        OneWeight,
        FiniteDifferences,
        SPSA,
        WeightPerturbation,
        NodePerturbation,
        ForwardGradient,
        RandomSearch,
        HillClimbing,
        Grid,
        FeedbackAlignment,
    )
}


def method_named(name: str) -> type[Method]:
    """The method of that name.

    Raises
    ------
    UsageError
        There is none; the message offers the nearest.
    """
    if name not in METHODS:
        raise UsageError(f"there is no method {name!r}. {nearest(name, METHODS)}")
    return METHODS[name]
