"""Influence: against loops over examples, and against what training again really gives."""

import json
from collections.abc import Callable

import numpy as np
import pytest

import backpass as bp
from backpass import ops
from backpass.errors import ShapeError, UsageError
from backpass.exec.reference import ReferenceFunction
from backpass.explain.influence import influence
from backpass.explain.self_influence import own_moves_of, self_influence
from backpass.explain.tracing import follow as tracing
from backpass.explain.tracing import inspection
from backpass.explain.tracing.backwards import slots_of
from backpass.explain.tracing.follow import Traced, follow
from backpass.explain.tracing.removal import loss_without, verified
from backpass.ir import Graph
from backpass.nn import Residual
from backpass.passes import backward
from backpass.training.optimisers import SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop
from backpass.training.schedules import Cosine
from backpass.training.step import step_graph

NETS = {
    "dense": [bp.Dense(5, "tanh"), bp.Dense(3, "softmax")],
    "layer norm": [bp.Dense(5), bp.LayerNorm(), bp.Activation("relu"), bp.Dense(3, "softmax")],
    "dropout": [bp.Dense(5, "relu"), bp.Dropout(0.4), bp.Dense(3, "softmax")],
    "skip": [bp.Dense(5, "tanh"), Residual([bp.Dense(4, "relu"), bp.Dense(5)]), bp.Dense(3, "softmax")],
    "embedding": [bp.Embedding(5, 3), bp.Flatten(), bp.Dense(4, "tanh"), bp.Dense(3, "softmax")],
}
OPTIMISERS: dict[str, Optimiser] = {
    "sgd": SGD(0.3),
    "momentum": SGD(Cosine(0.2), 0.8),
    "nesterov": SGD(0.2, 0.8, nesterov=True, decay=0.05),
    "clipped": SGD(0.3, 0.5, clip=0.03),
    "norm clipped": SGD(0.5, 0.5, clip_norm=0.1),
    "adagrad": Adagrad(0.05),
    "rmsprop": RMSprop(0.02, decay=0.1),
    "adam": Adam(0.02),
    "adamw": AdamW(0.02, decay=0.3),
}


def trained(net: str = "dense", optimizer: Optimiser | None = None, **options: object) -> bp.Run:
    rng = np.random.default_rng(1)
    y = np.arange(26) % 3
    X = rng.standard_normal((26, 4)) + 1.5 * np.eye(3, 4)[y]
    if net == "embedding":
        X = rng.integers(0, 5, (26, 2)).astype(float)
        X[:3] = X[:3, :1]  # some rows look the same vector up twice
    given = {"batch": 7, "epochs": 3, "dtype": "f64", "optimizer": optimizer or SGD(0.3)} | options
    return bp.train(bp.Network(NETS[net]), (X, y), **given)


def gradient_by_example(run: bp.Run) -> Callable[[dict, int], list[dict]]:
    """(∂C/∂ℓ_b) ∇ℓ_b for each example of a batch, by a backward pass with a seed for it alone."""
    graph = run.graph.part(["loss", "C"])
    names = list(run.graph.inputs_of_kind("parameter"))
    seeded = ReferenceFunction(backward(graph.part(["loss"]), "loss", names, seed="seed"))

    def found(feeds: dict, rows: int) -> list[dict]:
        weights = feeds.get("w", np.ones(rows)) / rows
        outs = [seeded({**{k: feeds[k] for k in seeded.graph.inputs if k != "seed"}, "seed": s})
                for s in np.diag(weights)]  # fmt: skip
        return [{name: out[f"d{name}"] for name in names} for out in outs]

    return found


def loss_and_gradient(run: bp.Run, x: np.ndarray, t: np.ndarray) -> Callable[[dict], tuple[float, dict]]:
    graph = run.record.predict_graph
    names = list(graph.inputs_of_kind("parameter"))
    mean = Graph({"L": ops.Mean()(graph["loss"])})
    function = ReferenceFunction(backward(mean, "L", names))

    def found(state: dict) -> tuple[float, dict]:
        known = {**state, **run.record.fixed, "x": x, "t": t}
        out = function({k: known[k] for k in function.graph.inputs})
        return float(out["L"]), {n: out[f"d{n}"] for n in names}

    return found


