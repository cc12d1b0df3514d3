"""The compiled executor: a whole step as one native function, many steps in one call.

==============  =====================================================================================
`lower`         a Graph as source, in groups of statements
`scalars`       the forward rules of elementwise ops, as source
`lowerings`     the ops that have a lowering of their own; they are in `contractions` (products), `heads`
                (softmax and losses), `moves` (rows, joining, random numbers), `reductions`
`loops`         loops through a sequence, around their bodies
`updates`       carried values, replaced in place
`groups`        what threads share, where they wait for each other, and loops that become one
`compiler`      that source, a small part of Python, to LLVM
`mathematics`   exp, log, tanh, ... and random numbers: in the same language
`products`      matrix products written for their sizes, and the call of BLAS
`blas`          which BLAS there is, and where
`barrier`       how threads wait for each other
`target`        the processor
`kernels`       makes native code, keeps it on disk, loads it
`function`      a Graph as a native function
`executor`      a step as a native loop, with the arrays that it works on
`taps`          the same loop, which keeps a few numbers of each step
`listing`       the source of a step in print, under the lines of the program that it calculates
==============  =====================================================================================

A program that has an op, a dtype or a shape without a lowering is refused whole (`NotLowered`, which names
the op), and `exec.choose` takes the reference executor and says why.

llvmlite is imported in this package only, and only when something is compiled.
"""

from backpass.exec.compiled.executor import Compiled, CompiledLoop

__all__ = ["Compiled", "CompiledLoop"]
