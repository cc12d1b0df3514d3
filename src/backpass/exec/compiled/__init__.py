"""The compiled executor: a whole step as one native function, many steps in one call.

=============  ======================================================================================
`lower`        a Graph as the source of a Numba function (no Numba needed to read it)
`native`       what that source calls: SciPy's BLAS by address, vectorised exp and tanh
`executor`     compiles the source, keeps the kernel on disk, owns the buffers
=============  ======================================================================================

Numba is imported in this package only, and only when something is compiled.
"""

from backpass.exec.compiled.executor import Compiled, CompiledLoop

__all__ = ["Compiled", "CompiledLoop"]
