"""Questions about a run, and their answers as data. Nothing was logged for them: they are computed again."""

from backpass.explain.answer import Answer, Earlier, Part, Share
from backpass.explain.questions import why

__all__ = ["Answer", "Earlier", "Part", "Share", "why"]
