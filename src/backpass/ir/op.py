"""`Op`: everything the library knows about one operation, in one place."""

from __future__ import annotations

import dataclasses
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from backpass.errors import GraphError, RuleError, ShapeError, nearest
from backpass.ir.types import ArrayType, Dim, Type, bind_dim, names_of, spelled_dim, spelled_shape

if TYPE_CHECKING:
    from backpass.ir.node import Node


class Precedence(enum.IntEnum):
    """How tightly a notation binds: Python's own order, so that printed programs mean what they say."""

    COMPARE = 1  #: a > b
    SUM = 2  #: a + b, a - b
    PRODUCT = 3  #: a * b, a / b, a @ b
    UNARY = 4  #: -a
    POWER = 5  #: a ** 3
    POSTFIX = 6  #: a.T, a[:, None]
    ATOM = 7  #: names, numbers, calls


#: Sets of dtypes that an op may take (`Op.dtypes`).
FLOATS = ("f32", "f64")
NUMBERS = ("f32", "f64", "i64")
ANY = ("f32", "f64", "i64", "bool")


class Blocked:
    """What a vjp gives for an input along which it has no derivative (see `NotDifferentiable`)."""

    def __init__(self, why: str) -> None:
        self.why = why


@dataclass(frozen=True)
class Sample:
    """Where the property test of an op draws its inputs.

    Parameters
    ----------
    shapes : tuple of tuple
        One shape an input. Lower-case letters are sizes that the test chooses; capitals (B, T) are named
        dimensions.
    within : (float, float)
        Entries are drawn uniformly from this interval.
    away_from : float or None
        Entries keep 0.1 away from this kink.
    op : Op or None
        The op with the settings to test; None means the op without settings. Letters and products of them
        in its sizes (``"m*n"``) become the sizes that the test chose.
    simplex : tuple of int
        Inputs whose last axis is made a distribution (positive, sum 1).
    fixed : tuple of int
        Inputs that are not differentiated.
    dtypes : tuple of str
        The dtype of each input; "f64" where it is not given. Only floating-point inputs are differentiated.
    below : int or str
        Integer inputs are drawn from 0 up to this size, which may be a letter of `shapes`.
    distinct : bool
        All floating-point entries keep a distance from each other: for ops with a kink at ties.
    """

    shapes: tuple[tuple[int | str, ...], ...]
    within: tuple[float, float] = (-3.0, 3.0)
    away_from: float | None = None
    op: Op | None = None
    simplex: tuple[int, ...] = ()
    fixed: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ()
    below: int | str = 3
    distinct: bool = False


