"""The operations. One class each, with everything that the library knows about it.

Importing this package registers the ops and gives a Node its infix operators.
"""

from backpass.ir.tuples import Item
from backpass.ops.elementwise import (
    Add,
    Divide,
    Exp,
    Gate,
    Log,
    Multiply,
    Negate,
    Relu,
    Sigmoid,
    Subtract,
    Tanh,
)
from backpass.ops.heads import SigmoidCrossEntropy, Softmax, SoftmaxCrossEntropy, SquaredError
from backpass.ops.leaves import (
    Constant,
    Identity,
    Input,
    Size,
    constant,
    count,
    data,
    filled,
    number,
    parameter,
    state,
)
from backpass.ops.linalg import MatMul
from backpass.ops.loops import Scan
from backpass.ops.reduce import Mean, Sum
from backpass.ops.shape import Broadcast, Reshape, Transpose

__all__ = [
    "Add", "Broadcast", "Constant", "Divide", "Exp", "Gate", "Identity", "Input", "Item", "Log", "MatMul",
    "Mean", "Multiply", "Negate", "Relu", "Reshape", "Scan", "Sigmoid", "SigmoidCrossEntropy", "Size",
    "Softmax", "SoftmaxCrossEntropy", "SquaredError", "Subtract", "Sum", "Tanh", "Transpose", "constant",
    "count", "data", "filled", "number", "parameter", "state",
]  # fmt: skip
