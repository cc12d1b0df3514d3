"""`Picture`: an SVG that a notebook shows and a file keeps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from backpass.errors import StorageError, UsageError


@dataclass(frozen=True, repr=False)
class Picture:
    """A finished picture. A notebook shows it; `save` writes it.

    Attributes
    ----------
    title : str
    svg : str
        The picture itself.
    """

    title: str
    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file.

        Parameters
        ----------
        path : path-like
            Ends in ``.svg`` or ``.html``.

        Raises
        ------
        UsageError
            The name ends in something else.
        StorageError
            The file cannot be written.
        """
        where = Path(path)
        if where.suffix.lower() == ".svg":
            return write_text(where, self.svg)
        if where.suffix.lower() in (".html", ".htm"):
            from backpass.pictures.document import document

            return write_text(where, document(self.title, self.svg))
        raise UsageError(f"a picture is saved as .svg or .html, not as {where.name!r}")

    def __repr__(self) -> str:
        return f"<Picture {self.title!r}, {len(self.svg):,} characters of SVG>"


def write_text(path: Path, text: str) -> Path:
    """Write a file, or say why not."""
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from None
    return path
