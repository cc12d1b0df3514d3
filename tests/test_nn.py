"""Layers, wiring and starts: gradients of every layer, values against PyTorch, descriptions that rebuild."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pytest

import backpass as bp
from backpass import ops
from backpass.errors import ShapeError, UsageError
from backpass.exec.reference import Reference
from backpass.ir import Elementwise, Graph, Node
from backpass.ir.wire import from_json, to_json
from backpass.nn import (
    ACTIVATIONS,
    Activation,
    Apply,
    BatchNorm,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Inputs,
    LayerNorm,
    Network,
    Residual,
    add_cost,
    initialisers,
    join,
)
from backpass.nn.initialisers import (
    INITIALISERS,
    Constant,
    Glorot,
    He,
    LeCun,
    Normal,
    Orthogonal,
    Sparse,
    Uniform,
)
from backpass.passes import backward, simplify
from backpass.testing import check_gradients, run_text, same_bits
from backpass.training.optimisers import SGD
from backpass.training.step import step_graph

TOLERANCE = 1e-8


def feeds(net: Network, graph: Graph, columns: int, rows: int = 5, seed: int = 0) -> dict[str, Any]:
    """Rows and targets, and weights that are nowhere zero."""
    rng = np.random.default_rng(seed)
    found = net.initial(columns, seed, "f64")
    found = {
        k: v + 0.1 * rng.standard_normal(v.shape) if v.dtype.kind == "f" else v for k, v in found.items()
    }
    found |= {k: np.abs(v) + 0.5 for k, v in found.items() if k.startswith("var")}
    found["x"] = rng.standard_normal((rows, columns))
    if "t" in graph.inputs:
        found["t"] = rng.standard_normal((rows, graph.input_types["t"].shape[1]))
    return {k: v for k, v in found.items() if k in graph.inputs}


def check_both_orders(graph: Graph, values: dict[str, Any], seed: int = 1) -> None:
    """Gradients of C against central differences, and those of a random sum of the gradients as well."""
    names = list(graph.inputs_of_kind("parameter"))
    first = check_gradients(graph, "C", None, values, limit=30, tolerance=TOLERANCE)
    assert first.passed, first
    step = backward(graph.part(["C"]), "C", names, prefix="first_d")
    rng = np.random.default_rng(seed)
    total = None
    given = dict(values)
    for name in names:
        direction = ops.data(f"along_{name}", graph.input_types[name])
        given[f"along_{name}"] = rng.standard_normal(values[name].shape)
        product = ops.Sum()(step[f"first_d{name}"] * direction)
        total = product if total is None else total + product
    assert total is not None
    second = check_gradients(Graph({"s": total}), "s", names, given, limit=15, tolerance=TOLERANCE)
    assert second.passed, second


def run(graph: Graph, values: dict[str, Any]) -> dict[str, Any]:
    return Reference().compile(graph)({k: values[k] for k in graph.inputs})


def predict(net: Network, values: dict[str, Any], training: bool = False) -> Any:
    columns = values["x"].shape[1]
    return run(net.forward(columns, "f64", training=training), values)[net.prediction]


def skip_net() -> Network:
    """The net of Rumelhart, Hinton & Williams for exclusive or: the inputs reach the output as well."""
    x = Inputs()
    return Network(Dense(1, "sigmoid")(join(x, Dense(1, "sigmoid")(x))))


def shared_net() -> Network:
    x, twice = Inputs(), Dense(3, "tanh")
    return Network(Dense(2)(twice(x[:2]) + twice(x[2:])))


class Cubed:  # a user's own function, called by name
    def __call__(self, z: Node) -> Node:
        return z * z * z


NETS: dict[str, Callable[[], Network]] = {
    **{
        f"dense_{name}": (lambda name=name: Network([Dense(3, name), Dense(2)]))
        for name in ACTIVATIONS if name != "softmax"
    },
    "leaky_op": lambda: Network([Dense(3, ops.LeakyRelu(0.3)), Dense(2)]),
    "no_bias": lambda: Network([Dense(3, "tanh", use_bias=False), Dense(2)]),
    "activation": lambda: Network([Dense(3, use_bias=False), Activation("silu"), Dense(2)]),
    "layer_norm": lambda: Network([Dense(4), LayerNorm(), Activation("tanh"), Dense(2)]),
    "batch_norm": lambda: Network([Dense(4), BatchNorm(), Activation("tanh"), Dense(2)]),
    "batch_norm_at_rest": lambda: Network([Dense(4), BatchNorm(trainable=False), Dense(2)]),
    "dropout": lambda: Network([Dropout(0.2), Dense(4, "tanh"), Dropout(0.5), Dense(2)]),
    "residual": lambda: Network([Dense(3, "tanh"), Residual([Dense(5, "sigmoid"), Dense(3)]), Dense(2)]),
    "apply_op": lambda: Network([Dense(3), Apply(ops.Softmax()), Dense(2)]),
    "apply_function": lambda: Network([Dense(3), Apply(Cubed()), Dense(2)]),
    "skip": skip_net,
    "shared": shared_net,
    "frozen": lambda: Network([Dense(3, "tanh", trainable=False), Dense(2)]),
    "embedding": lambda: Network([Embedding(6, 3), Flatten(), Dense(2)]),
}  # fmt: skip


def categories(values: dict[str, Any]) -> None:
    values["x"] = np.floor(np.random.default_rng(9).uniform(0, 6, values["x"].shape))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_both_orders(name: str, training: bool) -> None:
    net = NETS[name]()
    graph = add_cost(net.forward(4, "f64", training=training), net, "squared_error")
    values = feeds(net, graph, 4)
    if name == "embedding":
        categories(values)
    check_both_orders(graph, values)


@pytest.mark.parametrize("name", NETS)
def test_descriptions_rebuild(name: str) -> None:
    net = NETS[name]()
    described = json.loads(json.dumps(net.describe()))
    again = Network.from_description(described)
    assert again.describe() == described
    assert again.prediction == net.prediction
    assert again.outputs == net.outputs
    assert again.activation == net.activation
    assert again.deltas == net.deltas
    if name == "apply_function":
        with pytest.raises(UsageError, match="applies the function 'Cubed'"):
            again.forward(4, "f32")
    else:
        for training in (False, True):
            one, other = (n.forward(4, "f32", training=training) for n in (net, again))
            assert one.text() == other.text()
            assert one.carry == other.carry
        start, same = net.initial(4, 3, "f32"), again.initial(4, 3, "f32")
        assert start.keys() == same.keys()
        assert all(start[k].tobytes() == same[k].tobytes() for k in start)


@pytest.mark.parametrize("name", NETS)
def test_initial_is_what_the_programs_ask_for(name: str) -> None:
    net = NETS[name]()
    start = net.initial(4, 0, "f32")
    asked = {}
    for training in (False, True):
        graph = net.forward(4, "f32", training=training)
        for kind in ("parameter", "fixed", "state"):
            asked |= {k: n.array_type for k, n in graph.inputs_of_kind(kind).items()}
        assert graph.inputs_of_kind("data").keys() == {"x"}
        assert not graph.inputs_of_kind("number")
    assert start.keys() == asked.keys()
    for key, array in start.items():
        assert array.shape == asked[key].shape
        assert array.dtype == asked[key].numpy_dtype


@pytest.mark.parametrize("name", NETS)
def test_programs_print_and_come_back(name: str) -> None:
    """What is read is what it means: executed text equals the reference, bit for bit; so does JSON."""
    net = NETS[name]()
    forward = add_cost(net.forward(4, "f32", training=True), net, "squared_error")
    step = backward(forward, "C", list(forward.inputs_of_kind("parameter")), names=net.deltas)
    for graph in (step, simplify(step, fold=True)):
        values = feeds(net, graph, 4)
        if name == "embedding":
            categories(values)
        values = {k: v.astype(graph.input_types[k].numpy_dtype) for k, v in values.items()}
        expected = run(graph, values)
        assert all(np.isfinite(array).all() for array in expected.values())
        for style in ("python", "ascii"):
            assert same_bits(run_text(graph, values, style), expected) is None
        assert from_json(to_json(graph)).digest == graph.digest
        assert graph.text("latex")


# ---- values


def test_values_against_torch() -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 4)) * 2
    x = torch.tensor(X)
    theirs = {
        "relu": F.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": F.softplus,
        "softsign": F.softsign, "leaky_relu": F.leaky_relu, "elu": F.elu, "selu": F.selu, "gelu": F.gelu,
        "silu": F.silu, "hard_tanh": F.hardtanh, "abs": torch.abs, "exp": torch.exp, "sin": torch.sin,
        "identity": lambda v: v, "softmax": lambda v: F.softmax(v, -1),
    }  # fmt: skip
    assert theirs.keys() == ACTIVATIONS.keys()
    for name, function in theirs.items():
        ours = predict(Network([Activation(name)]), {"x": X})
        np.testing.assert_allclose(ours, function(x).numpy(), rtol=1e-12, atol=1e-14, err_msg=name)

    net = Network([LayerNorm(eps=1e-3)])
    values = feeds(net, net.forward(4, "f64"), 4) | {"x": X}
    np.testing.assert_allclose(
        predict(net, values),
        F.layer_norm(x, (4,), torch.tensor(values["γ1"]), torch.tensor(values["β1"]), 1e-3).numpy(),
        rtol=1e-12,
    )
    net = Network([Embedding(5, 3)])
    index = rng.integers(0, 5, (6, 2))
    E = net.initial(2, 0, "f64")["E1"]
    np.testing.assert_array_equal(
        predict(net, {"x": index.astype(float), "E1": E}),
        F.embedding(torch.tensor(index), torch.tensor(E)).numpy(),
    )


def test_batch_norm_against_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 4)) * 2 + 1
    net = Network([BatchNorm(momentum=0.8, eps=1e-3)])
    graph = net.forward(4, "f64", training=True)
    values = feeds(net, graph, 4) | {"x": X, "γ1": rng.standard_normal(4), "β1": rng.standard_normal(4)}
    theirs = torch.nn.BatchNorm1d(4, eps=1e-3, momentum=0.2).double()
    theirs.load_state_dict({
        "weight": torch.tensor(values["γ1"]), "bias": torch.tensor(values["β1"]),
        "running_mean": torch.tensor(values["mean1"]), "running_var": torch.tensor(values["var1"]),
        "num_batches_tracked": torch.tensor(0),
    })  # fmt: skip
    ours = run(graph, values)
    np.testing.assert_allclose(ours["a1"], theirs(torch.tensor(X)).detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours["mean1_new"], theirs.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(  # the biased variance
        ours["var1_new"], 0.8 * values["var1"] + 0.2 * X.var(0), rtol=1e-12
    )
    assert dict(graph.carry) == {"mean1_new": "mean1", "var1_new": "var1"}
    theirs.load_state_dict({**theirs.state_dict(), "running_var": torch.tensor(ours["var1_new"])})
    later = values | {"mean1": ours["mean1_new"], "var1": ours["var1_new"]}
    theirs.eval()
    np.testing.assert_allclose(predict(net, later), theirs(torch.tensor(X)).detach().numpy(), rtol=1e-12)


def test_batch_norm_of_a_single_row_is_its_shift() -> None:
    net = Network([BatchNorm(), Dense(1)])
    graph = add_cost(net.forward(3, "f64", training=True), net, "squared_error")
    values = feeds(net, graph, 3, rows=1)
    result = run(graph.extended({"z1": graph["z1"]}), values)
    np.testing.assert_array_equal(result["z1"], values["β1"][None])
    assert np.isfinite(result["C"])
    assert check_gradients(graph, "C", None, values, tolerance=TOLERANCE).passed


def test_batch_norm_called_twice_carries_the_last_running_values() -> None:
    x, norm = Inputs(), BatchNorm(momentum=0.5)
    net = Network(norm(x) + norm(Apply(Cubed())(x)))
    graph = net.forward(2, "f64", training=True)
    assert dict(graph.carry) == {"mean1_new_2": "mean1", "var1_new_2": "var1"}
    values = feeds(net, graph, 2)
    x0 = values["x"]
    expected = 0.5 * (0.5 * values["mean1"] + 0.5 * x0.mean(0)) + 0.5 * (x0**3).mean(0)
    np.testing.assert_allclose(run(graph, values)["mean1_new_2"], expected, rtol=1e-12)


def test_batch_norm_at_rest_has_no_state() -> None:
    graph = Network([BatchNorm(trainable=False)]).forward(3, "f32", training=True)
    assert not graph.carry
    assert set(graph.inputs_of_kind("fixed")) == {"mean1", "var1", "γ1", "β1"}


def test_no_category_has_the_vector_0_and_teaches_nothing() -> None:
    net = Network([Embedding(3, 2), Flatten()])
    E = np.arange(1.0, 7.0).reshape(3, 2)
    x = np.array([[-1.0], [0.0], [2.0], [2.9], [3.0], [np.nan], [np.inf], [-0.5], [1e300]])
    with np.errstate(all="raise"):
        found = predict(net, {"x": x, "E1": E})
    np.testing.assert_array_equal(found, [[0, 0], E[0], E[2], E[2], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]])
    head = Network([Embedding(3, 2), Flatten(), Dense(1)])
    graph = add_cost(head.forward(1, "f64"), head, "squared_error")
    step = backward(graph, "C", ["E1"])
    values = feeds(head, step, 1)
    values["x"] = np.array([[7.0], [1.0], [1.0], [-3.0], [1.0]])
    dE = run(step, values)["dE1"]
    assert dE[1].all()
    assert not dE[[0, 2]].any()


# ---- dropout


def test_dropout_keeps_the_mean_and_is_off_at_prediction() -> None:
    net = Network([Dropout(0.3), Apply(ops.Identity(), units=4)])
    x = np.ones((20_000, 4))
    start = net.initial(4, 0, "f64") | {"x": x}
    graph = net.forward(4, "f64", training=True)
    assert dict(graph.carry) == {"draws_new": "draws"}
    dropped = run(graph, start)
    out = dropped[net.prediction]
    assert set(np.unique(out)) == {0.0, 1 / 0.7}
    assert abs(out.mean() - 1) < 4 * np.sqrt(0.3 / 0.7 / out.size)
    assert (abs(out.mean(0) - 1) < 5 * np.sqrt(0.3 / 0.7 / len(x))).all()  # each unit as often as another
    assert dropped["draws_new"] == start["draws"] + 1
    again = run(graph, start | {"draws": dropped["draws_new"]})[net.prediction]
    assert 0.3 < (again == out).mean() < 0.7  # 0.58 for independent draws
    np.testing.assert_array_equal(run(graph, start)[net.prediction], out)
    plain = net.forward(4, "f64")
    assert set(plain.inputs) == {"x"}
    np.testing.assert_array_equal(predict(net, {"x": x}), x)


def test_two_dropouts_draw_for_themselves() -> None:
    x = Inputs()
    both = Network(join(Dropout(0.5)(x), Dropout(0.5)(x)))
    values = both.initial(4, 0, "f64") | {"x": np.ones((500, 4))}
    out = predict(both, values, training=True)
    assert 0.4 < (out[:, :4] == out[:, 4:]).mean() < 0.6


def test_other_seeds_leave_out_other_entries() -> None:
    net = Network([Dropout(), Dense(1)])
    starts = [int(net.initial(3, seed, "f32")["draws"]) for seed in range(50)]
    assert len(set(starts)) == 50
    assert min(starts) >= 0
    assert max(starts) < 2**62


# ---- wiring


def test_the_skip_net_of_1986() -> None:
    net = skip_net()
    graph = net.forward(2, "f32")
    assert {k: str(v) for k, v in graph.input_types.items()} == {
        "x": "f32[B,2]", "W1": "f32[2,1]", "b1": "f32[1]", "W2": "f32[3,1]", "b2": "f32[1]"
    }  # fmt: skip
    # The solution of Figure 2 there: the hidden unit finds (1, 1), and holds the output down.
    w = {"W1": [[-6.4], [-6.4]], "b1": [2.2], "W2": [[-4.2], [-4.2], [-9.4]], "b2": [6.3]}
    x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    out = predict(net, {"x": x} | {k: np.array(v) for k, v in w.items()})[:, 0]
    np.testing.assert_array_equal(out > 0.5, [False, True, True, False])


def test_shared_weights_have_the_sum_of_the_gradients() -> None:
    shared = shared_net()
    x = Inputs()
    apart = Network(Dense(2)(Dense(3, "tanh")(x[:2]) + Dense(3, "tanh")(x[2:])))
    values = feeds(shared, add_cost(shared.forward(4, "f64"), shared, "squared_error"), 4)
    own = {"W1": "W1", "W2": "W1", "W3": "W2", "b1": "b1", "b2": "b1", "b3": "b2"}
    other = {new: values[old] for new, old in own.items()} | {"x": values["x"], "t": values["t"]}
    both = []
    for net, given in ((shared, values), (apart, other)):
        graph = add_cost(net.forward(4, "f64"), net, "squared_error")
        names = list(graph.inputs_of_kind("parameter"))
        both.append(run(backward(graph, "C", names, names=net.deltas), given))
    one, two = both
    np.testing.assert_allclose(one["C"], two["C"], rtol=1e-15)
    np.testing.assert_allclose(one["dW1"], two["dW1"] + two["dW2"], rtol=1e-13)
    np.testing.assert_allclose(one["db1"], two["db1"] + two["db2"], rtol=1e-13)
    np.testing.assert_allclose(one["δ1_2"], two["δ2"], rtol=1e-13)


def test_names() -> None:
    assert shared_net().deltas == {"z1": "δ1", "z1_2": "δ1_2", "z2": "δ2"}
    net = Network([Dense(4), LayerNorm(), Activation("relu"), Dropout(), Dense(2, "softmax")])
    graph = net.forward(3, "f32", training=True)
    assert net.deltas == {"z1": "δ1", "z2": "δ2", "z3": "δ3"}
    assert {"z1", "n2", "z2", "a2", "mask2", "drop2", "z3", "a3"} <= set(graph.named)
    assert (net.prediction, net.activation, net.outputs) == ("a3", "softmax", 2)
    assert list(graph.inputs_of_kind("parameter")) == ["W1", "b1", "γ2", "β2", "W3", "b3"]
    head = Network([Dense(3), Activation("softmax")])
    assert (head.prediction, head.activation, head.outputs) == ("a1", "softmax", 3)
    x = Inputs()
    assert Network(join(Dense(3)(x), x[:1])).outputs == 4
    assert Network(Dense(3)(x) + Dense(3)(x)).prediction == "sum2"


def test_the_prediction_of_every_net_is_an_output() -> None:
    for make in NETS.values():
        net = make()
        for training in (False, True):
            assert next(iter(net.forward(4, "f32", training=training).outputs)) == net.prediction


def test_parts_of_wires() -> None:
    x = Inputs()
    rows = np.arange(12.0).reshape(3, 4)
    for part, expected in (
        (x[1], rows[:, 1:2]), (x[-1], rows[:, -1:]), (x[1:3], rows[:, 1:3]), (x[:-1], rows[:, :-1]),
        (x[2:], rows[:, 2:]), (x[-3:-1], rows[:, -3:-1]),
    ):  # fmt: skip
        np.testing.assert_array_equal(predict(Network(part), {"x": rows}), expected)
    for bad in (x[4], x[2:2], x[:9], x[-5:]):
        with pytest.raises(ShapeError, match="has 4 features, from 0 to 3"):
            Network(bad).forward(4, "f32")
    with pytest.raises(UsageError, match="taken by number"):
        x["age"]
    with pytest.raises(UsageError, match=r"x\[2\] or x\[3:7\]"):
        x[::2]
    with pytest.raises(TypeError):
        list(x)


def test_frozen_layers_have_no_gradient() -> None:
    net = Network([Dense(3, "tanh", trainable=False), Dense(2)])
    graph = net.forward(4, "f32")
    assert list(graph.inputs_of_kind("fixed")) == ["W1", "b1"]
    assert list(graph.inputs_of_kind("parameter")) == ["W2", "b2"]
    step = step_graph(net, "squared_error", SGD(0.1), 4)
    assert {"dW2", "db2", "W2_new", "b2_new", "δ2"} <= set(step.outputs)
    assert not {"dW1", "db1", "W1_new", "b1_new", "δ1"} & set(step.named)
    assert set(step.carry.values()) == {"W2", "b2"}
    free = Network([Dense(3, "tanh"), Dense(2)])
    same = free.initial(4, 1, "f32")
    assert all((v == same[k]).all() for k, v in net.initial(4, 1, "f32").items())


@final
@dataclass(frozen=True)
class Swelling(Elementwise):
    """A user's own activation: x + rate x²."""

    rate: float = 0.5
    name = "swelling"
    notation = tex = "swelling({0}, {rate})"

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x + self.rate * x * x

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * (1 + 2 * self.rate * x),)

    unsampled = "it is defined by a test"


