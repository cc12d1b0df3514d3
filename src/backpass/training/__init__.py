"""Training: the step as one Graph, and what each step is given.

============  ==================================================================================
`step`        a network, a loss and an optimiser become the Graph of a step
`optimisers`  how a gradient becomes an update; `schedules`, the learning rate of each step
`batches`     which rows each step uses; `ahead`, rows of a file read before their step
`weights`     what each row counts for; given values to start from
`stopping`    when a run ends early, and what is said of one that gets worse
`evaluate`    predictions and metrics
`rules`       the hashes of a user's own ops
============  ==================================================================================
"""

from backpass.training import schedules

__all__ = ["schedules"]
