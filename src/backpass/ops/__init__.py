"""The operations. One class each, with everything that the library knows about it.

Importing this package registers the ops and gives a Node its infix operators.
"""

from backpass.ir.tuples import Item
from backpass.ops.activations import (
    Elu,
    Gate,
    Gelu,
    HardTanh,
    LeakyRelu,
    Relu,
    Selu,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Tanh,
)
from backpass.ops.arithmetic import (
    Abs,
    Add,
    Clip,
    Divide,
    Maximum,
    Minimum,
    Multiply,
    Negate,
    Power,
    Sign,
    Sqrt,
    Square,
    Subtract,
)
from backpass.ops.compare import (
    Cast,
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    NotEqual,
    StopGradient,
    Where,
)
from backpass.ops.heads import LogSoftmax, SigmoidCrossEntropy, Softmax, SoftmaxCrossEntropy, SquaredError
from backpass.ops.index import Concatenate, Gather, Pad, ScatterAdd, Slice, Stack
from backpass.ops.leaves import (
    Constant,
    Identity,
    Input,
    Size,
    constant,
    count,
    data,
    filled,
    fixed,
    number,
    parameter,
    state,
)
from backpass.ops.linalg import Einsum, MatMul
from backpass.ops.loops import Scan
from backpass.ops.random import Uniform
from backpass.ops.reduce import ArgMax, CumSum, LogSumExp, Max, Mean, Min, Prod, Sum
from backpass.ops.shape import Broadcast, Reshape, Transpose
from backpass.ops.transcendental import Cos, Erf, Exp, Expm1, Log, Log1p, Sin

# isort: split
from backpass.ops import functions

__all__ = [
    "Abs", "Add", "ArgMax", "Broadcast", "Cast", "Clip", "Concatenate", "Constant", "Cos", "CumSum", "Divide",
    "Einsum", "Elu", "Equal", "Erf", "Exp", "Expm1", "Gate", "Gather", "Gelu", "Greater", "GreaterEqual",
    "HardTanh", "Identity", "Input", "Item", "LeakyRelu", "Less", "LessEqual", "Log", "Log1p", "LogSoftmax",
    "LogSumExp", "MatMul", "Max", "Maximum", "Mean", "Min", "Minimum", "Multiply", "Negate", "NotEqual",
    "Pad", "Power", "Prod", "Relu", "Reshape", "Scan", "ScatterAdd", "Selu", "Sigmoid", "SigmoidCrossEntropy",
    "Sign", "Silu", "Sin", "Size", "Slice", "Softmax", "SoftmaxCrossEntropy", "Softplus", "Softsign", "Sqrt",
    "Square", "SquaredError", "Stack", "StopGradient", "Subtract", "Sum", "Tanh", "Transpose", "Uniform",
    "Where", "constant", "count", "data", "filled", "fixed", "functions", "number", "parameter", "state",
]  # fmt: skip
