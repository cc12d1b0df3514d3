"""The methods, a file each."""

from backpass.errors import UsageError, nearest
from backpass.rivals.method import Method
from backpass.rivals.methods.backprop import Backprop
from backpass.rivals.methods.finite_differences import FiniteDifferences

#: By name, in the order in which they are told.
METHODS: dict[str, type[Method]] = {method.name: method for method in (Backprop, FiniteDifferences)}


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
