"""Training: the step as one Graph, the loop over it, and the record by which it can be run again.

============  ==================================================================================
`step`        a network, a loss and an optimiser become the Graph of a step
`optimisers`  how a gradient becomes an update; `schedules`, the learning rate of each step
`batches`     which rows each step uses
`rows`        the training rows as the network sees them
`weights`     what each row counts for; given values to start from
`loop`        many steps, in chunks; the guard; checkpoints; callbacks
`stopping`    when a run ends early, and what is said of one that gets worse
`evaluate`    predictions and metrics
`record`      what a run wrote down: `settings`, checkpoints, costs
`folder`      the run folder's files; `store`, a whole record in them
`replay`      any step again, by the same kernel
============  ==================================================================================
"""

from backpass.training import schedules

__all__ = ["schedules"]
