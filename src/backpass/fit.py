"""`train`: from data to a `Run` in one call."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backpass.data import Dataset, from_arrays
from backpass.data import load as load_data
from backpass.data.split import Order
from backpass.errors import UsageError
from backpass.exec.choose import compile_loop
from backpass.exec.machine import blas_name, cpu_name, versions
from backpass.nn import Dense, Network, default_loss
from backpass.run import Run
from backpass.training.batches import Batches
from backpass.training.evaluate import Evaluator
from backpass.training.folder import RunFolder
from backpass.training.loop import Progress, train_steps
from backpass.training.optimisers import SGD
from backpass.training.record import Record, checkpoint_spacing
from backpass.training.rows import Rows, entered, parts_of
from backpass.training.settings import DataSettings, Machine, Settings
from backpass.training.step import step_graph
from backpass.training.store import write_end, write_start

Held = float | tuple[Any, Any] | None
Data = tuple[Any, Any] | Dataset | str


def train(
    network: Network,
    data: Data,
    *,
    loss: str | None = None,
    optimizer: SGD | None = None,
    batch: int = 32,
    epochs: int = 10,
    seed: int = 0,
    validation: Held = None,
    test: Held = None,
    order: Order = None,
    dtype: Literal["f32", "f64"] = "f32",
    executor: Literal["auto", "reference", "compiled"] = "auto",
    out: str | os.PathLike[str] | RunFolder | None = None,
    begun: Callable[[Run], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a network.

    Parameters
    ----------
    network : Network
    data : (X, y), Dataset, or str
        Arrays, or what `backpass.data.load` takes: a bundled name or a path.
    loss : str, optional
        "cross_entropy" or "squared_error"; by default the one that goes with the last activation.
    optimizer : SGD, optional
        ``SGD(0.1)`` if left out.
    batch : int
        Rows of a step; the last batch of an epoch may be shorter.
    epochs : int
        How often all training rows are used.
    seed : int
        Fixes the weights to start from, the parts, and the orders of rows.
    validation, test : float or (X, y), optional
        A fraction of the rows to hold out, or rows of their own. Nothing is held out unless asked for; a
        test part that the data source itself gives is used.
    order : None, "sequential", array or callable
        The order of the training rows in each epoch: drawn anew from the seed, as they come, or given.
        See `backpass.data.epoch_order`.
    dtype : {"f32", "f64"}
    executor : {"auto", "reference", "compiled"}
    out : path-like or RunFolder, optional
        A new folder to keep the run in while it goes on. Without it, `Run.save` can write it later.
    begun : callable, optional
        Called with the Run, its folder there, before the first step.
    progress : callable, optional
        Called with a `Progress` about twenty times a second.

    Returns
    -------
    Run

    Raises
    ------
    NonFinite
        The cost or a weight became NaN or infinite. ``error.run`` is the run up to that step.
    KeyboardInterrupt
        Passed on after the record is whole; ``error.run`` is the run so far.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    >>> net = Network([Dense(4, "tanh"), Dense(2, "softmax")])
    >>> run = train(net, (X, y), optimizer=SGD(1.0), batch=4, epochs=200)
    >>> run.predict(X).tolist()
    [0, 1, 1, 0]
    """
    _check_count("batch", batch)
    _check_count("epochs", epochs)
    if not isinstance(network, Network):
        raise UsageError(
            f"network must be a Network, such as Network([Dense(10, 'softmax')]), got {network!r}"
        )
    if not isinstance(optimizer, SGD | None):
        raise UsageError(f"optimizer must be an optimiser, such as SGD(0.5), got {optimizer!r}")
    if dtype not in ("f32", "f64"):
        raise UsageError(f"dtype is 'f32' or 'f64', got {dtype!r}")
    dataset = _dataset(data)
    optimizer = optimizer or SGD()
    loss = loss or default_loss(network.activation)
    fractions = [h if isinstance(h, (int, float)) and h else 0.0 for h in (validation, test)]
    train_part, validation_part, test_part = parts_of(dataset, fractions[0], fractions[1], seed)
    x, t = entered(dataset, dtype, network.outputs)
    rows, features = Rows.taken(x, t, train_part), x.shape[1]
    held: dict[str, tuple[Any, Any] | None] = {"validation": None, "test": None}
    for name, given, part in (("validation", validation, validation_part), ("test", test, test_part)):
        if isinstance(given, tuple):
            held[name] = _rows_of_their_own(dataset, given, dtype, network.outputs)
        elif len(part):
            held[name] = (x[part], t[part])
    if test is None and dataset.test is not None:
        held["test"] = entered(dataset.test, dtype, network.outputs)
    step = step_graph(network, loss, optimizer, features, dtype)
    batches = Batches(len(train_part), min(batch, len(train_part)), epochs, seed, order)
    loop, why = compile_loop(step, rows.arrays, batches.batch, batches.steps, executor)
    settings = Settings(
        layers=tuple(network.describe()),
        in_features=features,
        loss=loss,
        optimiser=optimizer.describe(),
        batch=batches.batch,
        epochs=epochs,
        seed=seed,
        dtype=dtype,
        order="seeded" if order is None else "sequential" if isinstance(order, str) else "explicit",
        executor=loop.name,
        executor_why=why,
        spacing=checkpoint_spacing(step, batches.batch, batches.steps),
        data=DataSettings(
            name=dataset.name,
            source=dataset.source,
            fingerprint=dataset.fingerprint(),
            scale=dataset.scale,
            task=dataset.task,
            classes=tuple(c.item() if isinstance(c, np.generic) else c for c in dataset.classes),
            validation=fractions[0],
            test=fractions[1],
            rows=len(train_part),
            image_shape=dataset.image_shape,
        ),
        machine=Machine(versions(), cpu_name(), blas_name(loop.name), loop.threads),
    )
    start = network.initial(features, seed, dtype)
    for name, node in step.inputs_of_kind("state").items():
        start[name] = np.zeros(node.array_type.bind({}).shape, node.array_type.numpy_dtype)  # type: ignore[arg-type]
    record = Record(settings, step, batches, {0: start})
    run = Run(record, rows)
    run._loop = loop
    folder = RunFolder.create(out) if isinstance(out, (str, os.PathLike)) else out
    _go(run, held, folder, begun, progress)
    return run


