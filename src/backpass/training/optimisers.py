"""Optimisers as graph builders: how gradients become an update.

Each is a frozen dataclass of numbers. `Optimiser.update` adds the update of all parameters to a program; the
numbers are inputs of that program, so that another learning rate compiles nothing.

What all share, in this order: the gradient is clipped, if asked for; decay, if asked for, is added to it
(`AdamW` keeps it apart); then comes the optimiser's own rule. Slots, the values an optimiser carries from
step to step, all start at zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from backpass.errors import UsageError, nearest
from backpass.ir import ArrayType, Node
from backpass.ops import Maximum, Minimum, Sqrt, Sum, number, state
from backpass.training.schedules import Floats, OnPlateau, Schedule, When, as_schedule, check

Nodes = Mapping[str, Node]


@dataclass(frozen=True)
class Update:
    """What an optimiser adds to a program.

    Attributes
    ----------
    outputs : dict of str to Node
        The next value of each slot and parameter, ``W1_new``.
    carry : dict of str to str
        What each of them replaces at the next step.
    """

    outputs: dict[str, Node] = field(default_factory=dict)
    carry: dict[str, str] = field(default_factory=dict)

    def add(self, old: Node, new: Node) -> Node:
        """Let `new` replace the input `old`."""
        name = f"{old.name}_new"
        self.outputs[name] = new.named(name)
        self.carry[name] = str(old.name)
        return self.outputs[name]


@dataclass(frozen=True)
class Optimiser:
    """What all optimisers share.

    Parameters
    ----------
    lr : float or Schedule
        The learning rate η.
    decay : float
        Weight decay λ: λ W is added to the gradient of a weight, which shrinks it by η λ W a step where the
        rule is linear (the same as an l2 penalty). Only matrices decay: biases, and the gains and shifts of
        normalisation, do not. `AdamW` subtracts η λ W by itself instead.
    clip : float, optional
        Entries of gradients are brought into [−clip, clip].
    clip_norm : float, optional
        If the norm of all gradients together is larger, all are scaled down to it. [1]_ Not beside `clip`.

    References
    ----------
    .. [1] Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks, ICML 2013,
       algorithm 1.
    """

    lr: float | Schedule = 0.1
    decay: float = field(default=0.0, kw_only=True)
    clip: float | None = field(default=None, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)

    coupled: ClassVar[bool] = True  #: decay goes through the gradient
    tuned: ClassVar[
        tuple[str, ...]
    ] = ()  #: settings that are numbers of the program, besides the shared ones

    def __post_init__(self) -> None:
        as_schedule(self.lr)  # checks a bare number
        check("decay", self.decay, 0.0)
        for name in ("clip", "clip_norm"):
            if getattr(self, name) is not None:
                check(name, getattr(self, name), 0.0, open=True)
        if self.clip is not None and self.clip_norm is not None:
            raise UsageError("give clip (each entry) or clip_norm (all gradients together), not both")

    # ---- numbers

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that a user may tune, by the names they have in the program.

        Of a schedule, the rate it starts from; `values` has that of each step.
        """
        found = {"lr": float(as_schedule(self.lr).lr)}
        found |= {name: float(getattr(self, name)) for name in self.tuned}
        if self.decay:
            found["decay"] = float(self.decay)
        for name in ("clip", "clip_norm"):
            if getattr(self, name) is not None:
                found[name] = float(getattr(self, name))
        return found

    def values(self, when: When) -> dict[str, Floats]:
        """The value of each number at each step."""
        fixed = {name: np.full(len(when.step), value) for name, value in self.numbers.items()}
        return fixed | {"lr": as_schedule(self.lr).values(when)}

    @property
    def plateau(self) -> OnPlateau | None:
        """The part of the schedule that looks at how well the run does, if there is one."""
        return as_schedule(self.lr).plateau

    # ---- the program

    def update(self, parameters: Nodes, gradients: Nodes, numbers: Nodes) -> Update:
        """Add the update of all parameters to a program.

        Parameters
        ----------
        parameters, gradients : mapping of str to Node
            By the name of the parameter.
        numbers : mapping of str to Node
            See `number_inputs`.
        """
        found = Update()
        given = self._clipped(gradients, numbers)
        for name, parameter in parameters.items():
            if self.coupled and self._decays(parameter):
                given[name] = given[name] + numbers["decay"] * parameter
            if given[name] is not gradients[name]:  # a line of its own in print: it is read more than once
                given[name] = given[name].named(f"g_{name}")
        shared = self._shared(found, next(iter(parameters.values())).dtype, numbers)
        for name, parameter in parameters.items():
            self._one(found, parameter, given[name], numbers, shared)
        return found

    def _decays(self, parameter: Node) -> bool:
        return bool(self.decay) and len(parameter.shape) >= 2

    def _clipped(self, gradients: Nodes, numbers: Nodes) -> dict[str, Node]:
        if self.clip is not None:
            high = numbers["clip"]
            return {name: Minimum()(Maximum()(g, -high), high) for name, g in gradients.items()}
        if self.clip_norm is not None:
            squares = [Sum()(g * g) for g in gradients.values()]
            total = squares[0]
            for square in squares[1:]:
                total = total + square
            norm = Sqrt()(total, name="norm")
            # Not min(1, clip / norm): that would divide by zero where all gradients are zero.
            factor = (numbers["clip_norm"] / Maximum()(norm, numbers["clip_norm"])).named("kept")
            return {name: factor * g for name, g in gradients.items()}
        return dict(gradients)

    def _shared(self, found: Update, dtype: str, numbers: Nodes) -> dict[str, Node]:
        """Values that all parameters use."""
        return {}

    def _one(
        self, found: Update, parameter: Node, gradient: Node, numbers: Nodes, shared: dict[str, Node]
    ) -> None:
        """The rule for one parameter."""
        raise NotImplementedError

    # ---- as data

    def describe(self) -> dict[str, Any]:
        """The optimiser as plain data."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain = {k: v.describe() if isinstance(v, Schedule) else v for k, v in found.items()}
        return {"name": NAMES[type(self)], **plain}

    @staticmethod
    def from_description(description: dict[str, Any]) -> Optimiser:
        """The optimiser that `describe` described, whichever it is."""
        given = dict(description)
        name = str(given.pop("name", None))
        kinds = {word: kind for kind, word in NAMES.items()}
        if name not in kinds:
            raise UsageError(f"there is no optimiser {name!r}. {nearest(name, kinds)}")
        known = {f.name for f in dataclasses.fields(kinds[name])}
        if "lr" not in given or not given.keys() <= known:
            raise UsageError(f"the settings of {name} are {', '.join(sorted(known))}; got {sorted(given)}")
        if isinstance(given["lr"], dict):
            given["lr"] = Schedule.from_description(given["lr"])
        return kinds[name](**given)


@dataclass(frozen=True)
class SGD(Optimiser):
    """Gradient descent, with momentum if it is not zero.

    W ← W − η dW; with momentum μ, v ← μ v − η dW and W ← W + v. [1]_ Nesterov's form looks ahead along the
    new velocity: W ← W + μ v − η dW with the new v. [2]_

    Parameters
    ----------
    lr : float or Schedule
        The learning rate η. It is part of the velocity; PyTorch multiplies by it afterwards, which differs
        only while the rate changes.
    momentum : float
        The part μ of the last update that is carried on, in [0, 1).
    nesterov : bool
        Needs a momentum.
    decay, clip, clip_norm
        See `Optimiser`.

    References
    ----------
    .. [1] Rumelhart, Hinton & Williams, PDP vol. 1 ch. 8 (1986), eq. 16; Nature 323 (1986), eq. 8-9.
    .. [2] Nesterov, Soviet Math. Doklady 27 (1983); Sutskever, Martens, Dahl & Hinton, ICML 2013, eq. 3-4, at
       the point looked ahead to.
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check("momentum", self.momentum, 0.0, 1.0)
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov=True needs a momentum, such as SGD(0.1, 0.9, nesterov=True)")

    @property
    def numbers(self) -> dict[str, float]:
        found = super().numbers
        lr = {"lr": found.pop("lr")}
        return lr | ({"momentum": float(self.momentum)} if self.momentum else {}) | found

    def _one(
        self, found: Update, parameter: Node, gradient: Node, numbers: Nodes, shared: dict[str, Node]
    ) -> None:
        if not self.momentum:
            found.add(parameter, parameter - numbers["lr"] * gradient)
            return
        v = state(f"v_{parameter.name}", parameter.array_type)
        moved = found.add(v, numbers["momentum"] * v - numbers["lr"] * gradient)
        if self.nesterov:
            moved = numbers["momentum"] * moved - numbers["lr"] * gradient
        found.add(parameter, parameter + moved)


