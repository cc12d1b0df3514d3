"""Data: from files and arrays to checked rows, labels, parts and orders.

This layer knows nothing of nets. It imports `backpass.errors`, NumPy and (inside functions) scikit-learn;
by the rule that imports point downward it could use ``ir`` to ``train`` too, and needs none of them.

====================  ==============================================================================
`load`                a bundled name, a table, images or a file of arrays becomes a `Dataset`
`load_rows`           the rows to predict, from the same sources
`as_dataset`          whatever a person may give as data; `as_part`, rows given beside it
`from_arrays`         arrays in memory become a `Dataset`, checked; `from_frame` for a data frame
`read_table`          CSV, Parquet and JSON lines become a `Table` of raw columns
`BUNDLED`             the names of the sets that come with backpass; `describe` says what one is
`fit_preparation`     what rows become before they enter a net, fitted on the training rows; `prepare`
`as_rows`             the checks of X alone, for prediction
`scaled`              raw rows times the scale, in the net's dtype
`split`               rows into train, validation and test; by class, by group, by time
`epoch_order`         which rows an epoch visits, in which order; `orders` does it for a whole run
`batch_starts`        where the batches of an epoch begin and end
====================  ==============================================================================

Rows and columns are counted from 0 in every message, as in NumPy.
"""

from backpass.data.arrays import as_rows, from_arrays
from backpass.data.bundled import BUNDLED, describe
from backpass.data.dataset import Dataset, scaled
from backpass.data.frames import from_frame
from backpass.data.preparation import Preparation, fit_preparation
from backpass.data.readers import image_files
from backpass.data.sources import READING, as_dataset, as_part, load, load_rows
from backpass.data.split import Order, batch_starts, epoch_order, orders, split
from backpass.data.streaming import prepare
from backpass.data.table import Table
from backpass.data.tables import read_table

__all__ = [
    "BUNDLED",
    "READING",
    "Dataset",
    "Order",
    "Preparation",
    "Table",
    "as_dataset",
    "as_part",
    "as_rows",
    "batch_starts",
    "describe",
    "epoch_order",
    "fit_preparation",
    "from_arrays",
    "from_frame",
    "image_files",
    "load",
    "load_rows",
    "orders",
    "prepare",
    "read_table",
    "scaled",
    "split",
]
