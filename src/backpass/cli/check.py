"""``backpass check``: the gradient of this very network against central differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backpass.cli import words
from backpass.cli.data_options import DataOptions
from backpass.cli.net_options import LearnOptions, NetOptions, network_of
from backpass.cli.options import FLAG, WHOLE, check_whole, refuse_for
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
    table: DataOptions | None = None,
    net: NetOptions | None = None,
    learning: LearnOptions | None = None,
    batch: Annotated[int, WHOLE] = 32,
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
        refuse_for(spec, table, net, learning)
        title, graph, feeds = _of_run(spec, batch, seed)
    else:
        title, graph, feeds = _of_data(spec, table, net, learning, batch, seed)
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
    rows = run.rows.arrays | run.record.row_data
    feeds = _batch(rows, batch, seed) | run.record.result() | _numbers(run.record.number_values)
    return f"{words.network(run.settings)}, weights of {spec} after step {run.steps:,}", run.graph, feeds


def _of_data(
    spec: str, table: DataOptions | None, net: NetOptions | None, learning: LearnOptions | None, batch: int,
    seed: int,
) -> tuple[str, Graph, dict[str, Any]]:  # fmt: skip
    import numpy as np

    dataset, preparation, network, graph, numbers = network_of(spec, table, net, learning, dtype="f64")
    drawn = _drawn(len(dataset), batch, seed)
    x, t = preparation.inputs(dataset, np.float64, drawn), preparation.targets(dataset, np.float64, drawn)
    feeds = {"x": x, "t": t} | network.initial(x.shape[1], seed, "f64") | _numbers(numbers)
    # Not the zeros that training starts from: there a unit whose inputs are all 0 sits on the kink of ReLU.
    rng = np.random.default_rng(seed)
    for name in graph.inputs_of_kind("parameter"):
        if name.startswith("b"):
            feeds[name] = rng.uniform(-0.1, 0.1, feeds[name].shape)
    layers = words.layers(x.shape[1], network.describe())
    return f"{layers} on {dataset.name}, weights and biases drawn by seed {seed}", graph, feeds


def _numbers(given: Mapping[str, float]) -> dict[str, Any]:
    """The numbers of the program as it takes them."""
    import numpy as np

    return {name: np.float64(value) for name, value in given.items()}


def _batch(rows: Mapping[str, Any], batch: int, seed: int) -> dict[str, Any]:
    """A batch of real rows, drawn by the seed."""
    import numpy as np

    drawn = _drawn(len(rows["x"]), batch, seed)
    return {name: array[drawn].astype(np.float64) for name, array in rows.items()}


def _drawn(rows: int, batch: int, seed: int) -> Any:
    import numpy as np

    return np.sort(np.random.default_rng(seed).permutation(rows)[:batch])


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
