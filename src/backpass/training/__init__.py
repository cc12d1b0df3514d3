"""Training: the step as one Graph, the loop over it, and the record by which it can be run again.

============  ==================================================================================
`step`        a network, a loss and an optimiser become the Graph of a step
`optimisers`  how a gradient becomes an update
`batches`     which rows each step uses
`rows`        the training rows as the network sees them
`loop`        many steps, in chunks; the guard; checkpoints
`evaluate`    predictions and metrics
`record`      what a run wrote down: `settings`, checkpoints, costs
`folder`      the run folder's files; `store`, a whole record in them
`replay`      any step again, by the same kernel
============  ==================================================================================
"""
