"""A trained network for use elsewhere: plain NumPy, PyTorch, or the bare weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from backpass.errors import StorageError, UsageError, nearest

if TYPE_CHECKING:
    from backpass.export.contents import Contents, Trained

__all__ = ["FORMATS", "export"]


def _numpy(found: Contents) -> dict[str, bytes]:
    from backpass.export.numpy_ import files

    return files(found)


def _torch(found: Contents) -> dict[str, bytes]:
    from backpass.export.torch_ import files

    return files(found)


def _safetensors(found: Contents) -> dict[str, bytes]:
    from backpass.export.safetensors_ import files

    return files(found)


#: What each format writes: file names and their contents.
FORMATS: dict[str, Callable[[Contents], dict[str, bytes]]] = {
    "numpy": _numpy,
    "safetensors": _safetensors,
    "torch": _torch,
}


def export(run: Trained, format: str, out: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
    """Write a trained network as files that do not need backpass.

    Parameters
    ----------
    run : Run
    format : {"numpy", "torch", "safetensors"}
        - "numpy": ``predict.py`` and ``weights.npz``. The script needs NumPy and nothing else, holds the
          printed program and the preparation of raw rows, and gives the bits of `Run.predict_raw`.
        - "torch": ``model.py`` and ``weights.safetensors``: the network as a PyTorch module, layer by layer.
        - "safetensors": ``weights.safetensors``, the arrays by their printed names, with a description.
    out : path-like
        A folder; it is made if need be.
    overwrite : bool
        Replace files of these names that are there already.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    UsageError
        There is no such format, or the network holds something that the format cannot express.
    StorageError
        A file is there already, or the folder cannot be written.

    Examples
    --------
    >>> import tempfile, backpass as bp
    >>> net = bp.Network([bp.Dense(2, "tanh"), bp.Dense(2, "softmax")])
    >>> run = bp.train(net, ([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]), epochs=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in export(run, "numpy", folder)]
    ['predict.py', 'weights.npz']
    """
    from backpass.export.contents import contents
    from backpass.record.folder import write_whole

    if format not in FORMATS:
        raise UsageError(f"there is no export format {format!r}. {nearest(str(format), FORMATS)}")
    folder = Path(out).expanduser()
    files = FORMATS[format](contents(run))
    there = [name for name in files if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise StorageError(
            f"{folder} already holds {' and '.join(there)}, and nothing was written.\n"
            "  Name another folder, or pass overwrite=True, --overwrite at the command line, to replace them."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder}: {error.strerror}. Name another one.") from None
    for name, content in files.items():
        write_whole(folder / name, content)
    return [folder / name for name in files]
