"""One picture of a run, and the report of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backpass.errors import UsageError, nearest
from backpass.pictures.confusion import confusion_matrix
from backpass.pictures.curves import line_chart, scatter
from backpass.pictures.images import weight_images
from backpass.pictures.nets import net_picture
from backpass.pictures.picture import Picture, write_text
from backpass.report.facts import clouds, confusion, facts
from backpass.report.held import Parts, held
from backpass.report.history import learning_panels, rows_panels
from backpass.report.page import page
from backpass.report.weights import images, net


def plot(run: Any, what: str = "curves", *, parts: Parts | None = None) -> Picture:
    """A picture of a run.

    Parameters
    ----------
    run : Run
    what : {"curves", "confusion", "scatter", "net", "weights"}
        Learning curves; which class was taken for which; predicted against true quantities; units and links;
        the weights of the first layer as images.
    parts : mapping of str to (x, t), optional
        Rows as they enter the network, for "confusion" and "scatter"; read again if left out.

    Returns
    -------
    Picture
        A notebook shows it; ``.save("x.svg")`` writes it.

    Raises
    ------
    UsageError
        There is no such picture, or this run has nothing for it.
    """
    if what not in _PICTURES:
        raise UsageError(f"there is no picture {what!r}. {nearest(what, _PICTURES)}")
    return _PICTURES[what](run, parts)


def plot_rows(results: Sequence[Mapping[str, Any]], name: str = "") -> Picture:
    """How good runs on more and more rows are: whether more data would help.

    Parameters
    ----------
    results : sequence of mapping
        ``{"rows": 100, "train": {"accuracy": 0.97}, "validation": {"accuracy": 0.9}}``, one a run.
    name : str
        Of the data.
    """
    panels = rows_panels(results)
    if not panels:
        raise UsageError(
            "a learning curve needs results: rows, and a loss, an accuracy or an R² of each part"
        )
    title = f"Against the number of training rows{': ' + name if name else ''}"
    return Picture(title, line_chart(title, panels))


def write_report(
    run: Any,
    path: str | os.PathLike[str],
    *,
    scores: Mapping[str, dict[str, Any]] | None = None,
    baselines: Mapping[str, dict[str, Any]] | None = None,
    preparation_summary: Sequence[str] = (),
    parts: Parts | None = None,
    command: str = "",
    full: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the report of a run as one file; the parameters are those of `report_html`.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    text = report_html(
        run,
        scores=scores,
        baselines=baselines,
        preparation_summary=preparation_summary,
        parts=parts,
        command=command,
        full=full,
        progress=progress,
    )
    return write_text(Path(path), text)


def report_html(
    run: Any,
    *,
    scores: Mapping[str, dict[str, Any]] | None = None,
    baselines: Mapping[str, dict[str, Any]] | None = None,
    preparation_summary: Sequence[str] = (),
    parts: Parts | None = None,
    command: str = "",
    full: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """The report of a run: one HTML page without scripts, that loads nothing.

    Parameters
    ----------
    run : Run
    scores : mapping of str to dict, optional
        Metrics by part, as `backpass.scoring.score` gives them; computed where left out.
    baselines : mapping of str to dict, optional
        As `backpass.scoring.baselines` gives them; computed where left out, which takes seconds at most. An
        empty mapping leaves them out.
    preparation_summary : sequence of str
        What was done to the data, in words.
    parts : mapping of str to (x, t), optional
        Rows as they enter the network, by part. Left out, the training rows are the run's, and held-out rows
        are read again if the data came from a name or a file; what cannot be had is not in the report.
    command : str
        What was typed to make the run.
    full : bool
        Follow the training rows through the whole run, however many steps that is; else only through a short
        one.
    progress : callable, optional
        Called meanwhile with the steps done, and all of them.
    """
    found = facts(
        run,
        scores=scores,
        baselines=baselines,
        preparation_summary=preparation_summary,
        parts=parts,
        command=command,
        full=full,
        progress=progress,
    )
    return page(found)


def _curves(run: Any, parts: Parts | None) -> Picture:
    panels = learning_panels(run)
    if not panels:
        raise UsageError("this run has made no step, so there is no curve to show")
    title = f"Learning curves: {run.settings.data.name}"
    return Picture(title, line_chart(title, panels))


def _confusion(run: Any, parts: Parts | None) -> Picture:
    _of_task(run, "classification", "confusion", "scatter")
    found = confusion(held(run, parts))
    if found is None:
        raise UsageError("the rows of this run cannot be had again, so nothing can be counted; give parts=")
    title = f"Confusion matrix, {found.part}: {run.settings.data.name}"
    svg = confusion_matrix(title, found.counts, found.classes, shares=found.shares, note=found.note)
    return Picture(title, svg)


def _scatter(run: Any, parts: Parts | None) -> Picture:
    _of_task(run, "regression", "scatter", "confusion")
    found = clouds(held(run, parts))
    if not found:
        raise UsageError("the rows of this run cannot be had again, so nothing can be compared; give parts=")
    one = found[0]
    title = f"Predicted against true {one.name}".rstrip() + f": {run.settings.data.name}"
    return Picture(title, scatter(title, one.true, one.predicted, one.name, one.note))


def _net(run: Any, parts: Parts | None) -> Picture:
    found = net(run)
    if found is None:
        raise UsageError(
            "only layers that follow one another can be drawn as circles and links, with finite weights; "
            "run.text() shows any program"
        )
    title = f"The net and its weights: {run.settings.data.name}"
    return Picture(title, net_picture(title, found.layers, found.links, found.notes))


def _weights(run: Any, parts: Parts | None) -> Picture:
    found = images(run)
    if found is None:
        raise UsageError(
            "weights are shown as images where the inputs are pixels and the first layer is dense"
        )
    title = f"Weights of the first layer: {run.settings.data.name}"
    svg = weight_images(
        title, found.images, found.names, found.tips, largest=found.largest, notes=found.notes
    )
    return Picture(title, svg)


def _of_task(run: Any, task: str, what: str, instead: str) -> None:
    if run.settings.data.task != task:
        raise UsageError(f"the picture {what!r} is for {task}; this is {run.settings.data.task}: {instead!r}")


_PICTURES: dict[str, Callable[[Any, Parts | None], Picture]] = {
    "curves": _curves,
    "confusion": _confusion,
    "scatter": _scatter,
    "net": _net,
    "weights": _weights,
}
