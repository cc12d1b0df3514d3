"""``backpass predict``: what a trained network says about new rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from backpass.cli.options import FLAG
from backpass.cli.output import Output
from backpass.cli.places import open_run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backpass.run import Run


def predict(run: str, data: str, /, *, out: str | None = None, json: Annotated[bool, FLAG] = False) -> None:
    """Predict new rows with a trained network.

    The result is a table (CSV): the number of the row, the prediction, and for classes the probability of
    each.

    Parameters
    ----------
    run
        A run folder.
    data
        An .npy file with the rows; an .npz file with X; or what train takes. Raw values, as in training.
    out
        A file for the table, instead of standard output.
    json
        Print one object with the predictions as the last line of standard output.
    """
    import numpy as np

    from backpass.data import load_rows
    from backpass.errors import DataError

    output = Output(json)
    found = open_run(run)
    if found.status != "finished":
        output.note(
            f"note: this run is not finished ({found.status}); its weights after step {found.steps:,}"
        )
    try:
        raw = found.predict_raw(load_rows(data))
    except DataError as error:
        raise DataError(str(error) if data in str(error) else f"{data}: {error}") from None
    names, columns = _columns(found, raw)
    answers = found.settings.data.classes if names else ()
    predicted: list[Any]
    if names:
        predicted = [answers[i] for i in np.argmax(columns, axis=1)]
    else:
        predicted = columns[:, 0].tolist() if columns.shape[1] == 1 else columns.tolist()
    if out is not None:
        from backpass.training.folder import write_whole

        write_whole(Path(out).expanduser(), _csv(predicted, names, columns).encode())
        output.say(f"{len(predicted):,} predictions are in {out}")
    if json:
        result: dict[str, Any] = {"run": run, "rows": len(predicted), "predictions": predicted}
        if names:
            result |= {"classes": list(answers), "probabilities": columns}
        output.result(result | ({} if out is None else {"out": out}))
    elif out is None:
        output.program(_csv(predicted, names, columns))


def _columns(run: Run, raw: NDArray[np.floating[Any]]) -> tuple[list[str], NDArray[np.floating[Any]]]:
    """The names and values of the columns beside the prediction; no names where quantities are predicted."""
    import numpy as np

    if run.settings.data.task != "classification":
        return [], raw
    classes = run.settings.data.classes
    if raw.shape[1] == 1 and len(classes) == 2:  # one output for two classes: is it the second?
        raw = np.concatenate([1 - raw, raw], axis=1)
    probable = run.record.network.activation in ("softmax", "sigmoid")
    return [f"{'p' if probable else 'output'}_{name}" for name in classes], raw


def _csv(predicted: list[Any], names: list[str], columns: NDArray[np.floating[Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if names or columns.shape[1] == 1:
        table.writerow(["row", "prediction", *names])
        for row, (value, others) in enumerate(zip(predicted, columns, strict=True)):
            table.writerow([row, value, *(str(v) for v in others)] if names else [row, str(columns[row, 0])])
    else:
        table.writerow(["row", *(f"prediction_{k}" for k in range(columns.shape[1]))])
        for row, values in enumerate(columns):
            table.writerow([row, *(str(v) for v in values)])
    return text.getvalue()
