"""The report as one page, made only of facts and pictures."""

from __future__ import annotations

from collections.abc import Iterable

from backpass.explain.render.html import html
from backpass.pictures.confusion import confusion_matrix
from backpass.pictures.curves import line_chart, scatter
from backpass.pictures.document import document
from backpass.pictures.images import weight_images
from backpass.pictures.nets import net_picture
from backpass.pictures.svg import plain
from backpass.report.asked import Asked
from backpass.report.facts import Facts, Table


def page(facts: Facts) -> str:
    """The report."""
    body = [f"<h1>{plain(facts.title)}</h1>"]
    body += [f'<p class="lead">{plain(line)}</p>' for line in facts.headline]
    body += [f'<p class="note">{plain(note)}</p>' for note in facts.notes]
    body.append(_section("Summary", _pairs(facts.summary)))
    body.append(_section("Preparation of the data", _list(facts.preparation)))
    if facts.metrics is not None:
        body.append(_section("Metrics", _metrics(facts)))
    if facts.panels:
        body.append(
            _section(
                "Learning curves", _figure(line_chart("Cost and score as the training went", facts.panels))
            )
        )
    if facts.confusion is not None:
        body.append(_section("What was taken for what", _figure(confusion_svg(facts))))
    if facts.clouds:
        body.append(_section("Predicted and true", "".join(_figure(svg) for svg in cloud_svgs(facts))))
    if facts.net is not None:
        body.append(_section("The net", _figure(net_svg(facts)) + _weights(facts)))
    elif facts.weights:
        body.append(_section("The weights", _weights(facts)))
    if facts.images is not None:
        body.append(_section("Weights as images", _figure(images_svg(facts))))
    if facts.asked.worked is not None or facts.asked.errors is not None:
        body.append(_section("One step, worked through", _worked(facts.asked)))
    if facts.asked.flow is not None:
        body.append(_section("How the error flows back", html(facts.asked.flow)))
    if facts.asked.suspects is not None:
        body.append(_section("The rows that were hardest to learn", html(facts.asked.suspects)))
    elif facts.asked.left_out:
        left_out = f'<p class="soft">{plain(facts.asked.left_out)}</p>'
        body.append(_section("The rows that were hardest to learn", left_out))
    program = (
        "<p>The backward pass of a training step, as it was executed: δ is the adjoint of a pre-activation, "
        "dW the gradient of the cost C by W.</p>"
        f"<pre>{plain(facts.backward)}</pre>"
        f"<details><summary>The whole step: forward, backward, update; it runs as Python with NumPy</summary>"
        f"<pre>{plain(facts.step)}</pre></details>"
    )
    body.append(_section("The backward program", program))
    again = _pairs(facts.reproduce) + f"<pre>{plain(facts.code)}</pre>"
    body.append(_section("To reproduce it", again))
    return document(facts.title, "\n".join(body))


def confusion_svg(facts: Facts) -> str:
    """The confusion matrix of the facts."""
    found = facts.confusion
    assert found is not None
    return confusion_matrix(
        f"Confusion matrix of the {found.part} part",
        found.counts,
        found.classes,
        shares=found.shares,
        note=found.note,
    )


def cloud_svgs(facts: Facts) -> list[str]:
    """A scatter for each target."""
    return [
        scatter(f"Predicted against true {c.name}".strip(), c.true, c.predicted, c.name, c.note)
        for c in facts.clouds
    ]


def net_svg(facts: Facts) -> str:
    """The drawing of the net."""
    assert facts.net is not None
    return net_picture("Units and weights", facts.net.layers, facts.net.links, facts.net.notes)


def images_svg(facts: Facts) -> str:
    """The weights of the first layer as images."""
    found = facts.images
    assert found is not None
    return weight_images(
        "Weights of the first layer",
        found.images,
        found.names,
        found.tips,
        largest=found.largest,
        notes=found.notes,
    )


def _worked(asked: Asked) -> str:
    """The worked step, with the net that its error goes through."""
    parts = [html(asked.worked)] if asked.worked is not None else []
    if asked.errors is not None:
        title = f"What the example sends back, step {asked.step:,}"
        net = net_picture(title, asked.errors.layers, asked.errors.links, asked.errors.notes, carries="error")
        parts.insert(0, _figure(net))
    if asked.gradients is not None:
        found = asked.gradients
        title = f"Where the batch of step {asked.step:,} wants the first layer's weights"
        images = weight_images(
            title, found.images, found.names, found.tips, largest=found.largest, notes=found.notes
        )
        parts.append(f"<details><summary>{plain(title)}, as images</summary>{_figure(images)}</details>")
    return "".join(parts)


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{plain(title)}</h2>\n{body}\n</section>"


def _figure(svg: str) -> str:
    return f'<figure class="wide">{svg}</figure>'


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{plain(line)}</li>" for line in lines) + "</ul>"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{plain(k)}</th><td>{plain(v)}</td></tr>" for k, v in pairs)
    return f"<table><tbody>{rows}</tbody></table>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{plain(h)}</th>" for h in table.head)
    rows = "".join(
        f"<tr><th>{plain(row[0])}</th>{''.join(f'<td>{plain(c)}</td>' for c in row[1:])}</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _metrics(facts: Facts) -> str:
    assert facts.metrics is not None
    shown = _table(facts.metrics) + "".join(f'<p class="soft">{plain(n)}</p>' for n in facts.metric_notes)
    if facts.details is not None:
        name = facts.details.head[0].split(" ")[0]
        shown += f"<details open><summary>By {plain(name)}</summary>{_table(facts.details)}</details>"
    return shown


def _weights(facts: Facts) -> str:
    if not facts.weights:
        return ""
    listed = "\n".join(f"{name} =\n{value}" for name, value in facts.weights)
    return f"<details><summary>All weights as numbers</summary><pre>{plain(listed)}</pre></details>"
