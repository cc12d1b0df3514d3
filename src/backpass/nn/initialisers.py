"""Where weights start. Each is a function of the sizes and a random generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Initialiser = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def glorot(rng: np.random.Generator, fan_in: int, fan_out: int) -> NDArray[np.float64]:
    """Uniform on ±√(6 / (fan_in + fan_out)).

    Keeps the variance of activations and of δ near constant for units that are linear around zero.
    Glorot & Bengio, AISTATS 2010, eq. 16.
    """
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def he(rng: np.random.Generator, fan_in: int, fan_out: int) -> NDArray[np.float64]:
    """Normal with variance 2 / fan_in: half of a ReLU layer is off. He et al., ICCV 2015, eq. 10."""
    return rng.standard_normal((fan_in, fan_out)) * float(np.sqrt(2.0 / fan_in))


def lecun(rng: np.random.Generator, fan_in: int, fan_out: int) -> NDArray[np.float64]:
    """Normal with variance 1 / fan_in. LeCun, Bottou, Orr & Müller, Efficient BackProp (1998), eq. 16."""
    return rng.standard_normal((fan_in, fan_out)) / float(np.sqrt(fan_in))


INITIALISERS: dict[str, Initialiser] = {"glorot": glorot, "he": he, "lecun": lecun}
