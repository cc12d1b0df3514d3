"""The compiled executor: a whole step as one native function, many steps in one call.

==============  =====================================================================================
`lower`         a Graph as the source of a Numba function (no Numba needed to read it)
`scalars`       the forward rules of elementwise ops, as source
`lowerings`     the ops that have a lowering of their own; they are in `contractions` (products), `heads`
                (softmax and losses), `moves` (rows, joining, random numbers), `reductions`
`updates`       carried values, replaced in place
`kernels`       compiles the source and keeps it on disk
`native`        what that source calls: SciPy's BLAS by address, vectorised exp and tanh, random numbers
`products`      our own matrix products, for small ones
`executor`      kernels with the arrays that they work on
==============  =====================================================================================

A program that has an op, a dtype or a shape without a lowering is refused whole (`NotLowered`, which names
the op), and `exec.choose` takes the reference executor and says why.

Numba is imported in this package only, and only when something is compiled.
"""

from backpass.exec.compiled.executor import Compiled, CompiledLoop

__all__ = ["Compiled", "CompiledLoop"]
