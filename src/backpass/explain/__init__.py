"""Questions about a run, and their answers as data. Nothing was logged for them: they are computed again.

A question has a file of its own: ``why``, ...; `answer` is what all of them give, `render` shows it.
"""

from backpass.explain.answer import Answer, Check
from backpass.explain.why import Earlier, Part, Share, Why, why

__all__ = ["Answer", "Check", "Earlier", "Part", "Share", "Why", "why"]