@dataclass(frozen=True)
class Adagrad(Optimiser):
    """Each weight's rate falls with the squares of all its gradients: s ← s + dW², W ← W − η dW / (√s + ε).

    Duchi, Hazan & Singer, JMLR 12 (2011), figure 1, with the diagonal matrix.

    Parameters
    ----------
    lr : float or Schedule
    eps : float
        Keeps a weight without gradients where it is.
    decay, clip, clip_norm
        See `Optimiser`.
    """

    lr: float | Schedule = 0.01
    eps: float = 1e-10
    tuned: ClassVar[tuple[str, ...]] = ("eps",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check("eps", self.eps, 0.0, open=True)

    def _one(
        self, found: Update, parameter: Node, gradient: Node, numbers: Nodes, shared: dict[str, Node]
    ) -> None:
        s = state(f"s_{parameter.name}", parameter.array_type)
        squares = found.add(s, s + gradient * gradient)
        found.add(parameter, parameter - numbers["lr"] * gradient / (Sqrt()(squares) + numbers["eps"]))


@dataclass(frozen=True)
class RMSprop(Optimiser):
    """Gradients over the root of their running mean square: s ← ρ s + (1 − ρ) dW², W ← W − η dW / (√s + ε).

    Tieleman & Hinton, Lecture 6.5 of Neural networks for machine learning (2012).

    Parameters
    ----------
    lr : float or Schedule
    rho : float
        The part ρ of the mean that is kept, in [0, 1). PyTorch calls it alpha.
    eps : float
    decay, clip, clip_norm
        See `Optimiser`.
    """

    lr: float | Schedule = 0.001
    rho: float = 0.9
    eps: float = 1e-8
    tuned: ClassVar[tuple[str, ...]] = ("rho", "eps")

    def __post_init__(self) -> None:
        super().__post_init__()
        check("rho", self.rho, 0.0, 1.0)
        check("eps", self.eps, 0.0, open=True)

    def _one(
        self, found: Update, parameter: Node, gradient: Node, numbers: Nodes, shared: dict[str, Node]
    ) -> None:
        rho = numbers["rho"]
        s = state(f"s_{parameter.name}", parameter.array_type)
        squares = found.add(s, rho * s + (1 - rho) * (gradient * gradient))
        found.add(parameter, parameter - numbers["lr"] * gradient / (Sqrt()(squares) + numbers["eps"]))


@dataclass(frozen=True)
class Adam(Optimiser):
    """Running means of gradients and of their squares, both corrected for their start at zero. [1]_

    m ← β₁ m + (1 − β₁) dW and s ← β₂ s + (1 − β₂) dW²; then W ← W − η (m / c_m) / (√(s / c_s) + ε). The
    corrections c_m = 1 − β₁ᵗ and c_s = 1 − β₂ᵗ are carried as the running means of ones,
    c ← β c + (1 − β): no power is taken, and in f32 they err just as m and s do.

    Parameters
    ----------
    lr : float or Schedule
    beta1, beta2 : float
        The parts of the means that are kept, in [0, 1).
    eps : float
    decay, clip, clip_norm
        See `Optimiser`.

    References
    ----------
    .. [1] Kingma & Ba, Adam, ICLR 2015, algorithm 1.
    """

    lr: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    tuned: ClassVar[tuple[str, ...]] = ("beta1", "beta2", "eps")

    def __post_init__(self) -> None:
        super().__post_init__()
        check("beta1", self.beta1, 0.0, 1.0)
        check("beta2", self.beta2, 0.0, 1.0)
        check("eps", self.eps, 0.0, open=True)

    def _shared(self, found: Update, dtype: str, numbers: Nodes) -> dict[str, Node]:
        shared = {}
        for name, beta in (("c_m", numbers["beta1"]), ("c_s", numbers["beta2"])):
            c = state(name, ArrayType((), dtype))
            shared[name] = found.add(c, beta * c + (1 - beta))
        return shared

    def _one(
        self, found: Update, parameter: Node, gradient: Node, numbers: Nodes, shared: dict[str, Node]
    ) -> None:
        beta1, beta2 = numbers["beta1"], numbers["beta2"]
        m = state(f"m_{parameter.name}", parameter.array_type)
        s = state(f"s_{parameter.name}", parameter.array_type)
        mean = found.add(m, beta1 * m + (1 - beta1) * gradient)
        squares = found.add(s, beta2 * s + (1 - beta2) * (gradient * gradient))
        root = Sqrt()(squares / shared["c_s"]) + numbers["eps"]
        moved = parameter - numbers["lr"] * (mean / shared["c_m"]) / root
        if not self.coupled and self._decays(parameter):
            moved = moved - numbers["lr"] * (numbers["decay"] * parameter)
        found.add(parameter, moved)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose decay does not go through the running means: η λ W is subtracted by itself. [1]_

    Parameters
    ----------
    lr, beta1, beta2, eps
        See `Adam`.
    decay : float
        λ, 0.01 if left out.
    clip, clip_norm
        See `Optimiser`.

    References
    ----------
    .. [1] Loshchilov & Hutter, Decoupled weight decay regularization, ICLR 2019, algorithm 2.
    """

    decay: float = field(default=0.01, kw_only=True)
    coupled: ClassVar[bool] = False


#: How each optimiser is called in files.
NAMES: dict[type[Optimiser], str] = {
    SGD: "sgd",
    Adagrad: "adagrad",
    RMSprop: "rmsprop",
    Adam: "adam",
    AdamW: "adamw",
}


def number_inputs(optimiser: Optimiser, dtype: str) -> dict[str, Node]:
    """The inputs of the program for the optimiser's numbers."""
    return {name: number(name, dtype) for name in optimiser.numbers}
