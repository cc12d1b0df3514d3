"""Questions about a run, and their answers as data. Nothing was logged for them: they are computed again.

A question is a file here: `value`, `why`, `delta`, `paths`, `whatif` and `worked` of a step; `blame`,
`influence`, `self_influence`, `flow` and `compare` of whole runs. `answer` is what all of them give.

============  ==================================================================================
`step`        one number of a visited step: its name, its equation, a second route to it
`net`         the forward pass as units and links, and one recursion over all its paths
`updates`     the update of a weight as a sum, of one step and of a whole run
`tracing`     the loss on an input along a run, and what each training row did to it
`render`      answers in a terminal, Markdown, LaTeX and HTML
============  ==================================================================================
"""

from backpass.explain.answer import Answer, Check
from backpass.explain.why import Earlier, Part, Share, Why, why

__all__ = ["Answer", "Check", "Earlier", "Part", "Share", "Why", "why"]
