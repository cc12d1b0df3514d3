"""Options that say which network is trained, and how it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from backpass import defaults
from backpass.cli.options import FLAG, WHOLE, check_whole, default
from backpass.errors import UsageError

if TYPE_CHECKING:
    from backpass.cli.data_options import DataOptions
    from backpass.data import Dataset
    from backpass.data.preparation import Preparation
    from backpass.ir import Graph
    from backpass.nn import Network
    from backpass.training.optimisers import Optimiser
    from backpass.training.schedules import Schedule

_NETWORK, _LEARNING = Group("Network", sort_key=2), Group("Learning", sort_key=3)

Optimisers = Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"]
Activations = Literal[
    "relu", "sigmoid", "tanh", "identity", "softplus", "softsign", "leaky_relu", "elu", "selu", "gelu",
    "silu", "hard_tanh",
]  # fmt: skip
Losses = Literal[
    "cross_entropy", "squared_error", "mean_squared_error", "absolute", "huber", "log_cosh", "hinge",
    "poisson", "quantile",
]  # fmt: skip


@Parameter(name="*", group=_NETWORK)
@dataclass(frozen=True, kw_only=True)
class NetOptions:
    """The network.

    Parameters
    ----------
    layers
        Units of the hidden layers, as in 30,20; none for no hidden layer. The output layer follows from the
        data.
    activation
        Of the hidden layers.
    dropout
        The part of a hidden layer's units that is left out at random in each step.
    batch_norm
        Normalise what enters each hidden layer's activation over the batch.
    init
        Where the weights start, such as he, glorot, lecun, orthogonal.
    dtype
        Numbers of 32 or 64 bits.
    """

    layers: Annotated[str | None, default(",".join(map(str, defaults.HIDDEN)))] = None
    activation: Annotated[Activations | None, default(defaults.ACTIVATION)] = None
    dropout: Annotated[float | None, default("0")] = None
    batch_norm: Annotated[bool | None, FLAG] = None
    init: Annotated[str | None, default("by activation")] = None
    dtype: Annotated[Literal["f32", "f64"] | None, default("f32")] = None

    def network(
        self, preparation: Preparation, suggested: tuple[int, ...] = (), loss: str | None = None
    ) -> Network:
        """The network for prepared data, with the output layer that the target and the loss ask for."""
        from backpass.fit import network_for

        few = preparation.rows < defaults.FEW
        usual = defaults.FEW_ACTIVATION if few else defaults.ACTIVATION
        hidden = list(suggested or defaults.HIDDEN) if self.layers is None else parse_layers(self.layers)
        return network_for(
            preparation,
            hidden,
            self.activation or usual,
            dropout=self.dropout or 0.0,
            batch_norm=bool(self.batch_norm),
            init=self.init,
            loss=loss,
        )


@Parameter(name="*", group=_LEARNING)
@dataclass(frozen=True, kw_only=True)
class LearnOptions:
    """How the network learns.

    Parameters
    ----------
    loss
        What is descended. By default cross_entropy for classes, squared_error for quantities.
    optimizer
        How gradients become an update.
    lr
        The learning rate.
    momentum
        The part of the last update that is carried on (sgd, momentum, nesterov).
    schedule
        How the learning rate changes as the run goes.
    warm_up
        Steps over which the learning rate grows to its value.
    decay
        Weight decay.
    l1
        Penalty on the size of the weights: l1 Σ|W| is added to the cost.
    l2
        Penalty on the square of the weights: ½ l2 ΣW² is added to the cost.
    clip
        The largest size of an entry of a gradient.
    clip_norm
        The largest norm of all gradients together.
    """

    loss: Losses | None = None
    optimizer: Annotated[Optimisers | None, default(defaults.OPTIMIZER)] = None
    lr: Annotated[float | None, default(f"{defaults.LR['adam']:g} for adam")] = None
    momentum: Annotated[float | None, default(f"{defaults.MOMENTUM:g}; 0 for sgd")] = None
    schedule: Annotated[
        Literal["constant", "step", "exponential", "cosine", "inverse", "plateau"] | None, default("constant")
    ] = None
    warm_up: Annotated[int | None, WHOLE, default("0")] = None
    decay: Annotated[float | None, default("0; 0.01 for adamw")] = None
    l1: Annotated[float | None, default("0")] = None
    l2: Annotated[float | None, default("by the number of rows; 0 with decay")] = None
    clip: float | None = None
    clip_norm: float | None = None

    def optimiser(self, small: bool = False) -> Optimiser:
        """The optimiser with its schedule, for a small net or a usual one."""
        from backpass.training import optimisers

        kind = self.optimizer or defaults.OPTIMIZER
        given = {name: getattr(self, name) for name in ("decay", "clip", "clip_norm")}
        shared = {name: value for name, value in given.items() if value is not None}
        usual = defaults.LR[kind] * (defaults.SMALL_LR if small else 1)
        lr = self._schedule(usual if self.lr is None else self.lr)
        if kind in ("sgd", "momentum", "nesterov"):
            momentum = self.momentum
            if momentum is None:
                momentum = 0.0 if kind == "sgd" else defaults.MOMENTUM
            return optimisers.SGD(lr, momentum, nesterov=kind == "nesterov", **shared)
        if self.momentum is not None:
            raise UsageError(f"--momentum goes with sgd, momentum and nesterov; {kind} has means of its own.")
        kinds: dict[str, type[Optimiser]] = {
            "adagrad": optimisers.Adagrad, "rmsprop": optimisers.RMSprop,
            "adam": optimisers.Adam, "adamw": optimisers.AdamW,
        }  # fmt: skip
        return kinds[kind](lr, **shared)

    def penalties(self, rows: int, small: bool = False) -> dict[str, float]:
        """l1 and l2: what is given, else 0, but a little l2 where nothing else holds the weights back."""
        decays = self.optimizer == "adamw" or bool(self.decay)
        usual = 0.0 if small or decays or self.l1 else defaults.l2_for(rows)
        return {"l1": self.l1 or 0.0, "l2": usual if self.l2 is None else self.l2}

    def _schedule(self, lr: float) -> float | Schedule:
        from backpass.training import schedules

        kinds = {
            "constant": schedules.Constant, "step": schedules.Step, "exponential": schedules.Exponential,
            "cosine": schedules.Cosine, "inverse": schedules.InverseScaling, "plateau": schedules.OnPlateau,
        }  # fmt: skip
        found = lr if self.schedule in (None, "constant") else kinds[self.schedule](lr)
        check_whole("--warm-up", self.warm_up, 0)
        return schedules.WarmUp(found, self.warm_up) if self.warm_up else found


def network_of(
    spec: str,
    table: DataOptions | None,
    net: NetOptions | None,
    learning: LearnOptions | None,
    dtype: str | None = None,
) -> tuple[Dataset, Preparation, Network, Graph, dict[str, float]]:
    """What train would make of data: the network, the program of a step, and the values of its numbers."""
    from backpass.cli.data_options import DataOptions
    from backpass.data.preparation import fit_preparation
    from backpass.nn import default_loss
    from backpass.training.step import step_graph

    net, learning = net or NetOptions(), learning or LearnOptions()
    dataset = (table or DataOptions()).load(spec)
    preparation = fit_preparation(dataset)
    network = net.network(preparation, dataset.suggests, learning.loss)
    if learning.loss == "poisson":
        preparation = preparation.with_plain_targets()
    small = bool(dataset.suggests)
    optimiser, loss = learning.optimiser(small), learning.loss or default_loss(network.activation)
    features, penalties = len(preparation.columns), learning.penalties(training_rows(dataset), small)
    graph = step_graph(
        network, loss, optimiser, features, dtype or net.dtype or "f32",
        l1=penalties["l1"], l2=penalties["l2"],
    )  # fmt: skip
    known = optimiser.numbers | penalties
    numbers = {name: known[name] for name in graph.inputs_of_kind("number")}
    return dataset, preparation, network, graph, numbers


def training_rows(dataset: Dataset, held: float | None = None, tested: float | None = None) -> int:
    """How many rows train would train on, by the fractions held out or the usual ones."""
    parts = ((held, defaults.VALIDATION, dataset.validation), (tested, defaults.TEST, dataset.test))
    gone = [usual if given is None and own is None else given or 0.0 for given, usual, own in parts]
    return max(1, round(len(dataset) * (1 - sum(gone))))


def parse_layers(written: str) -> list[int]:
    """Hidden layers as they are written on the command line.

    Examples
    --------
    >>> parse_layers("30,20"), parse_layers("none")
    ([30, 20], [])
    """
    if written.strip().lower() == "none":
        return []
    units = []
    for word in written.split(","):
        word = word.strip()
        if not word.isascii() or not word.isdecimal() or not 0 < int(word) <= 10**7:
            raise UsageError(
                f"--layers {written}: {word!r} is not a number of units.\n"
                "  Write the units of each hidden layer with commas between them, as in 30,20; or none."
            )
        units.append(int(word))
    return units
