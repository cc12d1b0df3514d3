"""The report as one page: no script, nothing from elsewhere, made only of facts and pictures."""

from __future__ import annotations

from collections.abc import Iterable

from backpass.report.confusion import confusion_matrix
from backpass.report.curves import line_chart, scatter
from backpass.report.facts import Facts, Table
from backpass.report.nets import net_picture, weight_images
from backpass.report.svg import plain

#: Only what is in the file: no script, no network, no frame.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2128;--soft:#5a6270;--line:#d9dde3;--page:#fff;--tint:#f4f6f8;
--accent:#0072b2}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#a4acb8;--line:#343a44;--page:#181b20;
--tint:#22262d;--accent:#56b4e9}}
body{margin:0 auto;padding:28px 20px 60px;max-width:1010px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',Arial,sans-serif}
h1{font-size:25px;line-height:1.25;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:18px;margin:38px 0 10px;padding-top:14px;border-top:1px solid var(--line)}
p{margin:6px 0}.lead{font-size:17px}.soft{color:var(--soft);font-size:13px}
.note{border-left:4px solid #d55e00;background:var(--tint);padding:8px 12px;white-space:pre-wrap;
overflow-wrap:anywhere}
table{border-collapse:collapse;margin:10px 0;font-variant-numeric:tabular-nums}
th,td{padding:4px 14px 4px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
.figures th,.figures td{text-align:right;padding:4px 0 4px 20px;overflow-wrap:normal}
.figures td{white-space:nowrap}
.figures th:first-child,.figures td:first-child{text-align:left;padding-left:0}
thead th{color:var(--soft);font-weight:600;font-size:13px}tbody th{font-weight:400;color:var(--soft)}
.figures tbody th{color:var(--ink)}
pre{background:var(--tint);border-radius:6px;padding:12px 14px;overflow-x:auto;line-height:1.45;
font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}
details{margin:10px 0}summary{cursor:pointer;color:var(--accent)}
.wide{overflow-x:auto}figure{margin:8px 0}svg{max-width:100%;height:auto;display:block}
li{margin:2px 0}
@media print{pre,svg,table{break-inside:avoid}}
"""


def document(title: str, body: str) -> str:
    """A whole page around HTML that is safe already.

    Examples
    --------
    >>> "<script" in document("<script>", "")
    False
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{plain(title)}</title>\n<style>{_STYLE.strip()}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


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
