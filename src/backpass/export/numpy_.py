"""A network as a script that needs NumPy and nothing else."""

from __future__ import annotations

import io
import textwrap

import numpy as np

from backpass.export.contents import Contents, header
from backpass.export.shared import STANDARD, beside, constants, shared, usage
from backpass.version import __version__


def files(found: Contents) -> dict[str, bytes]:
    """``predict.py`` and ``weights.npz``; the script gives the bits of `Run.predict_raw`."""
    arrays = io.BytesIO()
    np.savez(arrays, allow_pickle=False, **found.weights)
    return {"predict.py": script(found).encode(), "weights.npz": arrays.getvalue(), **beside(found)}


def script(found: Contents) -> str:
    """The text of ``predict.py``: what is known of the network, its program, and the part that all share."""
    about = header(
        [
            found.summary,
            f"Written by backpass {__version__}. Needs NumPy and, beside this file, weights.npz.",
            "",
            *usage(found, "predict"),
        ]
    )
    parts = [constants(found), "\n", forward(found), "\n", _NETWORK, "\n", shared(found)]
    return "\n".join([about, "", *STANDARD, "", *parts])


_NETWORK = '''\
def network(x):
    """The outputs for prepared rows."""
    with np.errstate(all="ignore"):
        return forward(x=x, **weights())


def weights():
    """The weights by name, from the file beside this one."""
    with np.load(Path(__file__).with_name("weights.npz"), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}'''


#: The error function without SciPy. The two may differ in the last bit, so SciPy's goes first.
_ERF = """\
try:
    from scipy.special import erf
except ImportError:
    from math import erf as one
    erf = lambda x: np.vectorize(one, otypes=[x.dtype])(x)
"""


def forward(found: Contents) -> str:
    """The printed program as a function. Its imports stay inside: it may name ``sum`` and ``max``."""
    text = found.graph.text().replace("from scipy.special import erf\n", _ERF)
    program = textwrap.indent(text, "    ")
    arguments = ", ".join(found.graph.inputs)
    return (
        f"def forward({arguments}):\n"
        f'    """The program of the network, as backpass prints it: executed, not described."""\n'
        f"{program}\n    return {found.output}"
    )
