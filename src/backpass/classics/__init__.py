"""Published results of backpropagation, reproduced: their figure beside ours.

`classics.toml` describes them, one entry each; `catalogue` reads it. An entry names its recipe, a function of
`recipes/`, and gives it its options; `reproduce` runs it and puts what came out beside what was published.
To add one, add an entry: the recipe "training.train" runs any network that its options describe.
"""

from backpass.classics.catalogue import Classic, Published, catalogue, named
from backpass.classics.comparison import Compared
from backpass.classics.measured import Measured, Told, ours
from backpass.classics.reproduce import reproduce
from backpass.classics.reproduction import Reproduction, Reproductions

__all__ = [
    "Classic",
    "Compared",
    "Measured",
    "Published",
    "Reproduction",
    "Reproductions",
    "Told",
    "catalogue",
    "named",
    "ours",
    "reproduce",
]