def test_a_users_own_op_is_an_activation() -> None:
    net = Network([Dense(3, Swelling(0.25)), Dense(2, Swelling())])
    graph = add_cost(net.forward(2, "f64"), net, "squared_error")
    check_both_orders(graph, feeds(net, graph, 2))
    assert net.activation == "swelling"
    described = json.loads(json.dumps(net.describe()))
    assert Network.from_description(described).forward(2, "f32").text() == net.forward(2, "f32").text()
    described[0]["activation"]["op"] = "swollen"
    with pytest.raises(UsageError, match="op 'swollen', which is not defined here"):
        Network.from_description(described)


# ---- starts


def test_dense_networks_start_where_they_always_did() -> None:
    """The first numbers of a seed, as they were drawn before there were other layers."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([7, 0x5EED])))
    limit = np.sqrt(6.0 / (4 + 5))
    expected = {
        "W1": rng.uniform(-limit, limit, (4, 5)), "b1": np.zeros(5),
        "W2": rng.standard_normal((5, 3)) * float(np.sqrt(2.0 / 5)), "b2": np.zeros(3),
        "W3": rng.standard_normal((3, 2)) / float(np.sqrt(3)), "b3": np.zeros(2),
    }  # fmt: skip
    net = Network([Dense(5, "tanh"), Dense(3, "relu"), Dense(2, "softmax", init="lecun")])
    start = net.initial(4, 7, "f64")
    assert list(start) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(start[key], array)


FAN_IN, FAN_OUT = 400, 300


@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        (LeCun(), 1 / FAN_IN), (LeCun("uniform"), 1 / FAN_IN),
        (Glorot(), 2 / (FAN_IN + FAN_OUT)), (Glorot("normal"), 2 / (FAN_IN + FAN_OUT)),
        (He(), 2 / FAN_IN), (He("uniform"), 2 / FAN_IN), (He(slope=0.5), 1.6 / FAN_IN),
        (Uniform(-1.0, 3.0), 16 / 12), (Normal(0.3), 0.09), (Orthogonal(), 1 / FAN_IN),
        (Sparse(20, 0.5), 0.25 * 20 / FAN_IN),
    ],
    ids=str,
)  # fmt: skip
def test_variances(rule: initialisers.Initialiser, variance: float) -> None:
    W = rule.draw(np.random.default_rng(0), (FAN_IN, FAN_OUT))
    assert W.shape == (FAN_IN, FAN_OUT)
    assert W.var() == pytest.approx(variance, rel=0.03)
    assert W.mean() == pytest.approx(
        1.0 if rule == Uniform(-1.0, 3.0) else 0.0, abs=4 * np.sqrt(variance / W.size)
    )
    assert initialisers.initialiser(json.loads(json.dumps(rule.describe()))) == rule


def test_orthogonal_and_sparse_and_constant() -> None:
    rng = np.random.default_rng(0)
    for shape in ((7, 4), (4, 7), (5, 5)):
        W = Orthogonal(2.0).draw(rng, shape)
        small = W.T @ W if shape[0] >= shape[1] else W @ W.T
        np.testing.assert_allclose(small, 4 * np.eye(min(shape)), atol=1e-13)
    W = Sparse(3).draw(rng, (10, 6))
    assert ((W != 0).sum(0) == 3).all()
    assert (Sparse(30).draw(rng, (10, 6)) != 0).all()
    start = Network([Dense(3, bias_init=Constant(0.5))]).initial(2, 0, "f64")
    np.testing.assert_array_equal(start["b1"], [0.5] * 3)


@pytest.mark.parametrize("name", INITIALISERS)
def test_initialisers_by_name(name: str) -> None:
    net = Network([Dense(6, init=name)])
    W = net.initial(20, 0, "f64")["W1"]
    assert W.any() == (name != "zeros")
    np.testing.assert_array_equal(W, net.initial(20, 0, "f64")["W1"])


def test_default_starts() -> None:
    n, k = 2000, 3
    for activation, variance in (
        ("tanh", 2 / (n + k)), ("identity", 2 / (n + k)), ("relu", 2 / n), ("gelu", 2 / n), ("selu", 1 / n),
        (ops.LeakyRelu(1.0), 1 / n),
    ):  # fmt: skip
        W = Network([Dense(k, activation)]).initial(n, 0, "f64")["W1"]
        assert W.var() == pytest.approx(variance, rel=0.1), activation


def test_given_arrays_do_not_move_what_others_draw() -> None:
    plain = Network([Embedding(4, 2), Flatten(), Dense(3), Dense(2)]).initial(5, 0, "f64")
    E, W = np.ones((4, 2)), np.zeros((10, 3))
    given = Network([Embedding(4, 2, weights=E), Flatten(), Dense(3, weights=W), Dense(2)]).initial(
        5, 0, "f64"
    )
    np.testing.assert_array_equal(given["E1"], E)
    np.testing.assert_array_equal(given["W2"], W)
    np.testing.assert_array_equal(given["W3"], plain["W3"])


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Dense(3, "relo"), UsageError, "Did you mean 'relu'"),
        (lambda: Dense(3, init="hee"), UsageError, "Did you mean 'he'"),
        (lambda: Dense(3, use_bias=False, bias=[1, 2, 3]), UsageError, "no bias to start"),
        (lambda: Dropout(1.0), UsageError, "below 1"),
        (lambda: Dense(3, ops.Add()), UsageError, "takes a, b"),
        (lambda: Dense(3, 7), UsageError, "no activation 7"),
        (lambda: Dropout(-0.1), UsageError, "at least 0"),
        (lambda: BatchNorm(momentum=1.0), UsageError, "below 1"),
        (lambda: LayerNorm(eps=0.0), UsageError, "above 0"),
        (lambda: BatchNorm(eps="small"), UsageError, "above 0"),
        (lambda: Normal(-1.0), UsageError, "0 or more"),
        (lambda: Uniform(1.0, 0.0), UsageError, "above high"),
        (lambda: Sparse(0), UsageError, "at least one connection"),
        (lambda: He("log"), UsageError, "'uniform' or 'normal', got 'log'"),
        (lambda: Embedding(0, 3), UsageError, "categories"),
        (lambda: Embedding(3, 2.5), UsageError, "units"),
        (lambda: Apply("relu"), UsageError, "an op or a function"),
        (lambda: Residual([]), UsageError, "list of layers"),
        (lambda: Network(Dense(3)), UsageError, r"write Network\(\["),
        (lambda: Network([Dense(3), "relu"]), UsageError, "layer 2 is 'relu'"),
        (lambda: Network(Inputs()), UsageError, "at least one layer"),
        (lambda: Network(join(Inputs(), Inputs())), UsageError, "begin at several"),
        (lambda: Network([Dense(3), Dropout()]), UsageError, "cannot end in Dropout"),
        (lambda: Network([Dense(3), Activation("softmax"), Dense(2)]), UsageError, "output layer only"),
        (lambda: Network([Dense(3, ops.Softmax()), Dense(2)]), UsageError, "output layer only"),
        (lambda: Dense(3)(Inputs(), Inputs()), UsageError, "bp.join"),
        (lambda: Dense(3)(np.ones((2, 2))), UsageError, "bp.Inputs"),
        (lambda: Network([Dense(3), Flatten()]).outputs, UsageError, "cannot be told without data"),
        (lambda: Network([Dense(3, weights=np.ones((2, 2)))]).initial(2, 0, "f32"), ShapeError, "of Dense.3"),
        (lambda: Network([Dense(3, bias=[1, np.nan, 2])]).initial(2, 0, "f32"), UsageError, "bias .* NaN"),
        (lambda: Network([Dense(3, bias_init="he")]).initial(2, 0, "f32"), UsageError, "for a matrix"),
        (lambda: Network([Embedding(3, 2), Dense(1)]).forward(2, "f32"), ShapeError, "Put Flatten"),
        (lambda: Network([Residual([Dense(3)])]).forward(2, "f32"), ShapeError, "same number of features"),
        (lambda: Network([Apply(lambda x: 3)]).forward(2, "f32"), UsageError, "must give a node"),
        (lambda: Network([Apply(ops.Sum())]).forward(2, "f32"), ShapeError, "keep the batch"),
        (lambda: Network([Activation(ops.Sum((1,)))]).forward(2, "f32"), ShapeError, "keeps the shape"),
        (lambda: Network.from_description([{"layer": "dens", "units": 3}]), UsageError, "no layer of kind"),
        (lambda: Network.from_description([{"layer": "dense"}]), UsageError, "not the description"),
        (lambda: Network.from_description([{"units": 3, "after": [4]}]), UsageError, "entry 4"),
        (lambda: Network.from_description([{"same": 1}]), UsageError, "not the description"),
    ],
)  # fmt: skip
def test_refusals(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_shared_weights_need_one_width() -> None:
    x, twice = Inputs(), Dense(3)
    with pytest.raises(ShapeError, match=r"W1 is f32\[2,3\] at its first use"):
        Network(twice(x[:2]) + twice(x)).forward(4, "f32")


def test_descriptions_of_dense_networks_of_version_1() -> None:
    """Runs of earlier versions name units, activation and init only."""
    old = [
        {"units": 5, "activation": "relu", "init": None},
        {"units": 2, "activation": "softmax", "init": "he"},
    ]
    net = Network.from_description(old)
    assert [{k: v for k, v in entry.items() if k != "layer"} for entry in net.describe()] == old
    assert repr(net) == "Network([Dense(5, 'relu'), Dense(2, 'softmax')])"


def test_public_names() -> None:
    x = bp.Inputs()
    net = bp.Network(bp.Dense(1)(bp.join(x, bp.Dropout(0.5)(x))))
    assert net.outputs == 1
    assert bp.initialisers.He("uniform") == He("uniform")
    assert bp.losses.Huber(2.0).delta == 2.0
