"""``backpass check``: the gradient of this very network against central differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backpass.cli import words
from backpass.cli.options import DEFAULTS, FLAG, WHOLE, NetOptions, check_whole, default
from backpass.cli.output import Output
from backpass.cli.places import open_run, run_or_data

if TYPE_CHECKING:
    from backpass.ir import Graph

#: Up to so many entries all of them are compared; of more, a sample.
_EVERY, _SAMPLE = 5_000, 2_000


def check(
    target: Annotated[str, Parameter(name="RUN-OR-DATA")],
    /,
    *,
    net: NetOptions | None = None,
    batch: Annotated[int | None, WHOLE, default(DEFAULTS.check_batch)] = None,
    seed: Annotated[int, WHOLE] = 0,
    all: Annotated[bool, FLAG] = False,
    json: Annotated[bool, FLAG] = False,
) -> int:
    """Check the gradient by central differences, entry by entry, in f64.

    Each weight is moved a little up and down and the change of the cost is compared with what the backward
    pass says. The exit code is 0 if all of them agree, else 1.

    Parameters
    ----------
    target
        Data, for the network that train would make of it with the same options; or a run folder, for its
        network with its last weights.
    batch
        How many rows the cost is taken over.
    seed
        Fixes the rows, the weights to start from, and the sample.
    all
        Compare every entry of a large network, too.
    json
        Print one object with the result as the last line of standard output.
    """
    spec, output = target, Output(json)
    check_whole("--batch", batch, 1)
    check_whole("--seed", seed, 0)
    if run_or_data(spec):
        (net or NetOptions()).refuse_for(spec)
        title, graph, feeds = _of_run(spec, batch or DEFAULTS.check_batch, seed)
    else:
        title, graph, feeds = _of_data(spec, net or NetOptions(), batch or DEFAULTS.check_batch, seed)
    rows = len(feeds["x"])
    sizes = {name: feeds[name].size for name in graph.inputs_of_kind("parameter")}
    limits = shared_out(sizes, None if all or sum(sizes.values()) <= _EVERY else _SAMPLE)
    output.say(f"{title}; {rows:,} rows, in f64")
    output.say("each gradient from the backward pass against central differences of the cost")
    output.say()
    found = dict(_compare(graph, feeds, limits, seed, output))
    _report(output, found)
    worst = max((f.worst for f in found.values()), key=lambda w: w.error)
    passed = all_passed(found)
    if json:
        output.result(
            {
                "passed": passed,
                "checked": sum(f.checked for f in found.values()),
                "of": sum(sizes.values()),
                "tolerance": next(iter(found.values())).tolerance,
                "worst": _plain(worst),
                "parameters": {
                    name: {"checked": f.checked, "of": f.of, "worst": _plain(f.worst)}
                    for name, f in found.items()
                },
                "rows": rows,
                "seed": seed,
            }
        )
    return 0 if passed else 1


def all_passed(found: Mapping[str, Any]) -> bool:
    """Whether every parameter agrees."""
    return all(f.passed for f in found.values())


def _of_run(spec: str, batch: int, seed: int) -> tuple[str, Graph, dict[str, Any]]:
    run = open_run(spec)
    settings = run.settings
    feeds = _rows(run.rows.arrays["x"], run.rows.arrays["t"], batch, seed) | run.weights
    layers = words.network(settings.in_features, settings.layers)
    return f"{layers}, weights of {spec} after step {run.steps:,}", run.graph, feeds


def _of_data(spec: str, net: NetOptions, batch: int, seed: int) -> tuple[str, Graph, dict[str, Any]]:
    import numpy as np

    from backpass.data import load

    dataset = load(spec)
    network, graph = net.network(dataset), net.step(dataset, "f64")
    columns = dataset.X.shape[1]
    feeds = _rows(dataset.inputs(np.float64), dataset.targets(np.float64), batch, seed)
    feeds |= network.initial(columns, seed, "f64")
    # Not the zeros that training starts from: there a unit whose inputs are all 0 sits on the kink of ReLU.
    rng = np.random.default_rng(seed)
    for name in graph.inputs_of_kind("parameter"):
        if name.startswith("b"):
            feeds[name] = rng.uniform(-0.1, 0.1, feeds[name].shape)
    layers = words.network(columns, network.describe())
    return (
        f"{layers} on {dataset.name}, weights and biases drawn by seed {seed}",
        graph,
        feeds,
    )


def _rows(x: Any, t: Any, batch: int, seed: int) -> dict[str, Any]:
    """A batch of real rows, drawn by the seed."""
    import numpy as np

    drawn = np.sort(np.random.default_rng(seed).permutation(len(x))[:batch])
    return {"x": x[drawn].astype(np.float64), "t": t[drawn].astype(np.float64)}


def shared_out(sizes: Mapping[str, int], limit: int | None) -> dict[str, int]:
    """How many entries of each parameter to compare: equally many, or all that it has.

    Examples
    --------
    >>> shared_out({"W1": 1000, "b1": 10}, 100), shared_out({"W1": 1000, "b1": 10}, None)
    ({'W1': 90, 'b1': 10}, {'W1': 1000, 'b1': 10})
    """
    shares = dict(sizes)
    if limit is not None:
        left = max(limit, len(sizes))
        for position, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
            shares[name] = min(size, left // (len(sizes) - position))
            left -= shares[name]
    return shares


def _compare(
    graph: Graph, feeds: Mapping[str, Any], limits: Mapping[str, int], seed: int, output: Output
) -> Iterator[tuple[str, Any]]:
    """The check of each parameter, with a spinner on a terminal."""
    from contextlib import nullcontext

    from backpass.testing import check_gradients

    console = output.console(stderr=True)
    status = console.status("comparing") if console.is_terminal else None
    with status or nullcontext():
        for name, limit in limits.items():
            if status is not None:
                status.update(f"comparing {name}")
            yield name, check_gradients(graph, "C", [name], feeds, limit=limit, seed=seed)


def _report(output: Output, found: Mapping[str, Any]) -> None:
    worst = max((f.worst for f in found.values()), key=lambda w: w.error)
    rows = [
        [name, f"{f.of:,}", f"{f.checked:,}", f"{f.worst.error:.1e}", f.worst.name]
        for name, f in found.items()
    ]
    output.table(["parameter", "entries", "compared", "worst error", "at"], rows)
    checked, of = sum(f.checked for f in found.values()), sum(f.of for f in found.values())
    hint = "" if checked == of else " (a sample; --all for every one)"
    tolerance = next(iter(found.values())).tolerance
    output.say()
    output.say(f"{checked:,} of {of:,} entries compared{hint}; the worst is {worst.name}:")
    output.say(f"  by the backward pass   {worst.analytic: .12e}")
    output.say(f"  by central differences {worst.numeric: .12e}")
    output.say(f"  relative error         {worst.error: .1e} (up to {tolerance:g} passes)")
    if all_passed(found):
        output.say("passed: the gradient is right", "green")
    else:
        bad = [name for name, f in found.items() if not f.passed]
        output.say(f"FAILED: {', '.join(bad)} {'does' if len(bad) == 1 else 'do'} not agree", "bold red")


def _plain(worst: Any) -> dict[str, Any]:
    return {"name": worst.name, "analytic": worst.analytic, "numeric": worst.numeric, "error": worst.error}
