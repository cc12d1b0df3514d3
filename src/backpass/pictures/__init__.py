"""Pictures from plain data, as SVG, and pages that hold them. Nothing here calculates or knows of a run."""

from backpass.pictures.picture import Picture, write_text

__all__ = ["Picture", "write_text"]
