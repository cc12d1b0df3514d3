"""Data: from files and arrays to checked rows, labels, parts and orders.

This layer knows nothing of nets. It imports `backpass.errors`, NumPy and (inside functions) scikit-learn;
by the rule that imports point downward it could use ``ir`` to ``train`` too, and needs none of them.

====================  ==============================================================================
`load`                a bundled name, a folder of IDX files or an ``.npz`` becomes a `Dataset`
`load_rows`           the rows to predict, from the same sources and ``.npy``
`from_arrays`         arrays in memory become a `Dataset`, checked
`as_rows`             the checks of X alone, for prediction
`scaled`              raw rows times the scale, in the net's dtype
`split`               rows into train, validation and test
`epoch_order`         which rows an epoch visits, in which order; `orders` does it for a whole run
`batch_starts`        where the batches of an epoch begin and end
====================  ==============================================================================

Rows and columns are counted from 0 in every message, as in NumPy.
"""

from backpass.data.dataset import Dataset, scaled
from backpass.data.arrays import as_rows, from_arrays
from backpass.data.readers import BUNDLED, load, load_rows
from backpass.data.split import Order, batch_starts, epoch_order, orders, split

__all__ = [
    "BUNDLED",
    "Dataset",
    "Order",
    "as_rows",
    "batch_starts",
    "epoch_order",
    "from_arrays",
    "load",
    "load_rows",
    "orders",
    "scaled",
    "split",
]
