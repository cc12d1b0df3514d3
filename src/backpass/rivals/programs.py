"""The programs that methods run: all are made from the one forward program of the net.

backprop        the backward pass (`passes.backward`)
slope           forward mode along a direction (`passes.forward_mode`)
noisy           the forward pass with something added to each pre-activation
credit          from the inputs of a layer and a guess at δ to a guess at the gradient
feedback        the backward pass with other weights in the way back
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from backpass.errors import UsageError
from backpass.ir import Graph, Node
from backpass.ir.chain import pullback
from backpass.nn import Dense, Network, add_cost
from backpass.ops import Add, data
from backpass.passes import backward, forward_mode, simplify


class Programs:
    """The programs of a net of dense layers.

    Parameters
    ----------
    network : Network
    loss : str
    in_features : int
    dtype : {"f64", "f32"}

    Attributes
    ----------
    parameters : tuple of str
        ``W1, b1, W2, b2``.
    layers : int
        How many layers there are.

    Raises
    ------
    UsageError
        The network is not dense layers in sequence.
    """

    def __init__(self, network: Network, loss: str, in_features: int, dtype: str = "f64") -> None:
        if not all(isinstance(layer, Dense) for layer in network.layers):
            raise UsageError(f"the methods of a race know dense layers in sequence, got {network!r}")
        self.network, self.layers = network, len(network)
        self._full = add_cost(network.forward(in_features, dtype, training=True), network, loss)
        self.parameters = tuple(self._full.inputs_of_kind("parameter"))

    def parameters_of(self, layer: int) -> list[str]:
        """The parameters of a layer, counted from 1: ``W2, b2``."""
        return [p for p in self.parameters if p[1:] == str(layer)]

    @cached_property
    def forward(self) -> Graph:
        """``C``, the mean loss of the rows."""
        return simplify(self._full.part(["C"]), fold=True)

    @cached_property
    def backprop(self) -> Graph:
        """``C`` and the gradient, ``dW1`` and so on."""
        return self._gradient(self.parameters)

    @cached_property
    def output_layer(self) -> Graph:
        """``C`` and the gradient of the last layer's parameters: all that the delta rule knows."""
        return self._gradient(self.parameters_of(self.layers))

    @cached_property
    def slope(self) -> Graph:
        """``C`` and ``slope``, its derivative along the direction ``v_W1``, ``v_b1`` and so on."""
        return forward_mode(self._full, "C", self.parameters)

    @cached_property
    def clean(self) -> Graph:
        """``loss``, of each row, and the activations of the hidden layers."""
        return simplify(self._full.part(["loss", *self._hidden]), fold=True)

    @cached_property
    def noisy(self) -> Graph:
        """``loss``, of each row, with ``noise1``, ``noise2`` added to the pre-activations of the layers."""
        added = {f"z{k}": f"noise{k}" for k in range(1, self.layers + 1)}

        def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
            if node.name not in added:
                return _again(node, inputs)
            bare = Node(node.op, inputs, node.type)
            return Add()(bare, data(added[node.name], node.array_type)).named(node.name)

        return simplify(_rebuilt(self._full.part(["loss"]), rule), fold=True)

    @cached_property
    def credit(self) -> Graph:
        """From ``guess1``, ``guess2``, of the type of the δ, and the layers' inputs: ``dW1`` and so on.

        ``dW = a.T @ δ``: the weights of a unit share what is said of the unit, each in proportion to the
        activation that comes in through it.
        """
        found: dict[str, Node] = {}
        for k in range(1, self.layers + 1):
            z = self._full[f"z{k}"]
            own = self.parameters_of(k)
            adjoints, _ = pullback({z: data(f"guess{k}", z.array_type)}, [self._full[p] for p in own])
            found |= {f"d{p}": adjoints[self._full[p]].named(f"d{p}") for p in own}

        def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
            return data(node.name, node.array_type) if node.name in self._hidden else _again(node, inputs)

        ordered = {f"d{p}": found[f"d{p}"] for p in self.parameters}
        return simplify(_rebuilt(Graph(ordered), rule), fold=True)

    @cached_property
    def feedback(self) -> Graph:
        """``C`` and a pseudo-gradient: on the way back ``B2``, ``B3`` stand for ``W2``, ``W3``."""
        return simplify(self._led_back.part(["C", *(f"d{p}" for p in self.parameters)]), fold=True)

    @cached_property
    def feedback_deltas(self) -> Graph:
        """``δ1``, ``δ2`` as they come back through ``B2``, ``B3``; backpropagation's where these are W."""
        return simplify(self._led_back.part([f"δ{k}" for k in range(1, self.layers + 1)]), fold=True)

    @cached_property
    def _led_back(self) -> Graph:
        full = backward(self._full, "C", self.parameters, names=self.network.deltas)
        other = {p: "B" + p[1:] for p in self.parameters if p[0] == "W" and p != "W1"}
        kept: dict[str, Node] = {}

        def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
            if node in full.origins:  # made by the backward pass
                inputs = tuple(self._feed(kept, other[x.name], x) if x.name in other else x for x in inputs)
            return _again(node, inputs)

        return _rebuilt(full, rule)

    @property
    def _hidden(self) -> list[str]:
        """What each hidden layer gives: its activation, or z where it has none."""
        named = self._full.named
        return [f"a{k}" if f"a{k}" in named else f"z{k}" for k in range(1, self.layers)]

    def _gradient(self, wrt: Sequence[str]) -> Graph:
        full = backward(self._full, "C", wrt, names=self.network.deltas)
        return simplify(full.part(["C", *(f"d{p}" for p in wrt)]), fold=True)

    @staticmethod
    def _feed(kept: dict[str, Node], name: str, like: Node) -> Node:
        """One input of that name, however many nodes read it."""
        if name not in kept:
            kept[name] = data(name, like.array_type)
        return kept[name]


def _again(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The node over other inputs; itself, where they are the same."""
    return node if inputs == node.inputs else Node(node.op, inputs, node.type, node.name)


def _rebuilt(graph: Graph, rule: Callable[[Node, tuple[Node, ...]], Node]) -> Graph:
    """The program with each node made by a rule from the old node and its new inputs."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        new[node] = rule(node, tuple(new[x] for x in node.inputs))
    return Graph({name: new[n] for name, n in graph.outputs.items()})