def moved_by(optimiser: Optimiser, g: np.ndarray, slot: np.ndarray, n: dict, s: dict, name: str, kept: float):
    """What a part g of a gradient moves a weight by, and its part of the slot; rules written out again."""
    lr = n["lr"]
    if isinstance(optimiser, SGD):
        mu = n.get("momentum", 0.0)
        v = mu * slot - lr * kept * g
        return (mu * v - lr * kept * g if optimiser.nesterov else v), v
    if isinstance(optimiser, (Adagrad, RMSprop)):
        return -lr * g / (np.sqrt(s[f"s_{name}"]) + n["eps"]), slot
    m = n["beta1"] * slot + (1 - n["beta1"]) * g
    return -lr * (m / s["c_m"]) / (np.sqrt(s[f"s_{name}"] / s["c_s"]) + n["eps"]), m


def brute_force(run: bp.Run, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Influence by loops: each example has velocities of its own, carried from step to step."""
    record, per_example = run.record, gradient_by_example(run)
    loss = loss_and_gradient(run, x, t)
    names = list(run.graph.inputs_of_kind("parameter"))
    state, total = run.replay.state(0), np.zeros(record.batches.rows)
    slots = {n: np.zeros((record.batches.rows, *state[n].shape)) for n in names}
    for k in range(run.steps):
        rows = record.batches.span(k, k + 1)[0]
        visit = run.at(k + 1)
        numbers = {n: float(visit.feeds[n]) for n in run.graph.inputs_of_kind("number")}
        after = run.replay.run_step(k)
        fresh = dict(zip(rows.tolist(), per_example(visit.feeds, len(rows)), strict=True))
        felt = [loss(state)[1], loss(after)[1]]
        kept = float(visit["kept"]) if "kept" in run.graph.named else 1.0
        for b in range(record.batches.rows):
            for name in names:
                g = fresh[b][name] if b in fresh else np.zeros_like(state[name])
                move, slots[name][b] = moved_by(
                    record.optimiser, g, slots[name][b], numbers, after, name, kept
                )
                mean = (felt[0].get(name, 0.0) + felt[1].get(name, 0.0)) / 2
                total[b] += np.sum(mean * move)
        state = after
    return total


CASES = [("dense", name) for name in OPTIMISERS] + [
    ("layer norm", "momentum"),
    ("dropout", "adam"),
    ("skip", "nesterov"),
    ("embedding", "adam"),
]


@pytest.mark.parametrize(("net", "name"), CASES)
def test_the_influence_of_each_row_is_that_of_loops_over_examples(net: str, name: str) -> None:
    run = trained(net, OPTIMISERS[name], executor="reference")
    x, t = run.parts["train"][0][4:5], run.parts["train"][1][4:5]
    found = follow(run.replay, x, t)
    np.testing.assert_allclose(found.influence, brute_force(run, x, t), rtol=1e-9, atol=1e-13)
    assert np.abs(found.influence).max() > 1e-3
    # The parts add up: to first order exactly, and with what is left over to the change of the loss.
    assert abs(found.rounding) <= found.bound < 1e-9
    whole = found.influence.sum() + sum(found.parts.values()) + found.curvature + found.rounding
    assert whole == pytest.approx(found.losses[-1] - found.losses[0], abs=1e-12)
    assert found.losses[0] == pytest.approx(loss_and_gradient(run, x, t)(run.replay.state(0))[0], abs=1e-12)
    beside = {"clipped": {"clipping"}, "nesterov": {"decay"}, "rmsprop": {"decay"}, "adamw": {"decay"}}
    assert set(found.parts) == beside.get(name, set())


def test_penalties_weights_of_rows_and_several_inputs_have_their_parts() -> None:
    weights = np.linspace(0.0, 2.0, 26)
    run = trained(optimizer=Adam(0.02), l1=0.01, l2=0.05, sample_weight=weights, executor="reference")
    x, t = (a[2:6] for a in run.parts["train"])
    found = follow(run.replay, x, t)
    assert abs(found.rounding) <= found.bound < 1e-9
    assert set(found.parts) == {"penalty"}
    assert abs(found.parts["penalty"]) > 1e-4
    np.testing.assert_allclose(found.influence, brute_force(run, x, t), rtol=1e-9, atol=1e-13)
    assert found.influence[run.rows.numbers == 0] == 0  # its weight is nought


def test_what_a_velocity_takes_from_another_velocity_is_followed() -> None:
    class Late(SGD):
        def _one(self, found, parameter, gradient, numbers, shared) -> None:
            v, u = (ops.state(f"{k}_{parameter.name}", parameter.array_type) for k in "vu")
            found.add(u, 0.5 * u - numbers["lr"] * gradient)
            found.add(v, 0.5 * v + u)
            found.add(parameter, parameter + v)

    step = step_graph(bp.Network([bp.Dense(1)]), "squared_error", Late(0.1), 3)
    assert set(slots_of(step)) == {"v_W1", "u_W1", "v_b1", "u_b1"}


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_the_compiled_kernels_agree_and_f32_balances(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trained(optimizer=OPTIMISERS[name], dtype="f32", executor="reference")
    x, t = (a[:1] for a in plain.parts["train"])
    expected = follow(plain.replay, x, t)
    monkeypatch.setattr(inspection, "_COMPILE_SECONDS", 0.0)
    run = trained(optimizer=OPTIMISERS[name], dtype="f32", executor="compiled")
    found = follow(run.replay, x, t)
    assert abs(found.rounding) <= found.bound
    assert abs(expected.rounding) <= expected.bound
    np.testing.assert_allclose(found.influence, expected.influence, rtol=2e-4, atol=2e-6)


def test_a_run_is_gone_through_in_stretches_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(optimizer=Adam(0.02))
    x, t = (a[:1] for a in run.parts["train"])
    whole, told = follow(run.replay, x, t), []
    monkeypatch.setattr(tracing, "_STRETCH", 5)
    parted = follow(run.replay, x, t, progress=lambda done, steps: told.append((done, steps)))
    np.testing.assert_array_equal(parted.influence, whole.influence)
    np.testing.assert_array_equal(parted.losses, whole.losses)
    assert told == [(5, 12), (10, 12), (12, 12)]
    np.testing.assert_array_equal(follow(run.replay, x, t).influence, whole.influence)


def test_it_follows_a_run_to_the_weights_that_it_ends_with() -> None:
    stop = bp.EarlyStopping(patience=2)
    run = trained(optimizer=SGD(3.0), epochs=40, validation=0.2, stop=stop)
    assert run.record.outcome.best_step not in (None, run.steps)
    x, t = (a[:1] for a in run.parts["validation"])
    found = follow(run.replay, x, t)
    assert len(found.losses) == run.record.outcome.best_step + 1
    loss = -np.log(run._evaluator.predict(run.weights, x)[0, int(t.argmax())])
    assert found.losses[-1] == pytest.approx(loss, rel=1e-9)


# ---- the answer


def test_the_answer_says_who_moved_the_loss_and_adds_up() -> None:
    run = trained(optimizer=Adam(0.02), epochs=30, test=0.2)
    x, t = (a[1:2] for a in run.parts["test"])
    answer = influence(run.replay, run.rows.numbers, x, t, target="test/1")
    assert answer.balanced
    assert answer.step is None
    assert answer.question == "influence"
    rest = answer.curvature + answer.rounding
    parts = answer.lowered + answer.raised + sum(p.value for p in answer.parts) + rest
    assert parts == pytest.approx(answer.after - answer.before, abs=1e-12)
    assert abs(rest) < 0.02 * (abs(answer.lowered) + answer.raised)  # of third order in a step
    values = [e.value for e in answer.proponents]
    assert values == sorted(values)
    assert values[-1] < 0
    values = [e.value for e in answer.opponents]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0
    assert {e.row for e in answer.proponents} <= set(run.rows.numbers.tolist())
    first = answer.proponents[0]
    assert first.label == str(np.arange(26)[first.row] % 3)
    text = answer.text()
    assert "The loss on test/1" in text
    assert f"row {first.row}" in text
    assert "balance holds" in text
    assert json.loads(json.dumps(answer.to_dict()))["balanced"] is True
    for written in (answer.html(), answer.markdown(), answer.latex()):
        assert f"{first.row}" in written


def test_a_corrupted_share_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(optimizer=SGD(0.2, 0.8))
    x, t = (a[:1] for a in run.parts["train"])
    assert influence(run.replay, run.rows.numbers, x, t).balanced
    step = tracing._Sweep._step

    def corrupted(self: tracing._Sweep, found: Traced, rows: np.ndarray, *rest: object) -> None:
        step(self, found, rows, *rest)
        found.influence[rows[0]] += 1e-7

    monkeypatch.setattr(tracing._Sweep, "_step", corrupted)
    answer = influence(run.replay, run.rows.numbers, x, t)
    assert not answer.balanced
    assert "balance FAILS" in answer.text()


def test_images_are_shown() -> None:
    run = bp.train(bp.Network([bp.Dense(10, "softmax")]), "digits", epochs=1, rows=60)
    x, t = (a[:1] for a in run.parts["train"])
    answer = influence(run.replay, run.rows.numbers, x, t)
    assert [title for title, _ in answer.pictures] == [
        "the rows that lowered it most",
        "the rows that raised it most",
    ]
    assert answer.pictures[0][1].count("<image") == 8
    assert self_influence(run.replay, run.rows.numbers).pictures.count("<image") == 16


# ---- trained again


def by_loops(run: bp.Run, dropped: np.ndarray, x: np.ndarray, t: np.ndarray) -> float:
    """The same steps by the reference executor, the rows missing from their batches."""
    state, function = run.replay.state(0), ReferenceFunction(run.graph)
    for k in range(run.steps):
        rows = run.record.batches.span(k, k + 1)[0]
        rows = rows[~np.isin(rows, dropped)]
        if len(rows):
            feeds = run.at(k + 1).feeds | state
            feeds |= {name: array[rows] for name, array in run.replay.data.items()}
            out = function(feeds)
            state = {old: out[new] for new, old in run.graph.carry.items()}
    return loss_and_gradient(run, x, t)(state)[0]


def test_training_again_without_no_row_is_the_run_and_without_some_is_a_run_without_them() -> None:
    run = trained(optimizer=Adam(0.02))
    x, t = (a[3:4] for a in run.parts["train"])
    last = follow(run.replay, x, t).losses[-1]
    assert loss_without(run.replay, np.zeros(0, np.int64), x, t) == pytest.approx(last, rel=1e-12)
    dropped, second = np.array([0, 5, 11, 12, 13]), run.replay.run_step(1)
    found = loss_without(run.replay, dropped, x, t)
    again = run.replay.run_step(1)  # the replay is where it takes itself to be
    assert all(np.array_equal(again[name], array) for name, array in second.items())
    assert found == pytest.approx(by_loops(run, dropped, x, t), rel=1e-9)


def test_a_batch_that_loses_all_its_rows_is_no_step() -> None:
    run = trained(batch=2, epochs=1, optimizer=SGD(Cosine(0.5)))
    x, t = (a[:1] for a in run.parts["train"])
    gone = run.record.batches.span(3, 4)[0]
    expected = by_loops(run, gone, x, t)
    assert loss_without(run.replay, gone, x, t) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(UsageError, match="nothing to train on"):
        loss_without(run.replay, np.arange(26), x, t)


def test_verify_says_what_was_predicted_and_what_happened() -> None:
    run = trained(optimizer=SGD(0.3), epochs=20)
    x, t = (a[3:4] for a in run.parts["train"])
    found = follow(run.replay, x, t)
    answer = influence(run.replay, run.rows.numbers, x, t, verify=3)
    removal = answer.removal
    order = np.argsort(found.influence, kind="stable")[:3]
    assert removal.rows == tuple(run.rows.numbers[order].tolist())
    assert removal.predicted == pytest.approx(-found.influence[order].sum())
    assert removal.without == loss_without(run.replay, order, x, t)
    assert removal.actual == removal.without - answer.after
    assert len(removal.controls) == 3
    # Without the rows that lowered it the loss ends higher, and more so than without any others.
    assert removal.without > max(removal.controls)
    assert "trained again without them" in answer.text()
    with pytest.raises(UsageError, match="1 to 13 of the 26"):
        verified(run.replay, run.rows.numbers, found.influence, x, t, 14, loss=1.0)


# ---- self-influence


@pytest.mark.parametrize("net", ["dense", "layer norm", "dropout", "skip", "embedding"])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam"])
def test_self_influence_is_that_of_loops_over_examples(net: str, name: str) -> None:
    run = trained(net, OPTIMISERS[name])
    found, record = own_moves_of(run.replay), run.record
    own, visits = np.zeros(26), np.zeros(26, int)
    per_example, score = gradient_by_example(run), np.zeros(26)
    for k in range(run.steps):
        rows, visit = record.batches.span(k, k + 1)[0], run.at(k + 1)
        after = run.replay.run_step(k)
        for b, part in zip(rows, per_example(visit.feeds, len(rows)), strict=True):
            for weight, g in part.items():
                n = {key: float(visit.feeds[key]) for key in run.graph.inputs_of_kind("number")}
                far = n["lr"] / (1 - n.get("momentum", 0.0))
                if name == "adam":
                    far = far / (np.sqrt(after[f"s_{weight}"] / after["c_s"]) + n["eps"]) / after["c_m"]
                own[b] -= np.sum(far * g**2) * len(rows)
        visits[rows] += 1
        score[rows] += np.sum((visit[record.prediction] - visit["t"]) ** 2, axis=1)
    np.testing.assert_allclose(found.own, own, rtol=1e-9)
    np.testing.assert_array_equal(found.visits, visits)
    np.testing.assert_allclose(found.score, score / visits, rtol=1e-9)
    assert found.second_route <= found.bound < 1e-9


def test_wrong_labels_come_first() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.standard_normal((90, 6)) * 0.4 + 2 * np.eye(3, 6)[y]
    wrong = [4, 31, 55, 78]
    y[wrong] = (y[wrong] + 1) % 3
    net = bp.Network([bp.Dense(8, "relu"), bp.Dense(3, "softmax")])
    run = bp.train(net, (X, y), epochs=50, batch=9, test=0.1)
    answer = self_influence(run.replay, run.rows.numbers)
    assert answer.balanced
    assert answer.rows == 81
    flagged = set(wrong) & set(run.rows.numbers.tolist())
    assert {s.row for s in answer.suspects[: len(flagged)]} == flagged
    for suspect in answer.suspects[: len(flagged)]:
        assert suspect.label == str(y[suspect.row]) != suspect.taken_for == str((y[suspect.row] - 1) % 3)
    for suspect in answer.suspects:
        assert suspect.before + suspect.own + suspect.others == pytest.approx(suspect.after)
        assert suspect.own <= 0
        assert suspect.visits == 50
    assert answer.suspects[0].score > 1 > answer.suspects[-1].score
    assert f"row {answer.suspects[0].row}" in answer.text()
    json.dumps(answer.to_dict())


def test_a_corrupted_self_influence_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    squares = inspection._squares
    monkeypatch.setattr(inspection, "_squares", lambda *a: None if (s := squares(*a)) is None else 1.001 * s)
    run = trained()
    assert not self_influence(run.replay, run.rows.numbers).balanced


def test_quantities_are_answered_not_read() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    y = X @ [1.0, 2.0, -1.0]
    y[7] += 9
    run = bp.train(bp.Network([bp.Dense(6, "tanh"), bp.Dense(1)]), (X, y), epochs=30, batch=8)
    suspects = self_influence(run.replay, run.rows.numbers)
    assert suspects.suspects[0].row == 7
    assert suspects.suspects[0].label == f"{y[7]:.4g}"
    assert f"row 7, {y[7]:.4g} taken for" in suspects.claim
    x, t = (a[:2] for a in run.parts["train"])
    answer = influence(run.replay, run.rows.numbers, x, t)
    assert answer.balanced
    assert answer.inputs == 2
    assert answer.label == "" == answer.read_as
    assert "read as" not in answer.text() + suspects.text()
    assert "answered" in answer.text()
    assert "answered" in suspects.text()


# ---- refused


def test_examples_that_are_coupled_have_no_influence_of_their_own() -> None:
    net = bp.Network([bp.Dense(4), bp.BatchNorm(), bp.Activation("relu"), bp.Dense(3, "softmax")])
    run = bp.train(net, (np.random.default_rng(0).random((20, 4)), np.arange(20) % 3), epochs=1, batch=5)
    x, t = (a[:1] for a in run.parts["train"])
    for ask in (lambda: influence(run.replay, run.rows.numbers, x, t), lambda: own_moves_of(run.replay)):
        with pytest.raises(UsageError, match="mixes the examples of the batch"):
            ask()


def test_inputs_that_do_not_fit_are_refused() -> None:
    run = trained()
    x, t = (a[:2] for a in run.parts["train"])
    for wrong in ((x[:, :3], t), (x[0], t), (x[:0], t[:0]), (x, t[:, :2])):
        with pytest.raises(ShapeError, match="as they enter the network"):
            follow(run.replay, *wrong)
    with pytest.raises(ShapeError, match="2 rows and 1 targets"):
        follow(run.replay, x, t[:1])
