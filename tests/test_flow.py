"""How the error flows back, in one step and over a run."""

from __future__ import annotations

import numpy as np
import pytest

import backpass as bp
from backpass.explain.flow import flow
from backpass.record.monitors import Monitors


def deep(activation: str, layers: int = 6, init: str | None = None, lr: float = 0.1) -> bp.Run:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 8))
    hidden = [bp.Dense(12, activation, init=init) for _ in range(layers)]
    network = bp.Network([*hidden, bp.Dense(3, "softmax")])
    return bp.train(network, (X, rng.integers(0, 3, 60)), optimizer=bp.SGD(lr), batch=20, epochs=4)


def test_the_numbers_are_those_of_the_step() -> None:
    run = deep("tanh", 3)
    visit = run.at(5)
    found = flow(visit, Monitors())
    assert [x.name for x in found.layers] == ["δ4", "δ3", "δ2", "δ1"]
    for x in found.layers:
        delta = visit[x.name].astype(np.float64)
        assert x.norm == pytest.approx(np.linalg.norm(delta), rel=1e-6)
        assert x.variance == pytest.approx(np.var(delta), rel=1e-5)
    for above, x in zip(found.layers, found.layers[1:], strict=False):
        assert x.factor == pytest.approx(x.norm / above.norm)
    factors = [x.factor for x in found.layers[1:]]
    assert found.shrink == pytest.approx(np.prod(factors) ** (1 / 3))
    for p in found.parameters:
        moved = visit[f"{p.name}_new"].astype(np.float64) - visit[p.name]
        assert p.gradient == pytest.approx(np.linalg.norm(visit[f"d{p.name}"].astype(np.float64)), rel=1e-6)
        assert p.update == pytest.approx(np.linalg.norm(moved), rel=1e-6)


def test_a_vanishing_gradient_is_named() -> None:
    found = flow(deep("sigmoid").at(3), Monitors())
    assert found.shrink < 0.5
    assert "It vanishes: the way to δ" in found.claim
    assert "It vanishes" not in flow(deep("tanh").at(3), Monitors()).claim


def test_an_exploding_gradient_is_named() -> None:
    run = deep("identity", 6, lr=1e-12)
    visit = run.at(2)
    for name in ("W2", "W3", "W4", "W5", "W6"):
        visit.before[name] = visit.before[name] * 4
    found = flow(visit, Monitors())
    assert found.shrink > 2
    assert "It explodes" in found.claim


def test_dead_units_are_named() -> None:
    run = deep("relu", 2)
    visit = run.at(2)
    visit.before["b1"] = visit.before["b1"] - 100.0
    found = flow(visit, Monitors())
    assert next(u for u in found.units if u.name == "a1").dead == 1.0
    assert "100% of the units of a1 are dead" in found.claim
    assert "the error dies on its way back: from δ1 on it is zero everywhere" in found.claim


def test_over_the_run() -> None:
    run = deep("tanh", 2)
    found = flow(run.at(4), run.monitors)
    assert len(found.steps) >= 2
    assert found.over_time["δ1"][0] == pytest.approx(
        np.linalg.norm(run.at(found.steps[0])["δ1"].astype(np.float64)), rel=1e-6
    )
    assert "The error over the run" in found.html()
    assert "No layer monitors were written" in flow(run.at(4), Monitors()).text()


def test_a_single_layer() -> None:
    run = deep("tanh", 0)
    found = flow(run.at(1), run.monitors)
    assert "the only layer, δ1" in found.claim
    assert np.isnan(found.shrink)
