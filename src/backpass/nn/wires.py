"""Wires: how the values of a network are linked, before anything is a program.

Calling a layer on wires gives a wire; `Network` follows the wires back to `Inputs`. A layer adds nodes to a
program through its `Place`, which names what it adds and remembers where each weight starts.
"""

from __future__ import annotations

import dataclasses
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.errors import ShapeError, UsageError
from backpass.ir import REGISTRY, ArrayType, Node, Op
from backpass.ir.wire import _decode_op, _encode
from backpass.nn.initialisers import Initialiser, initialiser
from backpass.ops import fixed, parameter, state

Start: TypeAlias = Callable[[np.random.Generator], NDArray[Any]]

_serial = itertools.count()

#: The counter that random layers read, and its type.
DRAWS, DRAWS_TYPE = "draws", ArrayType((), "i64")


@dataclass(frozen=True, eq=False)
class Wire:
    """A value of a network that is being wired: what a layer gives for the wires that it was called on.

    ``u + v`` adds two wires of one width; ``x[2]`` and ``x[3:]`` take features of a wire; `join` puts wires
    side by side.
    """

    layer: Layer | None  #: None for the network's inputs
    sources: tuple[Wire, ...] = ()
    serial: int = field(default_factory=lambda: next(_serial))

    def __add__(self, other: Wire) -> Wire:
        from backpass.nn.links import Added

        return Added()(self, other)

    def __getitem__(self, features: int | slice) -> Wire:
        from backpass.nn.links import Part

        return Part.of(features)(self)

    #: Features are taken by number; nothing can run through all of them before their number is known.
    __iter__ = None

    def upstream(self) -> list[Wire]:
        """This wire and all that it depends on, in the order in which they were made."""
        seen: dict[int, Wire] = {}
        stack = [self]
        while stack:
            wire = stack.pop()
            if wire.serial not in seen:
                seen[wire.serial] = wire
                stack.extend(wire.sources)
        return [seen[serial] for serial in sorted(seen)]

    def __repr__(self) -> str:
        return "<the inputs>" if self.layer is None else f"<a value of {self.layer!r}>"


def Inputs() -> Wire:
    """The rows that enter a network, as a wire.

    Examples
    --------
    >>> from backpass.nn import Dense, Network, join
    >>> x = Inputs()
    >>> h = Dense(2, "sigmoid")(x)
    >>> net = Network(Dense(1, "sigmoid")(join(x, h)))  # the inputs reach the output unit directly, too
    >>> print(net.forward(2, "f64").text(prelude=False))
    z1    = x @ W1 + b1                   # f64[B,2]
    a1    = sigmoid(z1)                   # f64[B,2]
    join1 = concatenate((x, a1), axis=1)  # f64[B,4]
    z2    = join1 @ W2 + b2               # f64[B,1]
    a2    = sigmoid(z2)                   # f64[B,1]
    """
    return Wire(None)


class Layer(ABC):
    """A kind of layer. Subclasses are frozen dataclasses; their fields are the settings.

    Class attributes
    ----------------
    kind : str
        What a description calls it.
    weighted : bool
        Whether it has numbers of its own; these layers are counted.
    arity : int or None
        On how many wires it is called; None is one or more.
    """

    kind: ClassVar[str] = ""
    weighted: ClassVar[bool] = False
    arity: ClassVar[int | None] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            LAYERS[cls.kind] = cls

    @property
    @abstractmethod
    def values(self) -> tuple[str, ...]:
        """What its values are called before the number; the last one is what it gives."""

    @property
    def final_activation(self) -> str:
        """The activation that its value went through last, by name."""
        return "identity"

    @abstractmethod
    def build(self, place: Place, *xs: Node) -> Node:
        """Add the layer's nodes to a program."""

    def width(self, *before: int | None) -> int | None:
        """How many features its value has, where that can be told from those of the wires."""
        return before[0]

    def __call__(self, *wires: Wire) -> Wire:
        """Link the layer to wires. Called again, it is the same layer: its weights are shared."""
        for wire in wires:
            if not isinstance(wire, Wire):
                raise UsageError(
                    f"{self!r} was called on {wire!r}; a layer is called on wires, such as x = bp.Inputs()"
                )
        if not wires or self.arity not in (None, len(wires)):
            raise UsageError(
                f"{self!r} is called on {self.arity or 'one or more'} wire{'s' * (self.arity != 1)}, "
                f"got {len(wires)}; put wires side by side with bp.join(u, v)"
            )
        return Wire(self, wires)

    def describe(self) -> dict[str, Any]:
        """The layer as plain data, for `layer_from`; arrays to start from are left out."""
        found: dict[str, Any] = {"layer": self.kind}
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if not f.init or f.metadata.get("array") or (not f.metadata.get("always") and value == f.default):
                continue
            found[f.name] = _described(value)
        return found


LAYERS: dict[str, type[Layer]] = {}


#: Marks a field that holds an array to start from, which is no part of a description; and one that every
#: description states, even where it is what it would be anyway.
ARRAY, ALWAYS = {"array": True}, {"always": True}


