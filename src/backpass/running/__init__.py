"""Going through the steps of a run: from the start, from where it was stopped, on a way of its own.

============  ==================================================================================
`loop`        many steps, in chunks; the guard; checkpoints; callbacks
`judge`       early stopping and plateaus, as the epochs come
`going`       what a `backpass.Run` can do to get further, and the whole record it leaves
`resuming`    a run that was stopped, made ready to go on
`branching`   a run that leaves another's way at a step
============  ==================================================================================
"""
