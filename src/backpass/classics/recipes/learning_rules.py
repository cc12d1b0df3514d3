"""How much slower learning by perturbation is: a linear perceptron, and a thousand runs of it at once.

Werfel, Xie & Seung (2005) say by how much, for a perceptron of N inputs and M outputs. The laws that are put
beside the runs are derived for inputs x ~ N(0, I), one of them a step, the best step size and small noise.
The weights' error E, the difference from the teacher's, then shrinks by a factor a step, in mean square over
inputs and noise:

    gradient             1 - 1/(N + 2)                  since  E |x|² x x^T = (N + 2) I
    node perturbation    1 - 1/((N + 2)(M + 2))         since  E (δ·ξ)² |ξ|² = (M + 2) |δ|²
    weight perturbation  1 - 1/((N + 2)(NM + 2))        the same, of NM weights instead of M outputs
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told, ours
from backpass.pictures.curves import Line, Panel

Floats = NDArray[np.float64]
#: From the weights' error E (runs, N, M) and the inputs (runs, N) to a guess at the gradient (runs, N, M).
Guess = Callable[[Floats, Floats, np.random.Generator], Floats]


def by_gradient(E: Floats, x: Floats, rng: np.random.Generator) -> Floats:
    """``x.T @ δ``, with the output's error δ = x E."""
    return _outer(x, _delta(E, x))


def by_nodes(E: Floats, x: Floats, rng: np.random.Generator) -> Floats:
    """Noise ξ on the outputs: ``x.T @ (δ·ξ) ξ``, the limit of small noise."""
    delta = _delta(E, x)
    noise = rng.standard_normal(delta.shape)
    return _outer(x, (delta * noise).sum(axis=1, keepdims=True) * noise)


def by_weights(E: Floats, x: Floats, rng: np.random.Generator) -> Floats:
    """Noise ξ on all weights: ``(g·ξ) ξ``, the limit of small noise."""
    noise = rng.standard_normal(E.shape)
    slope = (_delta(noise, x) * _delta(E, x)).sum(axis=1)  # g·ξ = Σ x_i δ_j ξ_ij
    noise *= slope[:, None, None]
    return noise


RULES: dict[str, Guess] = {"gradient": by_gradient, "node": by_nodes, "weight": by_weights}


def times_slower(rule: str, N: int, M: int) -> int:
    """The law: how many of its steps a step of the gradient is worth.

    Examples
    --------
    >>> [times_slower(rule, 10, 5) for rule in RULES]
    [1, 7, 52]
    """
    return {"gradient": 1, "node": M + 2, "weight": N * M + 2}[rule]


def mean_squared_errors(
    rule: str, N: int, M: int, *, runs: int, steps: int, seed: int
) -> Iterator[tuple[int, float]]:
    """Let many perceptrons learn at once, from a unit error each, with the best step size.

    Parameters
    ----------
    rule : {"gradient", "node", "weight"}
    N, M : int
        Inputs, outputs.
    runs, steps, seed : int

    Yields
    ------
    step : int
    error : float
        The mean of |E|² over the runs after it; before the first one it is 1.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, N, M, len(rule)])))
    guess, size = RULES[rule], 1.0 / ((N + 2) * times_slower(rule, N, M))
    E = rng.standard_normal((runs, N, M))
    E /= np.sqrt((E**2).sum(axis=(1, 2), keepdims=True))
    yield 0, 1.0
    for step in range(1, steps + 1):
        E -= size * guess(E, rng.standard_normal((runs, N)), rng)
        yield step, float((E**2).sum()) / runs


class Perceptrons(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the entry says.

    Attributes
    ----------
    sizes : list of (N, M)
        The first is the one that is drawn.
    runs : int
    times : float
        For so many time constants each rule learns: the mean squared error falls to e to minus this.
    seed : int
    """

    sizes: list[tuple[int, int]]
    runs: int = 1000
    times: float = 2.0
    seed: int = 0


def perceptrons(classic: Classic, told: Told) -> Measured:
    """Measure the decay of the mean squared error by each rule, and put it beside the law."""
    options = msgspec.convert(classic.options, type=Perceptrons)
    work = sum(_steps(rule, N, M, options) * N * M for N, M in options.sizes for rule in RULES)
    figures: dict[str, Ours] = {}
    off = 0.0  #: the largest difference from a law, as a share of it
    panels: list[Panel] = []
    done = 0
    for N, M in options.sizes:
        rates, curves = {}, {}
        for rule in RULES:
            steps, errors = _steps(rule, N, M, options), []
            for step, error in mean_squared_errors(
                rule, N, M, runs=options.runs, steps=steps, seed=options.seed
            ):
                errors.append(error)
                if step % 20 == 0:
                    told((done + step * N * M) / work, f"{N} inputs, {M} outputs, by {rule}, step {step:,}")
            done += steps * N * M
            rates[rule], curves[rule] = shrinks_by(errors), errors
        for rule in ("node", "weight"):
            slower, law = rates["gradient"] / rates[rule], times_slower(rule, N, M)
            figures[f"{rule} {N}-{M}"] = ours(slower)
            off = max(off, abs(slower / law - 1))
        figures[f"gradient {N}-{M}"] = ours(rates["gradient"] * (N + 2))
        if not panels:
            panels.append(_panel(N, M, curves))
    told(1.0, "done")
    note = f"The largest difference from a law is {100 * off:.2g} % of it, over {options.runs:,} runs each."
    return Measured(figures, tuple(panels), notes=(note,))


def shrinks_by(errors: list[float]) -> float:
    """The share that the mean squared error loses in a step: the mean over steps of what is lost.

    Examples
    --------
    >>> round(shrinks_by([1.0, 0.9, 0.81, 0.729]), 12)
    0.1
    """
    return -math.expm1(math.log(errors[-1] / errors[0]) / (len(errors) - 1))


def _delta(E: Floats, x: Floats) -> Floats:
    """The error of the outputs, of each run: x E."""
    found: Floats = np.matmul(x[:, None, :], E)[:, 0, :]
    return found


def _outer(x: Floats, delta: Floats) -> Floats:
    """x.T @ δ of each run."""
    found: Floats = x[:, :, None] * delta[:, None, :]
    return found


def _steps(rule: str, N: int, M: int, options: Perceptrons) -> int:
    return round(options.times * (N + 2) * times_slower(rule, N, M))


def _panel(N: int, M: int, curves: dict[str, list[float]]) -> Panel:
    lines: list[Line] = []
    for (rule, errors), part in zip(curves.items(), ("train", "validation", "test"), strict=True):
        steps = sorted(set(np.geomspace(1, len(errors) - 1, 200).astype(int).tolist()))
        law = 1 - 1 / ((N + 2) * times_slower(rule, N, M))
        lines.append(Line("", steps, [law**s for s in steps], "seed"))
        name = rule if rule == "gradient" else f"{rule} perturbation"
        lines.append(Line(name, steps, [errors[s] for s in steps], part))
    return Panel(
        f"{N} inputs, {M} outputs; faint: the laws", "step", "mean squared error of the weights", lines,
        log=True, x_log=True,
    )  # fmt: skip
