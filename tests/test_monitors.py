"""Layer monitors: each number against its definition, for any network, and kept as it was."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import backpass as bp
from backpass import ops
from backpass.errors import NonFinite
from backpass.ir import Elementwise, Sample
from backpass.nn import Activation, Apply, BatchNorm, Dropout, Embedding, Flatten, LayerNorm, Residual
from backpass.record import store
from backpass.record.monitors import Cadence
from backpass.training.optimisers import SGD, Adam


def train(net: bp.Network, **options: object) -> bp.Run:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    X = rng.standard_normal((90, 6)) + 2 * np.eye(3, 6)[y]
    given = {"batch": 7, "epochs": 3, "executor": "reference", "optimizer": SGD(0.1)}
    return bp.train(net, options.pop("data", (X, y)), **{**given, **options})


def plain(activation: object = "relu") -> bp.Network:
    return bp.Network([bp.Dense(8, activation), bp.Dense(5, "tanh"), bp.Dense(3, "softmax")])


def norm(x: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.asarray(x, np.float64) ** 2)))


def test_every_number_is_what_it_says() -> None:
    run = train(plain())
    seen = run.monitors
    assert seen.steps[0] == 1
    assert seen.steps[-1] == run.steps
    for i, step in enumerate(seen.steps):
        visit = run.at(int(step))
        for name in ("W1", "b1", "W2", "b2", "W3", "b3"):
            moved = visit[f"{name}_new"].astype(np.float64) - visit[name]
            assert seen.values[f"norm d{name}"][i] == pytest.approx(norm(visit[f"d{name}"]), rel=1e-6)
            assert seen.values[f"norm Δ{name}"][i] == pytest.approx(norm(moved), rel=1e-6)
            assert seen.values[f"norm {name}"][i] == pytest.approx(norm(visit[name]), rel=1e-6)
            with np.errstate(all="ignore"):
                ratio = np.float64(norm(moved)) / norm(visit[name])
            assert seen.values[f"ratio {name}"][i] == pytest.approx(ratio, rel=1e-6, nan_ok=True)
        for name in ("δ1", "δ2", "δ3"):
            assert seen.values[f"norm {name}"][i] == pytest.approx(norm(visit[name]), rel=1e-6)
            variance = np.var(visit[name].astype(np.float64))
            assert seen.values[f"variance {name}"][i] == pytest.approx(variance, rel=1e-6)
        a1, a2 = (visit[name].astype(np.float64) for name in ("a1", "a2"))
        assert seen.values["mean a1"][i] == pytest.approx(np.mean(a1), rel=1e-6)
        assert seen.values["deviation a2"][i] == pytest.approx(np.std(a2), rel=1e-6)
        assert seen.values["dead a1"][i] == np.mean(np.all(visit["z1"] <= 0, axis=0))
        assert seen.values["saturated a1"][i] == pytest.approx(np.mean(visit["z1"] <= 0))
        assert seen.values["saturated a2"][i] == np.mean(1 - a2**2 < 1 / 128)
    assert not any(name.endswith("a3") for name in seen.names)  # the softmax is a part of the head


def test_dead_and_saturated_units_are_found() -> None:
    X = np.random.default_rng(0).uniform(0, 1, (40, 4))
    W = np.zeros((4, 6))
    b = np.array([-5.0, -5.0, 1.0, 1.0, 1.0, 1.0])
    net = bp.Network([bp.Dense(6, "relu", weights=W, bias=b), bp.Dense(2, "softmax")])
    run = train(net, data=(X, np.arange(40) % 2), optimizer=SGD(1e-6), epochs=1)
    assert run.monitors.of("dead")["a1"][0] == pytest.approx(2 / 6)
    b = np.array([9.0, -9.0, 0.0, 0.0, 0.0, 2.9])
    for activation, part in (("sigmoid", 2 / 6), ("tanh", 2 / 6), ("leaky_relu", 0.0), ("exp", 1 / 6)):
        net = bp.Network([bp.Dense(6, activation, weights=W, bias=b), bp.Dense(2, "softmax")])
        run = train(net, data=(X, np.arange(40) % 2), optimizer=SGD(1e-9), epochs=1)
        assert run.monitors.of("saturated")["a1"][0] == pytest.approx(part), activation
        assert run.monitors.of("dead")["a1"][0] == 0


def test_a_vanishing_gradient_has_a_norm() -> None:
    net = bp.Network([bp.Dense(4, "tanh", weights=np.full((6, 4), 1e-2)), bp.Dense(3, "softmax")])
    weights = {"W2": np.full((4, 3), 1e-25) * np.arange(12).reshape(4, 3)}
    net = bp.Network(
        [bp.Dense(4, "tanh"), bp.Dense(3, "softmax", weights=weights["W2"])],
    )
    run = train(net, epochs=1)
    found = run.monitors.of("norm")["dW1"][0]
    assert 0 < found < 1e-22  # whose square is no float32


@dataclass(frozen=True)
class Shelf(Elementwise):
    """A user's activation with a slope of its own."""

    name: ClassVar[str] = "monitored_shelf"
    notation: ClassVar[str] = "clip({0}, 0, 1) ** 2"
    tex: ClassVar[str] = r"{0}"
    samples: ClassVar[tuple[Sample, ...]] = (Sample((("m", "n"),)),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        y = xp.minimum(xp.maximum(x, 0), 1)
        return y * y

    def vjp(self, adj: Any, y: Any, /, x: Any) -> tuple[Any]:
        return (ops.Where()(x > 0, ops.Where()(x < 1, 2 * adj * x, 0 * adj), 0 * adj),)


def shared() -> bp.Network:
    x = bp.Inputs()
    layer = bp.Dense(6, "tanh")
    return bp.Network(bp.Dense(3, "softmax")(layer(layer(x))))


NETWORKS = {
    "skip": (
        lambda: bp.Network(
            [bp.Dense(6, "relu"), Residual([bp.Dense(6, "tanh"), bp.Dense(6)]), bp.Dense(3, "softmax")]
        ),
        {"norm δ3", "dead a1", "mean a2"},
    ),
    "norms": (
        lambda: bp.Network(
            [bp.Dense(6), BatchNorm(), Activation("relu"), LayerNorm(), bp.Dense(3, "softmax")]
        ),
        {"norm dγ2", "ratio β2", "dead a2", "norm δ2"},
    ),
    "shared": (shared, {"norm dW1", "norm δ1", "norm δ1_2", "mean a1_2"}),
    "dropout": (
        lambda: bp.Network([bp.Dense(6, "gelu"), Dropout(0.5), bp.Dense(3, "softmax")]),
        {"saturated a1"},
    ),
    "own op": (lambda: bp.Network([bp.Dense(6, Shelf()), bp.Dense(3, "softmax")]), {"dead a1"}),
    "own function": (
        lambda: bp.Network([bp.Dense(6), Apply(lambda z: z * z), bp.Dense(3, "softmax")]),
        {"norm δ1"},
    ),
    "frozen": (
        lambda: bp.Network([bp.Dense(6, "relu", trainable=False), bp.Dense(3, "softmax")]),
        {"norm dW2", "dead a1"},
    ),
    "linear": (lambda: bp.Network([bp.Dense(3, "softmax")]), {"norm dW1"}),
}


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_any_network_has_the_monitors_that_it_can_have(case: str, dtype: str) -> None:
    make, wanted = NETWORKS[case]
    run = train(make(), dtype=dtype, optimizer=Adam(0.01))
    assert wanted <= set(run.monitors.names)
    assert len(run.monitors) >= 2
    for name, values in run.monitors.values.items():
        assert np.isfinite(values[1:]).all(), name
        assert (values >= 0).all() or name.startswith(("mean ", "ratio ")), name
        if name.startswith(("dead", "saturated")):
            assert (values <= 1).all()
    assert ("norm dW1" in run.monitors.names) == (case != "frozen")


def test_embeddings_have_monitors() -> None:
    words = np.random.default_rng(0).integers(0, 5, (40, 3))
    net = bp.Network([Embedding(5, 4), Flatten(), bp.Dense(6, "tanh"), bp.Dense(2, "softmax")])
    run = train(net, data=(words.astype(np.float64), words[:, 0] % 2))
    assert {"norm dE1", "norm ΔE1", "dead a2"} <= set(run.monitors.names)


def test_looking_changes_nothing() -> None:
    on, off = train(plain(), executor="compiled"), train(plain(), executor="compiled", record_mb=0)
    assert len(on.monitors) > 2
    assert len(off.monitors) == 0
    assert on.graph.digest == off.graph.digest  # no output more
    assert on.costs.tobytes() == off.costs.tobytes()
    for name, array in on.record.last().items():
        assert array.tobytes() == off.record.last()[name].tobytes()


def test_a_run_that_diverges_is_looked_at_where_it_does(tmp_path: Path) -> None:
    net = bp.Network([bp.Dense(8, "relu"), bp.Dense(3)])
    with pytest.raises(NonFinite) as caught:
        train(net, optimizer=SGD(0.08), epochs=2000, out=tmp_path / "a", data=_far(), executor="compiled")
    run = caught.value.run
    assert run.monitors.last == run.steps == caught.value.step - 1 > 3
    assert run.monitors.values["norm dW1"][-1] > 1e3 * run.monitors.values["norm dW1"][0]
    assert bp.load(tmp_path / "a").monitors.steps.tolist() == run.monitors.steps.tolist()


def _far() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return 3 * rng.standard_normal((90, 6)), np.eye(3)[rng.integers(0, 3, 90)]


def test_nan_and_infinity_are_kept(tmp_path: Path) -> None:
    run = train(plain())
    numbers = dict.fromkeys(run.monitors.names, 1.0)
    numbers["norm dW1"], numbers["norm db1"] = float("nan"), float("-inf")
    run.monitors._steps[-1] -= 1  # room for one more
    run.monitors.add(run.steps, numbers)
    run.save(tmp_path / "a")
    seen = bp.load(tmp_path / "a").monitors
    assert np.isnan(seen.values["norm dW1"][-1])
    assert seen.values["norm db1"][-1] == -np.inf
    assert seen.names == run.monitors.names
    for name, values in run.monitors.values.items():
        assert seen.values[name].tobytes() == values.tobytes()


def test_many_looks_come_back_from_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cadence, "of", lambda run, look, steps: Cadence(2, steps))
    monkeypatch.setattr(store, "_PAUSE", 0.0)  # written as the run goes, a few at a time
    run = train(plain(), epochs=20, out=tmp_path / "a")
    assert run.monitors.steps.tolist() == [1, *range(2, run.steps + 1, 2)]
    seen = bp.load(tmp_path / "a").monitors
    assert seen.steps.tolist() == run.monitors.steps.tolist()
    assert seen.values["norm dW1"].tobytes() == run.monitors.values["norm dW1"].tobytes()
    with sqlite3.connect(tmp_path / "a" / "record.sqlite") as database:
        assert database.execute("SELECT count(DISTINCT block) FROM monitors").fetchone() == (3,)
        database.execute("UPDATE monitors SET value = x'00' WHERE block = 1 AND name = 'norm W1'")
    database.close()
    assert bp.load(tmp_path / "a").monitors.steps.tolist() == run.monitors.steps[:64].tolist()


@pytest.mark.parametrize("steps", [1, 2, 50, 1500, 100_000])
@pytest.mark.parametrize("look", [1e-4, 2e-3, 0.05, 5.0])
@pytest.mark.parametrize("step", [1e-5, 1e-3, 0.1])
def test_looks_cost_what_they_may(steps: int, look: float, step: float) -> None:
    cadence, at, seen = Cadence.of(steps * step, look, steps), 0, []
    while (at := cadence.after(at)) is not None:
        seen.append(at)
    assert seen == sorted(set(seen))
    assert len(seen) <= 200
    assert len(seen) * look <= max(0.02 * steps * step, 0.02) + 1e-9
    if seen:
        assert seen[0] == 1
        assert seen[-1] == steps
    if 2 * look <= 0.01 * steps * step:
        assert len(seen) >= min(2, steps)
