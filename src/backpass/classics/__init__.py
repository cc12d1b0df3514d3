"""Published results of backpropagation, reproduced: their figure beside ours.

`classics.toml` describes them, one entry each; `catalogue` reads it. An entry names its recipe, a function of
`recipes/`, and gives it its options; `reproduce` runs it and puts what came out beside what was published.
"""

from backpass.classics.catalogue import Classic, Published, catalogue, named
from backpass.classics.comparison import Compared, Reproduction
from backpass.classics.measured import Measured, Told, ours
from backpass.classics.reproduce import reproduce

__all__ = [
    "Classic",
    "Compared",
    "Measured",
    "Published",
    "Reproduction",
    "Told",
    "catalogue",
    "named",
    "ours",
    "reproduce",
]
