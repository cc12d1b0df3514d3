"""``backpass export``: a trained network for use where backpass is not."""

from __future__ import annotations

from typing import Annotated, Literal

from backpass.cli.options import FLAG, default
from backpass.cli.output import Output
from backpass.cli.places import open_run


def export(
    run: str,
    /,
    *,
    format: Literal["numpy", "torch", "safetensors"] = "numpy",
    out: Annotated[str | None, default("RUN/export-<format>")] = None,
    overwrite: Annotated[bool, FLAG] = False,
    json: Annotated[bool, FLAG] = False,
) -> None:
    """Write a trained network as files that do not need backpass.

    numpy: a script that reads raw rows and predicts, with NumPy alone. torch: the network as a PyTorch
    module. safetensors: the weights by their printed names.

    Parameters
    ----------
    run
        A run folder.
    format
        What to write.
    out
        The folder for the files.
    overwrite
        Replace files of the same names.
    json
        Print one object with the paths as the last line of standard output.
    """
    output = Output(json)
    found = open_run(run)
    assert found.path is not None
    files = found.export(format, out or found.path / f"export-{format}", overwrite=overwrite)
    for path in files:
        output.say(f"wrote {path}")
    script = next((path for path in files if path.suffix == ".py"), None)
    if script is not None:
        rows = "rows.csv" if found.preparation.kind == "table" else "rows.npy"
        output.say(f"To use it: python {script} {rows}")
    if json:
        output.result({"run": run, "format": format, "files": [str(path) for path in files]})
