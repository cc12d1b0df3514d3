"""The tests that backpass applies to itself, for your own ops, programs and executors.

- `check_op` puts one op through everything that the library expects of an op.
- `check_gradients` compares the gradients of a whole program with finite differences.
- `check_executor` compares an executor with the reference.

Derivatives are compared with central differences of order 8 in f64. An error is reported as
``|a - n| / max(|a|, |n|, floor)`` for analytic a and numeric n. The numeric value itself is only known up to
the rounding of the function, divided by the step; ``floor`` is that uncertainty over the tolerance. So an
error of at most the tolerance means: they agree to that many digits, or both are so small that they differ
by no more than rounding.
"""

from backpass.testing.executors import check_executor, run_text, same_bits
from backpass.testing.gradients import GradientCheck, Worst, check_gradients
from backpass.testing.ops import OpCheck, check_op

__all__ = [
    "GradientCheck",
    "OpCheck",
    "Worst",
    "check_executor",
    "check_gradients",
    "check_op",
    "run_text",
    "same_bits",
]
