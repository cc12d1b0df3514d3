"""What backpropagation replaced, run side by side with it, and counted honestly.

`methods/` has a file for each method; all drive the programs of one `Problem`, from the same start, over the
same rows in the same order, and pay for each program by its counted work.
"""
