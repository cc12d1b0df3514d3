"""``backpass predict``: what a trained network says about new rows."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backpass.cli.options import FLAG
from backpass.cli.output import Output
from backpass.cli.places import open_run
from backpass.errors import BackpassError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backpass.run import Run


def predict(
    run: str,
    data: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: str | None = None,
    json: Annotated[bool, FLAG] = False,
) -> None:
    """Predict new rows with a trained network.

    The result is a table (CSV): the number of the row, the prediction, and for classes the probability of
    each.

    Parameters
    ----------
    run
        A run folder.
    data
        A table, an .npy file with the rows, an .npz file with X, images, or what train takes; - reads a table
        from standard input. Raw values, as in training; columns of a table are found by name.
    out
        A file for the table, instead of standard output.
    json
        Print one object with the predictions as the last line of standard output.
    """
    from backpass.errors import DataError

    output = Output(json)
    found = open_run(run)
    if found.status in ("running", "interrupted", "diverged"):
        output.note(
            f"note: this run is not finished ({found.status}); its weights after step {found.steps:,}"
        )
    try:
        with _rows(found, data, output) as rows:
            raw = found.predict_raw(rows)
    except DataError as error:
        where = "standard input" if data == "-" else data
        raise DataError(str(error) if where in str(error) else f"{where}: {error}") from None
    predicted = found.preparation.answers(raw).tolist()
    names, columns = _columns(found, raw)
    if out is not None:
        from backpass.record.folder import write_whole

        write_whole(Path(out).expanduser(), _csv(found, predicted, names, columns).encode())
        output.say(f"{len(predicted):,} predictions are in {out}")
    if json:
        result: dict[str, Any] = {"run": run, "rows": len(predicted), "predictions": predicted}
        if names:
            result |= {"classes": list(found.answers_named), "probabilities": columns}
        output.result(result | ({} if out is None else {"out": out}))
    elif out is None:
        output.program(_csv(found, predicted, names, columns))


@contextmanager
def _rows(run: Run, data: str, output: Output) -> Iterator[Any]:
    """The raw rows; those of standard input come in a file of their own, since a table is read twice."""
    import tempfile

    if data != "-":
        yield _looked_at(run, run.read_rows(data), output)
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "- stands for standard input, and nothing comes from there.\n"
            "  For example: backpass predict RUN - < new.csv"
        )
    with tempfile.TemporaryDirectory(prefix="backpass-") as folder:
        path = Path(folder) / "standard-input"
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            rows = run.read_rows(path)
        except BackpassError as error:
            raise type(error)(str(error).replace(str(path), "standard input")) from None
        yield _looked_at(run, rows, output)


def _looked_at(run: Run, rows: Any, output: Output) -> Any:
    """Say which columns are not needed."""
    if (
        run.preparation.kind == "table"
        and hasattr(rows, "kinds")
        and (ignored := run.preparation.ignored(rows))
    ):
        more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
        output.note(f"note: the network does not know these columns: {', '.join(ignored[:5])}{more}")
    return rows


def _columns(run: Run, raw: NDArray[np.floating[Any]]) -> tuple[list[str], NDArray[np.floating[Any]]]:
    """The names and values of the columns beside the prediction; no names where quantities are predicted."""
    import numpy as np

    if run.settings.data.task == "regression":
        return [], run.preparation.in_units(raw)
    answers = run.answers_named or tuple(range(raw.shape[1]))
    if run.settings.data.task == "classification" and raw.shape[1] == 1 and len(answers) == 2:
        raw = np.concatenate([1 - raw, raw], axis=1)  # one output for two classes: is it the second?
    return [f"{'p' if run.probable else 'output'}_{name}" for name in answers], raw


def _csv(run: Run, predicted: list[Any], names: list[str], columns: NDArray[np.floating[Any]]) -> str:
    """The table: a row for each, its prediction, and what stands behind it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if run.settings.data.task == "classification":
        table.writerow(["row", "prediction", *names])
        for row, (value, others) in enumerate(zip(predicted, columns, strict=True)):
            table.writerow([row, value, *map(str, others)])
        return text.getvalue()
    targets = list(run.answers_named) or list(range(columns.shape[1]))
    single = columns.shape[1] == 1 and not names
    table.writerow(["row", *(["prediction"] if single else [f"prediction_{t}" for t in targets]), *names])
    for row, values in enumerate(columns):
        given = predicted[row] if names else []
        table.writerow([row, *given, *map(str, values)])
    return text.getvalue()