def _go(
    run: Run,
    held: dict[str, tuple[Any, Any] | None],
    folder: RunFolder | None,
    begun: Callable[[Run], None] | None,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Run the steps, writing to the folder as they go; whatever ends them, the record is whole."""
    record, rows = run.record, run.rows.arrays
    evaluator = Evaluator(record.step, record.network.prediction, record.settings.data.task)
    validation = held["validation"]
    written: set[int] = set()

    def wrote(done: int) -> None:
        if folder is None:
            return
        new = sorted(record.checkpoints.keys() - written)
        for mark in new:
            folder.checkpoint(mark, record.checkpoints[mark])
        if new:
            folder.outcome(record.settings, record.outcome)
        written.update(new)
        folder.costs(record.costs)

    if folder is not None:
        write_start(folder, record, run.rows)
        wrote(0)
        run.path = Path(folder.path)
    if begun is not None:
        begun(run)
    try:
        validate = None if validation is None else lambda carry: evaluator.metrics(carry, *validation)
        assert run._loop is not None
        for event in train_steps(record, run._loop, rows, validate=validate, wrote=wrote):
            if progress is not None:
                progress(event)
    except BaseException as error:
        error.run = run  # type: ignore[attr-defined]
        raise
    finally:
        parts = {"train": (rows["x"], rows["t"]), **held}
        if record.outcome.status != "diverged":
            record.outcome.metrics = {
                name: evaluator.metrics(record.last(), *part)
                for name, part in parts.items()
                if part is not None
            }
        if folder is not None:
            wrote(record.outcome.steps)
            write_end(folder, record)


def network_for(dataset: Dataset, hidden: list[int], activation: str = "relu") -> Network:
    """Hidden layers of these sizes, and the output layer that the data's target asks for."""
    layers = [Dense(units, activation) for units in hidden]
    if dataset.task == "classification":
        layers.append(Dense(len(dataset.classes), "softmax"))
    else:
        layers.append(Dense(dataset.targets(np.float64).shape[1]))
    return Network(layers)


def _dataset(data: Data) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (str, os.PathLike)):
        return load_data(data)
    if isinstance(data, tuple) and len(data) == 2:
        return from_arrays(*data)
    raise UsageError(f"data is (X, y), a Dataset or a name or path, got {type(data).__name__}")


def _rows_of_their_own(dataset: Dataset, given: tuple[Any, Any], dtype: str, outputs: int) -> tuple[Any, Any]:
    """Rows that were given beside the data, as they enter the network."""
    other = from_arrays(dataset.X, dataset.y, task=dataset.task, scale=dataset.scale, test=given).test
    assert other is not None
    return entered(other, dtype, outputs)


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")
