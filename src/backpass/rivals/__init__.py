"""What backpropagation replaced, run side by side with it, and counted honestly.

A `task` is a net with rows; `problem` makes it ready: the `programs`, all derived from one forward
pass, run and are paid for (`meter`). `methods/` has a file for each method. A `race` gives each of them
a `budget` and seven step sizes; its `outcome` is the answer that people see, with the `quality` of the
guesses at the gradient and the `counter` of all combinations. `scaling/` measures how all of it grows
with the number of weights, and `lessons/` are races that make a point.
"""
