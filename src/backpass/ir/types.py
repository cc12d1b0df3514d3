"""Types of values: a dtype and a shape whose sizes are numbers or named dimensions.

Feature sizes are numbers, because kernels are compiled for them. The batch (``B``), time (``T``) and
anything else that changes from call to call is a *named dimension*: one Graph and one kernel serve every
batch size. A product of named dimensions (``B*T``) is what a reshape that merges them gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from backpass.errors import ShapeError

Dim: TypeAlias = int | str
Shape: TypeAlias = tuple[Dim, ...]

DTYPES: dict[str, np.dtype] = {
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "i64": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
}
_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")
_TYPE = re.compile(r"(f32|f64|i64|bool)\[([^\]]*)\]")


def size_of(shape: Iterable[Dim]) -> Dim:
    """The product of sizes: a number where all are numbers, else a named product.

    Examples
    --------
    >>> size_of((3, 4)), size_of(("T", 2, "B"))
    (12, '2*B*T')
    """
    number, names = 1, []
    for dim in shape:
        for factor in str(dim).split("*") if isinstance(dim, str) else [str(dim)]:
            if factor.removeprefix("-").isdecimal():
                number *= int(factor)
            else:
                names.append(factor)
    if not names:
        return number
    return "*".join(([str(number)] if number != 1 else []) + sorted(names))


def spelled_dim(dim: Dim) -> str:
    """A dimension as a factor of printed Python: ``B``, ``(2 * B)``."""
    factors = str(dim).split("*")
    return factors[0] if len(factors) == 1 else f"({' * '.join(factors)})"


def spelled_shape(shape: Shape) -> str:
    """A shape as a printed Python tuple.

    Examples
    --------
    >>> spelled_shape(("B", 3)), spelled_shape(("2*B",)), spelled_shape(())
    ('(B, 3)', '(2 * B,)', '()')
    """
    dims = ", ".join(spelled_dim(d).strip("()") for d in shape)
    return f"({dims},)" if len(shape) == 1 else f"({dims})"


def names_of(dims: Iterable[Dim]) -> tuple[str, ...]:
    """The named dimensions among some sizes, in order."""
    factors = (f for d in dims if isinstance(d, str) for f in d.split("*"))
    return tuple(dict.fromkeys(f for f in factors if not f.isdecimal()))


def bind_dim(dim: Dim, dims: Mapping[str, int]) -> int:
    """The number that a dimension stands for, given the sizes of the named ones."""
    if isinstance(dim, int):
        return dim
    try:
        return math.prod(int(f) if f.isdecimal() else dims[f] for f in dim.split("*"))
    except KeyError as missing:
        raise ShapeError(f"the size of dimension {missing} is not known; known: {dict(dims)}") from None


@dataclass(frozen=True, slots=True)
class ArrayType:
    """The type of an array, printed and parsed as ``f32[B,784]``.

    Parameters
    ----------
    shape : tuple of int or str
        Sizes; a str is a named dimension.
    dtype : {"f32", "f64", "i64", "bool"}

    Examples
    --------
    >>> t = ArrayType(("B", 784), "f32")
    >>> str(t), t.bind({"B": 10}).nbytes
    ('f32[B,784]', 31360)
    """

    shape: Shape = ()
    dtype: str = "f64"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ShapeError(f"unknown dtype {self.dtype!r}; use one of {', '.join(DTYPES)}")
        for dim in self.shape:
            if isinstance(dim, str):
                if not all(f.isdecimal() or _NAME.fullmatch(f) for f in dim.split("*")):
                    raise ShapeError(f"a named dimension is a capitalised word such as B, not {dim!r}")
            elif dim < 0:
                raise ShapeError(f"a size cannot be negative: {self.shape}")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many entries; named dimensions must have been bound."""
        size = size_of(self.shape)
        if isinstance(size, str):
            raise ShapeError(f"{self} has no size before {size} is bound")
        return size

    @property
    def nbytes(self) -> int:
        return self.size * DTYPES[self.dtype].itemsize

    @property
    def numpy_dtype(self) -> np.dtype:
        return DTYPES[self.dtype]

    @property
    def named(self) -> frozenset[str]:
        """The named dimensions that this type depends on."""
        return frozenset(names_of(self.shape))

    def bind(self, dims: Mapping[str, int]) -> ArrayType:
        """This type with its named dimensions replaced by numbers."""
        return ArrayType(tuple(bind_dim(d, dims) for d in self.shape), self.dtype)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class TupleType:
    """The type of a value that is a tuple; `Item` takes a part of it."""

    items: tuple[ArrayType, ...]

    def bind(self, dims: Mapping[str, int]) -> TupleType:
        return TupleType(tuple(t.bind(dims) for t in self.items))

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.items)

    @property
    def named(self) -> frozenset[str]:
        return frozenset().union(*(t.named for t in self.items))

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"


Type: TypeAlias = ArrayType | TupleType


def parse_type(text: str) -> ArrayType:
    """Read what ``str(ArrayType)`` wrote.

    Examples
    --------
    >>> parse_type("f32[B,784]").shape
    ('B', 784)
    """
    match = _TYPE.fullmatch(text.replace(" ", ""))
    if not match:
        raise ShapeError(f"not a type: {text!r}; write for example f32[B,784]")
    dims = [d for d in match[2].split(",") if d]
    return ArrayType(tuple(int(d) if d.isdecimal() else d for d in dims), match[1])


def dims_of(types: Mapping[str, ArrayType], arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The sizes of the named dimensions, read off arrays; every array is checked against its type.

    Raises
    ------
    ShapeError
        An array is missing, or does not have its type's dtype, rank or sizes.
    """
    dims: dict[str, int] = {}
    seen_in: dict[str, str] = {}
    for name, type_ in types.items():
        if name not in arrays:
            raise ShapeError(f"no value was given for the input {name!r} ({type_})")
        array = arrays[name]
        if array.dtype != type_.numpy_dtype or array.ndim != type_.ndim:
            raise ShapeError(f"{name} must be {type_}, got {array.dtype}{list(array.shape)}")
        for dim, size in zip(type_.shape, array.shape, strict=True):
            if isinstance(dim, int):
                if dim != size:
                    raise ShapeError(f"{name} must be {type_}, got shape {list(array.shape)}")
            elif "*" not in dim:
                if dims.setdefault(dim, size) != size:
                    raise ShapeError(f"{dim} is {dims[dim]} in {seen_in[dim]} but {size} in {name}")
                seen_in.setdefault(dim, name)
    for name, type_ in types.items():
        if type_.bind(dims).shape != arrays[name].shape:  # a product of named dimensions
            raise ShapeError(f"{name} must be {type_}, got shape {list(arrays[name].shape)} where {dims}")
    return dims
