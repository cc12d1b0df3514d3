"""`Network`: layers in sequence, or wired as you like, as a builder of programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass import ops
from backpass.errors import UsageError
from backpass.ir import ArrayType, Graph, Node
from backpass.nn.layers import Dropout
from backpass.nn.links import Residual
from backpass.nn.wires import (
    DRAWS,
    Building,
    Inputs,
    Layer,
    Place,
    Wire,
    layer_from,
    names_of,
)


class Network:
    """Layers in sequence, or a wire. It holds no weights: it says which it needs and where they start.

    Parameters
    ----------
    layers : sequence of layers, or Wire
        The last one is the output layer. With wires (see `Inputs`) layers are linked in any way without a
        circle, and a layer that is called twice shares its weights.

    Notes
    -----
    Weighted layers are counted: the first has ``W1``, ``b1``, its pre-activation ``z1`` and activation
    ``a1``; its second use, if it has one, ``z1_2`` and ``a1_2``. A layer without weights has the number of
    the weighted layer before it: ``drop1``, ``join1``. Normalisations have γ and β, an embedding E, and their
    value is a z as well. The adjoint of z1 is called δ1.

    Examples
    --------
    >>> from backpass.nn import Dense
    >>> net = Network([Dense(30, "sigmoid"), Dense(10, "softmax")])
    >>> print(net.forward(784, "f32").text(prelude=False))
    z1 = x @ W1 + b1   # f32[B,30]
    a1 = sigmoid(z1)   # f32[B,30]
    z2 = a1 @ W2 + b2  # f32[B,10]
    a2 = softmax(z2)   # f32[B,10]
    """

    def __init__(self, layers: Sequence[Layer | Residual] | Wire) -> None:
        self.output = layers if isinstance(layers, Wire) else _in_sequence(layers)
        self._wires = self.output.upstream()
        if self.output.layer is None:
            raise UsageError("a network needs at least one layer, its output layer")
        if sum(wire.layer is None for wire in self._wires) > 1:
            raise UsageError(
                "the wires of a network begin at one bp.Inputs(), but these begin at several; take features "
                "of one with x[2] or x[3:7]"
            )
        if isinstance(self.output.layer, Dropout):
            raise UsageError("a network cannot end in Dropout: its prediction leaves nothing out")
        self._names = names_of(self._wires)
        for wire in self._wires:
            layer = wire.layer
            if layer is not None and layer.final_activation == "softmax" and wire is not self.output:
                raise UsageError(
                    f"layer {self._names[wire].number} has activation 'softmax', which belongs to the output "
                    "layer only; use 'relu', 'sigmoid' or 'tanh' in a hidden layer, or Apply(ops.Softmax())"
                )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, each once, in the order of their first use."""
        return tuple(dict.fromkeys(wire.layer for wire in self._wires if wire.layer is not None))

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        widths: dict[Wire, int | None] = {}
        for wire in self._wires:
            before = [widths[source] for source in wire.sources]
            widths[wire] = None if wire.layer is None else wire.layer.width(*before)
        found = widths[self.output]
        if found is None:
            raise UsageError(
                f"how many outputs {self.output.layer!r} gives cannot be told without data; end the network "
                "in a Dense layer, or say Apply(f, units=3)"
            )
        return found

    @property
    def activation(self) -> str:
        """The activation of the output layer."""
        assert self.output.layer is not None
        return self.output.layer.final_activation

    @property
    def prediction(self) -> str:
        """The name of the value that is the prediction."""
        layer, names = self.output.layer, self._names[self.output]
        assert layer is not None
        return names("a" if layer.weighted else layer.values[-1])

    @property
    def deltas(self) -> dict[str, str]:
        """What the adjoint of each pre-activation is called.

        A step has no adjoint of a pre-activation that no trained weight comes before.
        """
        weighted = (w for w in self._wires if w.layer is not None and w.layer.weighted)
        return {self._names[w]("z"): self._names[w]("δ") for w in weighted}

    def penalises(self, name: str) -> bool:
        """Whether l1 and l2 are over these weights: they are not over biases, nor over γ and β."""
        return name[0] in "WE"

    def forward(self, in_features: int, dtype: str, *, training: bool = False) -> Graph:
        """The forward program: from the rows ``x`` to the prediction.

        Parameters
        ----------
        in_features : int
            Columns of the rows.
        dtype : {"f32", "f64"}
        training : bool
            The program of a training step: `Dropout` leaves out, `BatchNorm` takes the batch's statistics.

        Returns
        -------
        Graph
            Its inputs by kind: the data ``x``, float[B, in_features]; each "parameter"; weights that are not
            trained, "fixed"; running statistics and the counter of random draws, ``draws``, "state". What
            replaces these at the next step is an output that `carry` names.
        """
        return self._built(in_features, dtype, training)[0]

    def _built(self, in_features: int, dtype: str, training: bool) -> tuple[Graph, Building]:
        building = Building(dtype, training)
        values: dict[Wire, Node] = {}
        for key, wire in enumerate(self._wires):
            if wire.layer is None:
                values[wire] = ops.data("x", ArrayType(("B", in_features), dtype))
            else:
                place = Place(building, self._names[wire], wire.layer, key)
                values[wire] = wire.layer.build(place, *(values[source] for source in wire.sources))
        carry = {}
        outputs = {self.prediction: values[self.output]}
        for name, nodes in building.carried.items():
            outputs[str(nodes[-1].name)] = nodes[-1]
            carry[str(nodes[-1].name)] = name
        if DRAWS in building.inputs:
            outputs[f"{DRAWS}_new"] = (building.inputs[DRAWS] + 1).named(f"{DRAWS}_new")
            carry[f"{DRAWS}_new"] = DRAWS
        return Graph(outputs, carry), building

    def initial(self, in_features: int, seed: int, dtype: str) -> dict[str, NDArray[Any]]:
        """All that a run starts from: parameters, weights that are not trained, and state.

        Drawn once, in float64, from `seed` alone, layer after layer. ``draws`` starts at a number that `seed`
        gives, so that other seeds leave out other entries.
        """
        # A generator of its own: the same weights whatever else the seed is used for.
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0x5EED])))
        kind = ArrayType((), dtype).numpy_dtype
        building = self._built(in_features, dtype, training=True)[1]
        found = {
            name: np.ascontiguousarray(start(rng), dtype=kind) for name, start in building.starts.items()
        }
        if DRAWS in building.inputs:
            word = np.random.SeedSequence([seed, 0xD2A5]).generate_state(1, np.uint64)[0]
            found[DRAWS] = np.asarray(word >> np.uint64(2), np.int64)  # room to count up
        return found

    def describe(self) -> list[dict[str, Any]]:
        """The layers and how they are wired as plain data, for `from_description`.

        One entry a use of a layer, in order. Where a layer does not simply follow the entry before it,
        ``"after"`` has the numbers of the entries that it follows, counted from 1; 0 is the inputs. Where
        it is the second use of a layer, ``"same"`` has the number of the first. Arrays to start from are left
        out.
        """
        number = {wire: 0 for wire in self._wires if wire.layer is None}
        first: dict[Layer, int] = {}
        entries: list[dict[str, Any]] = []
        for wire in self._wires:
            if wire.layer is None:
                continue
            position = number[wire] = len(entries) + 1
            entry = wire.layer.describe() if wire.layer not in first else {}
            if wire.layer in first:
                entry["same"] = first[wire.layer]
            first.setdefault(wire.layer, position)
            after = [number[source] for source in wire.sources]
            if after != [position - 1]:
                entry["after"] = after
            entries.append(entry)
        return entries

    @classmethod
    def from_description(cls, layers: Sequence[Mapping[str, Any]]) -> Network:
        """The network that `describe` described.

        Raises
        ------
        UsageError
            It uses an op or a kind of layer that is not defined here.
        """
        wires = [Inputs()]
        made: dict[int, Layer] = {}
        try:
            for position, entry in enumerate(layers, start=1):
                settings = {key: value for key, value in entry.items() if key not in ("same", "after")}
                layer = made[position] = made[entry["same"]] if "same" in entry else layer_from(settings)
                wires.append(layer(*(_earlier(wires, i) for i in entry.get("after", [position - 1]))))
        except UsageError:
            raise
        except (TypeError, LookupError, AttributeError) as error:
            raise UsageError(f"this is not the description of a network: {error!r}") from None
        return cls(wires[-1])

    def __repr__(self) -> str:
        sequence = all(
            w.sources == (before,) for before, w in zip(self._wires, self._wires[1:], strict=False)
        )
        layers = ", ".join(map(repr, self.layers))
        return f"Network([{layers}])" if sequence else f"<Network of {layers}>"


def _in_sequence(layers: Sequence[Layer | Residual]) -> Wire:
    if not isinstance(layers, Iterable):
        raise UsageError(
            f"a network takes a list of layers or a wire, got {layers!r}; write Network([{layers!r}])"
        )
    wire = Inputs()
    for number, layer in enumerate(layers, start=1):
        if not isinstance(layer, (Layer, Residual)):
            raise UsageError(f"layer {number} is {layer!r}; write for example Dense(30, 'sigmoid')")
        wire = layer(wire)
    return wire


def _earlier(wires: list[Wire], index: Any) -> Wire:
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(wires):
        raise LookupError(f"an entry follows entry {index!r}, which does not come before it")
    return wires[index]
