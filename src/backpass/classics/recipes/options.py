"""What an entry of the list may tell the general recipe."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from backpass.classics.catalogue import Classic
from backpass.errors import UsageError
from backpass.nn import Dense, Inputs, Network, join
from backpass.nn.initialisers import Initialiser, initialiser
from backpass.training.optimisers import Optimiser

#: An initialiser: its name, or its name with its settings.
Rule = str | dict[str, Any]


class Until(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a run has learned what it is to: it ends with the first epoch after which this is so.

    Attributes
    ----------
    loss : float, optional
        The loss of each pattern is below this.
    miss : float, optional
        Each output of each pattern is nearer to its target than this.
    stall : float, optional
        Three epochs in a row, the mean cost of an epoch was not lower than the best before by more than this:
        the rule of scikit-learn's MLPClassifier up to 0.19.
    """

    loss: float | None = None
    miss: float | None = None
    stall: float | None = None


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A training.

    Attributes
    ----------
    data : str
        A bundled set ("parity-4"), or "file.function" of `recipes/` that gives `Examples`.
    layers : list of (units, activation)
    skip : bool
        The inputs are wired to every layer, beside what comes before it.
    init, bias_init : str or dict, or list of these
        See `backpass.nn.initialisers`: "he", or {name = "uniform", low = -0.3, high = 0.3}; of all layers, or
        one for each. By default what goes with the activation, and zeros.
    loss : str
    within : float
        Errors of an output smaller than this count as none; for "squared_error".
    targets : (float, float), optional
        What stands for no and yes, such as 0.1 and 0.9.
    optimiser : dict
        {name = "sgd", lr = 0.5, momentum = 0.9}; see `backpass.training.optimisers`.
    summed : bool
        The gradients of a batch are added and not averaged, as the early papers have it.
    batch : int
        Rows of a step; 0 for all of them.
    epochs : int
    rows : int, optional
        So many of the training rows only.
    order : {"seeded", "sequential"}
        Each epoch in an order of its own, or always as they come.
    seeds : int or list of int
        So many, from 0 on, or these.
    l2 : float
        ½ l2 ΣW² is added to the cost.
    dtype : {"f32", "f64"}
    until : Until, optional
    variants : dict of str to dict
        Runs that differ: what each changes, by its name. Without any there is one run for each seed.
    curves : list of str
        Measures to draw after each epoch, a panel each; see `backpass.classics.recipes.tracking`.
    """

    data: str
    layers: list[tuple[int, str]]
    optimiser: dict[str, Any]
    epochs: int
    skip: bool = False
    init: Rule | list[Rule] | None = None
    bias_init: Rule | list[Rule] | None = None
    loss: str = "squared_error"
    within: float = 0.0
    targets: tuple[float, float] | None = None
    summed: bool = False
    batch: int = 1
    rows: int | None = None
    order: Literal["seeded", "sequential"] = "seeded"
    seeds: int | list[int] = 1
    l2: float = 0.0
    dtype: Literal["f32", "f64"] = "f64"
    until: Until | None = None
    variants: dict[str, dict[str, Any]] = {}
    curves: list[str] = []

    @property
    def each_seed(self) -> list[int]:
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    def network(self) -> Network:
        """The network that is described."""
        weights, biases = (_each(rule, len(self.layers)) for rule in (self.init, self.bias_init))
        layers = [
            Dense(units, activation, init=init, bias_init=bias_init)
            for (units, activation), init, bias_init in zip(self.layers, weights, biases, strict=True)
        ]
        if not self.skip:
            return Network(layers)
        x = Inputs()
        value = layers[0](x)
        for layer in layers[1:]:
            value = layer(join(x, value))
        return Network(value)

    def rule(self, batch: int) -> Optimiser:
        """The optimiser; the gradient of backpass is a mean over the batch, so a sum has a larger rate."""
        told = dict(self.optimiser)
        if self.summed:
            told["lr"] *= batch
        return Optimiser.from_description(told)


def _each(rule: Rule | list[Rule] | None, layers: int) -> list[Initialiser | None]:
    """The initialiser of each layer."""
    rules = rule if isinstance(rule, list) else [rule] * layers
    return [None if r is None else initialiser(r) for r in rules]


def variants_of(classic: Classic) -> dict[str, Options]:
    """What the general recipe is to run, by name; the only one of a classic without variants is called "".

    Raises
    ------
    UsageError
        The options of the entry are not those of a training.
    """
    try:
        whole = msgspec.convert(classic.options, type=Options)
        if not whole.variants:
            return {"": whole}
        shared = {key: value for key, value in classic.options.items() if key != "variants"}
        return {
            name: msgspec.convert(shared | change, type=Options) for name, change in whole.variants.items()
        }
    except msgspec.ValidationError as error:
        raise UsageError(f"the options of the classic {classic.name!r} do not fit: {error}") from None