class Op(ABC):
    """One operation. Subclasses are final frozen dataclasses; their fields are their settings.

    Class attributes
    ----------------
    name : str
        Registry key; also the spelling in JSON.
    notation, tex : str
        Valid Python, and LaTeX, with ``{0}``, ``{1}`` for the inputs, ``{*}`` for all of them, ``{(*)}`` for
        a tuple of them, and ``{field}`` for settings. A notation that calls a function which NumPy does not
        have is defined in the program's prelude, from the op's own forward rule. Left out, an op is written
        as a call by its name, with its inputs and settings.
    tex_scaled : str
        LaTeX where an input is one number, repeated; empty where that makes no difference.
    precedence : Precedence
        Of `notation`.
    feeds : bool
        The value is given from outside (an input of the program), not computed.
    view : bool
        The value is a cheap view of its input and is printed in place even when it is used twice.
    printed_as : {"call", "number", "broadcast", "same"}
        How the printer treats the op: by its notation; as a bare number, which has no dtype of its own in
        Python; as a broadcast, which NumPy does silently beside an operand of full shape; as its operand.
    dtypes : tuple of str
        What the inputs may be; checked by `infer` of the base classes and by `of_dtype`.
    untyped : tuple of int
        Inputs whose dtype says nothing about the value's: the condition of a choice, an index.
    sized : tuple of str
        The settings that are sizes, and so may name dimensions; `bind` replaces them by numbers.
    prelude : str
        Python source of the function that `notation` calls, where it cannot be derived from `forward`: a
        rule with a loop, or one that asks for a shape.
    joins : "add" or None
        How the values of an op are joined that it gives for parts of a named dimension which it loses: a
        sum over the batch is the sum of the sums over its shards. None where that cannot be done.
    samples : tuple of Sample
        What the property test draws; a registered op without any fails the tests.
    unsampled : str
        Why the property test cannot draw anything for this op; for ops that are no function of arrays.

    Contract, enforced by `passes.backward`, so that rules need no defensive code: `vjp` gives one adjoint
    an input, each of its input's exact type; None where none flows; `Blocked` where there is no
    derivative. A vjp uses ops only, so it can be differentiated again.
    """

    name: ClassVar[str]
    notation: ClassVar[str] = ""
    tex: ClassVar[str] = ""
    tex_scaled: ClassVar[str] = ""
    precedence: ClassVar[Precedence] = Precedence.ATOM
    view: ClassVar[bool] = False
    feeds: ClassVar[bool] = False
    printed_as: ClassVar[Literal["call", "number", "broadcast", "same"]] = "call"
    dtypes: ClassVar[tuple[str, ...]] = FLOATS
    untyped: ClassVar[tuple[int, ...]] = ()
    sized: ClassVar[tuple[str, ...]] = ("shape",)
    prelude: ClassVar[str] = ""
    joins: ClassVar[Literal["add"] | None] = None
    samples: ClassVar[tuple[Sample, ...]] = ()
    unsampled: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            REGISTRY.add(cls)

    def __call__(self, *inputs: Node | float, name: str | None = None) -> Node:
        """Build the Node of this op on `inputs`."""
        from backpass.ir.node import apply

        return apply(self, *inputs, name=name)

    @abstractmethod
    def infer(self, *xs: Any) -> Type:
        """The type of the value, from the inputs' types; the only place that raises ShapeError for the op."""

    @abstractmethod
    def forward(self, xp: Any, /, *xs: Any) -> Any:
        """The value, over the array namespace `xp`."""

    @abstractmethod
    def vjp(self, adj: Any, y: Node, /, *xs: Any) -> tuple[Node | Blocked | None, ...]:
        """Adjoints of the inputs from the adjoint of the output."""

    @property
    def template(self) -> str:
        """`notation`, or else a call of the op's name with its inputs and settings."""
        return self.notation or f"{self.name}({', '.join(['{*}', *(f'{{{k}}}' for k in self.settings())])})"

    def source(self) -> str:
        """`notation` with this op's settings filled in."""
        return self._filled(self.template)

    def latex(self) -> str:
        """`tex` with this op's settings filled in."""
        if self.tex:
            return self._filled(self.tex)
        called, _, rest = self.template.partition("(")
        return rf"\operatorname{{{called.replace('_', chr(92) + '_')}}}({self._filled(rest)}"

    def flops(self, y: Any, /, *xs: Any) -> int:
        """Floating-point operations, from types whose named dimensions are bound."""
        return 0

    def mixes(self, *xs: Any) -> tuple[Dim, ...]:
        """Dimensions that stay, and along which entries of the value depend on each other.

        The scores of one example are mixed by softmax. An op that does not mix along the batch may run on
        a part of the batch.
        """
        return ()

    def bind(self, dims: Mapping[str, int]) -> Op:
        """This op with the named dimensions among its settings replaced by numbers."""
        return self.resized(lambda dim: bind_dim(dim, dims)) if self.named else self

    def resized(self, change: Callable[[Dim], Dim]) -> Op:
        """This op with each size among its settings changed."""
        changed = {
            name: tuple(map(change, value)) if isinstance(value, tuple) else change(value)
            for name, value in self.settings().items()
            if name in self.sized
        }
        return dataclasses.replace(self, **changed) if changed else self  # type: ignore[type-var]

    @property
    def named(self) -> tuple[str, ...]:
        """The named dimensions among the settings."""
        found: list[Dim] = []
        for name, value in self.settings().items():
            if name in self.sized:
                found += value if isinstance(value, tuple) else (value,)
        return names_of(found)

    def settings(self) -> dict[str, Any]:
        """The op's settings by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    def _filled(self, template: str) -> str:
        """Replace ``{field}`` by the setting; ``{0}`` and the braces of LaTeX stay."""
        for key, value in self.settings().items():
            if "{" + key + "}" in template:
                if key in self.sized:
                    value = spelled_shape(value) if isinstance(value, tuple) else spelled_dim(value)
                template = template.replace("{" + key + "}", str(value))
        return template

    def of_dtype(self, *xs: ArrayType) -> None:
        """Refuse inputs of a dtype that the op does not take.

        Raises
        ------
        ShapeError
            The message says what to do about it.
        """
        for i, x in enumerate(xs):
            if i not in self.untyped and x.dtype not in self.dtypes:
                wanted = "floating-point numbers" if self.dtypes == FLOATS else "numbers"
                raise ShapeError(
                    f"{self.name} needs {wanted}, got {', '.join(map(str, xs))}; cast {x.dtype} first, for "
                    'example with Cast("f64")'
                )


class Elementwise(Op):
    """An op whose output entry depends only on the same entry of its inputs, which share one type.

    Where the types differ (a comparison, a choice), the op has an `infer` of its own; the shapes are always
    one.

    Executors may fuse these. Inputs of other shapes are broadcast before they get here (`ir.node.apply`).
    """

    def infer(self, *xs: Any) -> ArrayType:
        for x in xs[1:]:
            if x != xs[0]:
                raise ShapeError(f"{self.name} needs inputs of one type, got {', '.join(map(str, xs))}")
        self.of_dtype(*xs)
        first: ArrayType = xs[0]
        return first

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return y.size


class Registry:
    """The ops by name. A user's own op joins it by being defined."""

    def __init__(self) -> None:
        self._ops: dict[str, type[Op]] = {}

    def add(self, op: type[Op]) -> None:
        known = self._ops.get(op.name)
        if known is not None and (known.__module__, known.__qualname__) != (op.__module__, op.__qualname__):
            raise RuleError(f"two ops are named {op.name!r}: {known.__qualname__} and {op.__qualname__}")
        self._ops[op.name] = op  # the same class again: a dataclass(slots=True) remake, or a module reload

    def get(self, name: str) -> type[Op]:
        if name not in self._ops:
            raise GraphError(
                f"there is no op named {name!r}. {nearest(name, self._ops)}\n  If it is one of your own, "
                "define its class, or import the module that does, first."
            )
        return self._ops[name]

    def all(self) -> dict[str, type[Op]]:
        return dict(self._ops)


REGISTRY = Registry()
