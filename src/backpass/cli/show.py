"""``backpass show``: the program of one training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backpass import defaults
from backpass.cli import words
from backpass.cli.data_options import DataOptions
from backpass.cli.net_options import LearnOptions, NetOptions, network_of
from backpass.cli.options import FLAG, WHOLE, check_whole, default, refuse_for
from backpass.cli.output import Output
from backpass.cli.places import open_run, run_or_data
from backpass.errors import NotLowered, UsageError

if TYPE_CHECKING:
    from backpass.ir import Graph
    from backpass.record.settings import Settings

_SECTIONS = ("forward", "backward", "update")


def show(
    target: Annotated[str, Parameter(name="RUN-OR-DATA")],
    /,
    *,
    table: DataOptions | None = None,
    net: NetOptions | None = None,
    learning: LearnOptions | None = None,
    forward: Annotated[bool, FLAG] = False,
    backward: Annotated[bool, FLAG] = False,
    update: Annotated[bool, FLAG] = False,
    format: Literal["text", "ascii", "latex", "json"] = "text",
    work: Annotated[bool, FLAG] = False,
    lowered: Annotated[bool, FLAG] = False,
    batch: Annotated[int | None, WHOLE, default(f"{defaults.BATCH}, or the run's")] = None,
    json: Annotated[bool, FLAG] = False,
) -> None:
    """Show one training step as a program: forward, backward, update.

    The text is Python that runs with NumPy: the δ are the error flowing back, the dW what it asks of each
    weight. B is the number of rows of a batch.

    Parameters
    ----------
    target
        A run folder; or data, for the network that train would make of it with the same options.
    forward
        Only the forward pass.
    backward
        Only the backward pass.
    update
        Only the update of the weights.
    format
        Python, the same in ASCII, LaTeX, or JSON that can be read back.
    work
        Count the operations and the bytes of a step.
    lowered
        The source of which the compiled executor makes native code, under the lines of the program that it
        came from.
    batch
        Rows of a step, for --work and --lowered.
    json
        Print one object with the program and its types as the last line of standard output.
    """
    spec, output = target, Output(json)
    check_whole("--batch", batch, 1)
    wanted = [name for name, on in zip(_SECTIONS, (forward, backward, update), strict=True) if on]
    if format == "json" and wanted:
        raise UsageError(f"--format json is the whole program; leave --{wanted[0]} out.")
    if lowered and wanted:
        raise UsageError(f"--lowered is the whole step; leave --{wanted[0]} out.")
    if lowered and format in ("latex", "json"):
        raise UsageError(f"--lowered is no program in {format}; leave --format out, or write --json.")
    if run_or_data(spec):
        refuse_for(spec, table, net, learning)
        run = open_run(spec)
        graph, numbers = run.graph, run.record.number_values
        title = f"{words.network(run.settings)}, as {spec} was trained"
        batch = batch or run.settings.batch
        ran = run.settings
    else:
        dataset, _, network, graph, numbers = network_of(spec, table, net, learning)
        title = f"{words.layers(int(graph['x'].shape[1]), network.describe())}, for {dataset.name}"
        batch = batch or defaults.BATCH
        ran = None
    native = _lowered(graph, batch, "ascii" if format == "ascii" else "python", ran) if lowered else None
    program = _program(graph, format, wanted, numbers)
    counts = _work(graph, batch) if work else None
    if json:
        output.result(
            {"program": program, "format": format, "sections": wanted or list(_SECTIONS), "numbers": numbers}
            | words.signature(graph)
            | {"work": counts, "lowered": native}
        )
        return
    lines = [] if format == "json" else [f"One training step of {title}"]
    if counts is not None:
        lines += _told(counts)
    sign = "%" if format == "latex" else "#"
    if native is not None:
        program = native["text"]
    if format == "json":
        for line in lines:
            output.note(line)
        output.program(program)
    else:
        output.program("\n".join([*(f"{sign} {line}" for line in lines), program]))


def _lowered(
    graph: Graph, batch: int, style: Literal["python", "ascii"], ran: Settings | None
) -> dict[str, Any]:
    """What the compiled executor makes of a step, as "text" and in parts; or why it is "refused"."""
    from backpass.exec.choose import obstacle_to_compiling

    refused = obstacle_to_compiling()
    if refused is None:
        from backpass.exec.compiled.listing import listing, without_data

        try:
            loop = without_data(graph, batch)
        except NotLowered as obstacle:
            refused = f"not compiled: {obstacle}"
    if refused is not None:
        text = f"# There is no lowered source: {refused}.\n# The reference executor does such a step."
        return {"refused": refused, "text": text}
    told = ""
    if ran is not None and ran.executor == loop.name:
        loop.threads = ran.machine.threads
    elif ran is not None:
        told = f"# The run itself was done by the {ran.executor} executor: {ran.executor_why}\n"
    found = listing(loop, style)
    return {"refused": None, "text": told + str(found), "source": found.source} | asdict(found)


def _program(graph: Graph, format: str, wanted: list[str], numbers: Mapping[str, float]) -> str:
    """The program in print, whole or in part."""
    style: Any = "python" if format == "text" else format
    if not wanted:
        text = graph.text(style, values=numbers)
    else:
        parts = [graph.text(style, values=numbers, prelude=False, section=name) for name in wanted]
        if len(parts) > 1:
            sign = "%" if format == "latex" else "#"
            parts = [f"{sign} {name}\n{part}" for name, part in zip(wanted, parts, strict=True)]
        text = "\n".join(parts)
    if format == "latex" and numbers:
        from backpass.ir.text import latex_name

        text = f"% {', '.join(f'{latex_name(name)} = {value:g}' for name, value in numbers.items())}\n{text}"
    return text


def _work(graph: Graph, batch: int) -> dict[str, Any]:
    """Operations and bytes of one step, and the operations of each section."""
    from backpass.ir.text import sections
    from backpass.passes import work

    counted = work(graph, {"B": batch})
    where = sections(graph)
    flops = dict.fromkeys(_SECTIONS, 0)
    for node, count in counted.by_node.items():
        flops[where[node]] += count
    return {
        "batch": batch,
        "flops": counted.flops,
        "bytes": counted.traffic,
        "flops_per_byte": counted.intensity,
        "flops_by_section": flops,
    }


def _told(counts: Mapping[str, Any]) -> list[str]:
    by = ", ".join(f"{name} {count:,}" for name, count in counts["flops_by_section"].items())
    return [
        f"Work of a step of {counts['batch']:,} rows: {counts['flops']:,} floating-point operations ({by}),",
        f"{counts['bytes']:,} bytes moved, {counts['flops_per_byte']:.2g} operations a byte",
    ]