def _described(value: Any) -> Any:
    if isinstance(value, Op):
        settings = {key: _encode(setting) for key, setting in value.settings().items()}
        return {"op": value.name, "settings": settings}
    if isinstance(value, Initialiser):
        return value.describe()
    if isinstance(value, np.generic):
        return value.item()
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping) and "op" in value:
        if value["op"] not in REGISTRY.all():
            raise UsageError(
                f"this network uses the op {value['op']!r}, which is not defined here. Define its class, or "
                "import the module that does, before you load it."
            )
        return _decode_op(REGISTRY.get(value["op"]), value["settings"])
    if isinstance(value, Mapping) and "name" in value:
        return initialiser(value)
    return value


def layer_from(description: Mapping[str, Any]) -> Layer:
    """The layer that `Layer.describe` described."""
    settings = {key: _restored(value) for key, value in description.items() if key != "layer"}
    kind = description.get("layer", "dense")
    if kind not in LAYERS:
        raise UsageError(
            f"there is no layer of kind {kind!r} here. Known: {', '.join(LAYERS)}. Define its class, or "
            "import the module that does, before you load it."
        )
    return LAYERS[kind](**settings)


def whole(value: Any) -> bool:
    """Whether a value is a whole number of at least 1."""
    return not isinstance(value, bool) and isinstance(value, (int, np.integer)) and bool(value >= 1)


@dataclass(frozen=True)
class Names:
    """What one use of a layer calls its values: letter, number of the layer, and which use it is."""

    number: int
    suffix: str = ""

    def __call__(self, letter: str) -> str:
        return f"{letter}{self.number}{self.suffix}"


def names_of(wires: Sequence[Wire]) -> dict[Wire, Names]:
    """A number for each use of a layer.

    Weighted layers are counted in the order of their first use. Every other layer has the number of the
    last weighted layer before it, 0 if there is none. Where a name is taken, as at the second use of shared
    weights, ``_2`` follows it, then ``_3``.
    """
    numbers: dict[int, int] = {}
    taken: set[str] = set()
    found: dict[Wire, Names] = {}
    for wire in wires:
        layer = wire.layer
        if layer is None:
            found[wire] = Names(0)
            continue
        if layer.weighted:
            number = numbers.setdefault(id(layer), len(numbers) + 1)
        else:
            number = max(found[source].number for source in wire.sources)
        letters = layer.values if wire is not wires[-1] or not layer.weighted else (*layer.values, "a")
        suffixes: Iterator[str] = itertools.chain([""], (f"_{use}" for use in itertools.count(2)))
        names = next(
            names for s in suffixes if not taken & {(names := Names(number, s))(letter) for letter in letters}
        )
        taken |= {names(letter) for letter in letters}
        found[wire] = names
    return found


@dataclass
class Place:
    """Where a layer is being built: it names its values, and gives it its inputs.

    Attributes
    ----------
    names : Names
    layer : Layer
    key : int
        Different for each use of a layer in the network; of random draws.
    """

    program: Building
    names: Names
    layer: Layer
    key: int

    @property
    def training(self) -> bool:
        return self.program.training

    @property
    def what(self) -> str:
        """The layer, for the start of a message."""
        number = f" {self.names.number}" if self.layer.weighted else ""
        return f"layer{number}, {self.layer!r},"

    def name(self, letter: str) -> str:
        return self.names(letter)

    def weight(self, letter: str, shape: tuple[int, ...], start: Start, *, trainable: bool = True) -> Node:
        """An array of weights, the same for each use of the layer."""
        return self.program.input(parameter if trainable else fixed, self._own(letter), shape, start, self)

    def kept(self, letter: str, shape: tuple[int, ...], start: float, *, trainable: bool = True) -> Node:
        """A running value, as the uses of the layer so far have left it."""
        name, kind = self._own(letter), state if trainable else fixed
        node = self.program.input(kind, name, shape, lambda _: np.full(shape, start), self)
        return self.program.carried.get(name, [node])[-1]

    def keep(self, letter: str, value: Node) -> None:
        """Replace a running value at the next step."""
        name = self._own(letter)
        earlier = self.program.carried.setdefault(name, [])
        use = f"_{len(earlier) + 1}" if earlier else ""
        earlier.append(value.named(f"{name}_new{use}"))

    def draws(self) -> Node:
        """The counter of random draws: another number each step."""
        return self.program.draws()

    def _own(self, letter: str) -> str:
        return f"{letter}{self.names.number}"


class Building:
    """The program of a network while it is built: its inputs by name, and where they start."""

    def __init__(self, dtype: str, training: bool) -> None:
        self.dtype, self.training = dtype, training
        self.inputs: dict[str, Node] = {}
        self.starts: dict[str, Start] = {}
        self.carried: dict[str, list[Node]] = {}

    def input(
        self,
        kind: Callable[[str, ArrayType], Node],
        name: str,
        shape: tuple[int, ...],
        start: Start,
        place: Place,
    ) -> Node:
        known = self.inputs.get(name)
        if known is None:
            known = self.inputs[name] = kind(name, ArrayType(shape, self.dtype))
            self.starts[name] = start
        elif known.shape != shape:
            raise ShapeError(
                f"{place.what} is used more than once, so its weights are shared: {name} is {known.type} at "
                f"its first use but needs shape {list(shape)} here. Use a layer of its own here."
            )
        return known

    def draws(self) -> Node:
        if DRAWS not in self.inputs:
            self.inputs[DRAWS] = state(DRAWS, DRAWS_TYPE)
        return self.inputs[DRAWS]
