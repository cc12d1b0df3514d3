"""Optimisers and schedules: the steps are PyTorch's or the paper's, and no number compiles anything."""

import json
import math

import numpy as np
import pytest

import backpass as bp
from backpass.errors import UsageError
from backpass.exec.compiled.kernels import loaded as loaded_kernels
from backpass.training.optimisers import NAMES, SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop
from backpass.training.schedules import NAMES as SCHEDULES
from backpass.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    OnPlateau,
    Schedule,
    Step,
    WarmUp,
    rates,
)
from backpass.training.step import step_graph

EVERY = [
    SGD(0.1),
    SGD(0.1, 0.9),
    SGD(0.1, 0.9, nesterov=True),
    SGD(0.1, decay=0.02),
    SGD(0.1, 0.8, decay=0.02),
    SGD(0.1, 0.8, nesterov=True, decay=0.02),
    Adagrad(0.05),
    Adagrad(0.05, decay=0.02),
    RMSprop(0.01, rho=0.8),
    RMSprop(0.01, decay=0.02),
    Adam(0.02),
    Adam(0.02, 0.8, 0.95, 1e-6, decay=0.02),
    AdamW(0.02),
    AdamW(0.02, decay=0.3),
]
IDS = [repr(o) for o in EVERY]


def blobs(n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    return rng.standard_normal((n, 4)) + 3 * np.eye(3, 4)[y], y


def train(optimiser: Optimiser, **options: object) -> bp.Run:
    net = bp.Network([bp.Dense(5, "tanh"), bp.Dense(3, "softmax")])
    settings = {"batch": 4, "epochs": 4, "dtype": "f64", "executor": "reference", "order": "sequential"}
    return bp.train(net, blobs(), optimizer=optimiser, **{**settings, **options})


def torch_optimiser(ours: Optimiser, weights: list, biases: list) -> object:
    """PyTorch's of the same numbers; as with us, only matrices decay."""
    optim = pytest.importorskip("torch").optim
    groups = [{"params": weights, "weight_decay": ours.decay}, {"params": biases, "weight_decay": 0.0}]
    if isinstance(ours, SGD):
        return optim.SGD(groups, ours.lr, momentum=ours.momentum, nesterov=ours.nesterov)
    if isinstance(ours, Adagrad):
        return optim.Adagrad(groups, ours.lr, eps=ours.eps)
    if isinstance(ours, RMSprop):
        return optim.RMSprop(groups, ours.lr, alpha=ours.rho, eps=ours.eps)
    kind = optim.AdamW if isinstance(ours, AdamW) else optim.Adam
    return kind(groups, ours.lr, betas=(ours.beta1, ours.beta2), eps=ours.eps)


def by_torch(ours: Optimiser, start: dict[str, np.ndarray], steps: int, limit: object = None) -> dict:
    torch = pytest.importorskip("torch")
    X, y = blobs()
    w = {k: torch.tensor(start[k], dtype=torch.float64, requires_grad=True) for k in ("W1", "b1", "W2", "b2")}
    theirs = torch_optimiser(ours, [w["W1"], w["W2"]], [w["b1"], w["b2"]])
    for s in range(steps):
        rows = np.arange(4 * s, 4 * s + 4) % 20
        x, t = torch.tensor(X[rows]), torch.tensor(y[rows])
        z = torch.tanh(x @ w["W1"] + w["b1"]) @ w["W2"] + w["b2"]
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(z, t).backward()
        if limit is not None:
            limit(list(w.values()))
        theirs.step()
    return {k: v.detach().numpy() for k, v in w.items()}


@pytest.mark.parametrize("ours", EVERY, ids=IDS)
def test_steps_are_those_of_pytorch(ours: Optimiser) -> None:
    run = train(ours)
    for steps in (1, 2, 7, 20):
        theirs = by_torch(ours, run.record.checkpoints[0], steps)
        mine = run.replay.state(steps)
        for name, array in theirs.items():
            np.testing.assert_allclose(mine[name], array, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ours", [SGD(0.1, 0.9, decay=0.1), Adam(0.02)])
def test_clipping_is_that_of_pytorch(ours: Optimiser) -> None:
    torch = pytest.importorskip("torch")
    by_value = {"clip": 0.05}, lambda w: torch.nn.utils.clip_grad_value_(w, 0.05)
    # PyTorch adds 1e-6 to the norm before it divides by it.
    by_norm = {"clip_norm": 0.2}, lambda w: torch.nn.utils.clip_grad_norm_(w, 0.2)
    for (setting, limit), tolerance in ((by_value, 1e-9), (by_norm, 3e-5)):
        run = train(type(ours)(**{**_fields(ours), **setting}))
        theirs = by_torch(ours, run.record.checkpoints[0], 20, limit)
        plain = by_torch(ours, run.record.checkpoints[0], 20)
        for name in theirs:
            np.testing.assert_allclose(run.weights[name], theirs[name], rtol=tolerance, atol=tolerance)
        assert max(np.abs(theirs[k] - plain[k]).max() for k in theirs) > 1e-3  # it did clip


def _fields(optimiser: Optimiser) -> dict:
    found = optimiser.describe()
    found.pop("name")
    return found


def test_the_global_norm_is_over_all_parameters() -> None:
    run = train(SGD(0.1, clip_norm=0.2))
    moment = run.at(3)
    names = run.graph.inputs_of_kind("parameter")
    norm = math.sqrt(sum(float(np.sum(moment[f"d{n}"] ** 2)) for n in names))
    assert norm > 0.2
    for name in names:
        moved = moment[f"{name}_new"] - moment[name]
        np.testing.assert_allclose(moved, -0.1 * moment[f"d{name}"] * 0.2 / norm, rtol=1e-9)


def test_a_dead_start_is_no_division_by_zero() -> None:
    """All gradients zero: neither the norm nor the mean square may divide."""
    net = bp.Network([bp.Dense(2, weights=np.zeros((4, 2)))])
    for optimiser in (SGD(0.1, clip_norm=0.2), Adam(), RMSprop(), Adagrad()):
        run = bp.train(net, (blobs()[0], np.zeros((20, 2))), optimizer=optimiser, executor="reference")
        assert not run.weights["W1"].any()


def test_adams_corrections_are_one_minus_the_powers() -> None:
    run = train(Adam(0.02))
    for t in (1, 5, 20):
        state = run.replay.state(t)
        assert state["c_m"] == pytest.approx(1 - 0.9**t, rel=1e-12)
        assert state["c_s"] == pytest.approx(1 - 0.999**t, rel=1e-12)


@pytest.mark.parametrize(("make", "fast"), [(Adam, 1.0), (AdamW, 1.0), (SGD, 0.9), (RMSprop, 0.5)])
def test_descent_on_a_bowl(make: type, fast: float) -> None:
    """Linear least squares comes near its closed form."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((50, 3))
    y = X @ [1.0, -2.0, 0.5]
    optimiser = make(Cosine(0.1), **({"decay": 0.0} if make is AdamW else {}))
    net = bp.Network([bp.Dense(1)])
    run = bp.train(net, (X, y), optimizer=optimiser, batch=10, epochs=60, dtype="f64", executor="reference")
    np.testing.assert_allclose(run.weights["W1"][:, 0], [1.0, -2.0, 0.5], atol=0.02 * fast)


# ---- numbers are inputs


def kernels() -> set[str]:
    """The kernels that this process has made or read from disk."""
    return set(loaded_kernels)


def test_a_grid_of_numbers_compiles_once() -> None:
    before = kernels()
    net = bp.Network([bp.Dense(6, "tanh"), bp.Dense(3, "softmax")])  # sizes that no other test compiles
    rng = np.random.default_rng(3)
    found = set()
    for k in range(50):
        optimiser = SGD(
            rates(Exponential(1.0, factor=0.9), 50)[k], rng.uniform(0.1, 0.9), decay=rng.uniform(1e-5, 1e-2)
        )
        run = bp.train(net, blobs(), optimizer=optimiser, batch=5, epochs=1, executor="compiled")
        assert run.settings.executor == "compiled", run.settings.executor_why
        found.add(run.weights["W1"].tobytes())
    for schedule in (Cosine(0.1), WarmUp(Step(0.1), steps=3)):
        bp.train(
            net, blobs(), optimizer=SGD(schedule, 0.5, decay=0.1), batch=5, epochs=1, executor="compiled"
        )
    assert len(found) == 50
    assert len(kernels() - before) == 1


def test_plain_descent_has_the_program_it_always_had() -> None:
    net = bp.Network([bp.Dense(2)])
    update = step_graph(net, "squared_error", SGD(0.5), 3).text(prelude=False, section="update")
    assert update.split("\n")[-1].split("#")[0].strip() == "b1_new = b1 - lr * db1"
    assert set(step_graph(net, "squared_error", SGD(0.1, 0.9), 3).inputs_of_kind("number")) == {
        "lr",
        "momentum",
    }


def test_what_does_not_decay() -> None:
    run = train(AdamW(0.01, decay=0.5))
    text = run.text(prelude=False, section="update")
    assert "decay * W1" in text
    assert "decay * b1" not in text


# ---- schedules


def test_schedules_of_a_run_are_fed_step_by_step() -> None:
    run = train(SGD(WarmUp(Step(0.4, factor=0.5, every=2), steps=4)))
    expected = [0.1, 0.2, 0.3, 0.4, 0.4, *[0.4] * 5, *[0.2] * 10]
    np.testing.assert_allclose(run.record.numbers(0, 20)[:, 0], expected)
    np.testing.assert_allclose(run.record.numbers(7, 12)[:, 0], expected[7:12])
    for step in (1, 3, 12):
        moment = run.at(step)
        assert float(moment["lr"]) == pytest.approx(expected[step - 1])
        moved = moment.actual("b2_new") - moment.actual("b2")
        np.testing.assert_allclose(moved, -expected[step - 1] * moment["db2"], rtol=1e-9)


def test_schedules_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    of = torch.optim.lr_scheduler
    for ours, theirs in (
        (Step(0.3, factor=0.2, every=3), lambda o: of.StepLR(o, 3, 0.2)),
        (Exponential(0.3, factor=0.7), lambda o: of.ExponentialLR(o, 0.7)),
        (Cosine(0.3, low=0.01), lambda o: of.CosineAnnealingLR(o, 10, 0.01)),
    ):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
        scheduler, found = theirs(optimiser), []
        for _ in range(10):
            found.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step()
        np.testing.assert_allclose(rates(ours, 10), found, rtol=1e-12)


def test_inverse_scaling_is_robbins_monro() -> None:
    np.testing.assert_allclose(rates(InverseScaling(0.5, power=1.0), 4), [0.5, 0.25, 0.5 / 3, 0.125])


@pytest.mark.parametrize(
    "one",
    [
        *EVERY,
        Adam(WarmUp(Cosine(0.1, low=0.01), steps=7), clip_norm=1.0),
        SGD(OnPlateau(0.3, patience=4, metric="accuracy"), clip=0.5),
        SGD(InverseScaling(0.3)),
        SGD(Exponential(0.3)),
        SGD(Constant(0.3)),
    ],
    ids=repr,
)
def test_as_data_and_back(one: Optimiser) -> None:
    assert Optimiser.from_description(json.loads(json.dumps(one.describe()))) == one


def test_every_one_has_a_name_in_files() -> None:
    def kinds(of: type) -> set[type]:
        return {of}.union(*(kinds(k) for k in of.__subclasses__()))

    assert kinds(Optimiser) - {Optimiser} == set(NAMES)
    assert kinds(Schedule) - {Schedule} == set(SCHEDULES)


def test_old_files_say_only_rate_and_momentum() -> None:
    assert Optimiser.from_description({"name": "sgd", "lr": 0.2, "momentum": 0.9}) == SGD(0.2, 0.9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SGD(-1), "lr must be a number, at least 0"),
        (lambda: SGD("fast"), "lr must be"),
        (lambda: SGD(0.1, nesterov=True), "nesterov=True needs a momentum"),
        (lambda: SGD(0.1, decay=-0.1), "decay must be"),
        (lambda: SGD(0.1, clip=0), "clip must be a number, above 0"),
        (lambda: SGD(0.1, clip=1, clip_norm=1), "not both"),
        (lambda: Adam(beta1=1.0), "beta1 must be"),
        (lambda: Adam(eps=0), "eps must be a number, above 0"),
        (lambda: RMSprop(rho=math.nan), "rho must be"),
        (lambda: Step(0.1, factor=2), "factor must be at most 1"),
        (lambda: Step(0.1, every=0), "every must be a whole number"),
        (lambda: WarmUp(0.1, steps=2.5), "steps must be a whole number"),
        (lambda: OnPlateau(0.1, patience=0), "patience must be"),
        (lambda: Optimiser.from_description({"name": "addam", "lr": 1}), "Did you mean 'adam'"),
        (lambda: Optimiser.from_description({"name": "sgd"}), "settings of sgd"),
        (lambda: Optimiser.from_description({"name": "sgd", "lr": 1, "evil": 1}), "settings of sgd"),
        (lambda: Schedule.from_description({"name": "cosin"}), "Did you mean 'cosine'"),
        (lambda: Schedule.from_description({"name": "cosine", "x": 1}), "no setting"),
    ],
)
def test_bad_numbers(make: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()  # type: ignore[operator]
