"""`train`: from data to a `Run` in one call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass import defaults
from backpass.data import Dataset, as_dataset, as_part
from backpass.data.dataset import Task
from backpass.data.preparation import Preparation
from backpass.data.split import Order
from backpass.errors import DataError, UsageError
from backpass.exec.choose import compile_loop
from backpass.exec.machine import cpu_name, versions
from backpass.ir import Op
from backpass.nn import Activation, BatchNorm, Dense, Dropout, Network, default_loss, loss_named
from backpass.record.checkpoints import spacing_for
from backpass.record.folder import RunFolder
from backpass.record.promise import promise
from backpass.record.record import Record
from backpass.record.replay import Replay
from backpass.record.rows import Entry, enter
from backpass.record.settings import Machine, Settings
from backpass.record.store import read_record
from backpass.run import Run, load
from backpass.running.loop import Callbacks, Progress
from backpass.running.resuming import check_unfinished, resumed
from backpass.training.ahead import Ahead
from backpass.training.batches import Batches
from backpass.training.evaluate import classes_of
from backpass.training.optimisers import Adam, Optimiser
from backpass.training.rules import own_rules
from backpass.training.schedules import check, check_count
from backpass.training.step import predict_graph, step_graph
from backpass.training.stopping import EarlyStopping
from backpass.training.weights import ClassWeight, row_weights, started_from

Held = float | Any


def train(
    network: Network | Callable[[Preparation], Network] | None,
    data: Any,
    *,
    target: str | Sequence[str] | None = None,
    task: Task | None = None,
    group: Any = None,
    time: Any = None,
    loss: Any = None,
    optimizer: Optimiser | None = None,
    batch: int = defaults.BATCH,
    epochs: int | None = None,
    rows: int | None = None,
    seed: int = 0,
    validation: Held = None,
    test: Held = None,
    order: Order = None,
    dtype: Literal["f32", "f64"] = "f32",
    executor: Literal["auto", "reference", "compiled"] = "auto",
    out: str | os.PathLike[str] | RunFolder | None = None,
    stop: EarlyStopping | None = None,
    time_limit: float | None = None,
    callbacks: Iterable[Any] = (),
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    start: Run | Mapping[str, ArrayLike] | None = None,
    record_mb: float = defaults.RECORD_MB,
    begun: Callable[[Run], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a network.

    Parameters
    ----------
    network : Network, callable or None
        A callable makes it from the `Preparation` of the data, which knows how many inputs and outputs there
        are. None stands for `network_for`: one hidden layer, and the output layer that the target asks for.
    data : (X, y), data frame, Dataset, or str
        Arrays enter the network as they are; a frame, a bundled name or a path (see `backpass.data.load`) is
        prepared: numbers standardised, words encoded, holes filled.
    target : str or sequence of str, optional
        The column to predict, or several, of a frame or a table.
    task : {"classification", "multilabel", "regression"}, optional
        Overrides what is recognised from the target.
    group, time : str or array, optional
        What the rows are parted by, a column or, for a matrix, an array: rows of one group stay in one part;
        later rows are tested on. See `backpass.data.split`.
    loss : str, Loss or callable, optional
        Such as "cross_entropy" or "squared_error"; by default the one that goes with the last activation.
    optimizer : Optimiser, optional
        Adam if left out. See `backpass.training.optimisers`.
    batch : int
        Rows of a step; the last batch of an epoch may be shorter.
    epochs : int
        How often all training rows are used; by default 30 times, and more for so few rows that this would be
        less than 1,500 steps.
    rows : int, optional
        Train on so many of the training rows only.
    seed : int
        Fixes the weights to start from, the parts, and the orders of rows.
    validation, test : float, (X, y), frame or path, optional
        A fraction of the rows to hold out, or rows of their own. Nothing is held out unless asked for; a
        part that the data source itself gives is used.
    order : None, "sequential", array or callable
        The order of the training rows in each epoch: drawn anew from the seed, as they come, or given.
        See `backpass.data.epoch_order`.
    dtype : {"f32", "f64"}
    executor : {"auto", "reference", "compiled"}
    out : path-like or RunFolder, optional
        A new folder to keep the run in while it goes on. Without it, `Run.save` can write it later.
    stop : EarlyStopping, optional
        Ends the run when the validation rows are predicted no better.
    time_limit : float, optional
        Seconds, after which the run ends; what was learned until then is its result.
    callbacks : iterable of callables or objects
        Called while the run goes; see `backpass.running.loop.Callbacks`.
    l1, l2 : float
        Penalties on the weights W, not on biases: C = mean loss + l1 Σ|W| + ½ l2 ΣW².
    sample_weight : array-like, shape (n,), optional
        How much each row of the data counts, zero or more; scaled so that the training rows have mean 1.
        Metrics on any rows are not weighted.
    class_weight : "balanced" or mapping of class to float, optional
        How much each class counts; see `backpass.training.weights.row_weights`.
    start : Run or mapping of str to array, optional
        Weights to start from, by name, instead of new ones: all of them. The optimiser starts anew.
    record_mb : float
        Megabytes of checkpoints that the run may keep: the more, the quicker any step can be visited. 0 keeps
        only the start and the end and has no monitors; any step can be visited still, from the start on, but
        of a run that is killed only the start is left.
    begun : callable, optional
        Called with the Run, its folder there, before the first step. Who gives it tells a person of
        ``run.preparation.warnings`` and ``run.record.outcome.notes``; else they are Python warnings.
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
    >>> from backpass import SGD
    >>> net = Network([Dense(4, "tanh"), Dense(2, "softmax")])
    >>> run = train(net, (X, y), optimizer=SGD(1.0), batch=4, epochs=200)
    >>> run.predict(X).tolist()
    [0, 1, 1, 0]
    """
    check_count("batch", batch)
    if epochs is not None:
        check_count("epochs", epochs)
    if rows is not None:
        check_count("rows", rows)
    if network is not None and not callable(network) and not isinstance(network, Network):
        raise UsageError(
            f"network must be a Network, such as Network([Dense(10, 'softmax')]), got {network!r}"
        )
    if not isinstance(optimizer, Optimiser | None):
        raise UsageError(f"optimizer must be an optimiser, such as SGD(0.5), got {optimizer!r}")
    if not isinstance(stop, EarlyStopping | None):
        raise UsageError(f"stop must be a rule, such as EarlyStopping(patience=10), got {stop!r}")
    if dtype not in ("f32", "f64"):
        raise UsageError(f"dtype is 'f32' or 'f64', got {dtype!r}")
    check("l1", l1, 0.0)
    check("l2", l2, 0.0)
    check("record_mb", record_mb, 0.0)
    if time_limit is not None:
        check("time_limit", time_limit, 0.0, open=True)
    for what, function in (("begun", begun), ("progress", progress)):
        if function is not None and not callable(function):
            raise UsageError(f"{what} must be a function, got {function!r}")
    called = Callbacks(callbacks)
    optimizer = optimizer or Adam(defaults.LR["adam"])
    dataset = as_dataset(data, target, task=task, group=group, time=time)
    parted = _held(dataset, validation, test)
    entry = enter(*parted, limit=rows, seed=seed, dtype=dtype)
    if begun is None and entry.preparation.warnings:
        warnings.warn("\n".join(entry.preparation.warnings), stacklevel=2)
    network = _network(network, entry, loss)
    loss = loss or default_loss(network.activation)
    plain = entry.preparation.with_plain_targets()
    if plain is not entry.preparation and (
        network.activation != "identity" or loss_named(loss).name == "poisson"
    ):  # outputs that cannot be any number: standardised targets would be out of their reach
        entry = enter(*parted, limit=rows, seed=seed, dtype=dtype, preparation=plain)
    entry = entry.for_outputs(network.outputs)
    taken, features = entry.rows, entry.rows.arrays["x"].shape[1]
    _check_targets(loss, taken.arrays["t"], entry.settings.task)
    epochs = epochs or defaults.epochs_for(len(taken.numbers), batch)
    given = row_weights(
        sample_weight,
        class_weight,
        taken.numbers,
        entry.settings.all_rows,
        classes_of(taken.arrays["t"])
        if class_weight is not None and entry.settings.task == "classification"
        else None,
        entry.settings.classes,
        dtype,
    )
    row_data = {} if given is None else {"w": given}
    step = step_graph(network, loss, optimizer, features, dtype, weighted=bool(row_data), l1=l1, l2=l2)
    predict = predict_graph(network, loss, features, dtype)
    batches = Batches(len(taken.numbers), min(batch, len(taken.numbers)), epochs, seed, order)
    ahead = Ahead(taken.arrays | row_data, batches.batch)
    loop, why = compile_loop(step, ahead.arrays, batches.batch, batches.steps, executor)
    spacing = spacing_for(step, batches.batch, batches.steps, loop.name, record_mb)
    settings = Settings(
        layers=tuple(network.describe()),
        in_features=features,
        loss=loss if isinstance(loss, str) else loss_named(loss).describe(),
        optimiser=optimizer.describe(),
        batch=batches.batch,
        epochs=epochs,
        seed=seed,
        dtype=dtype,
        order="seeded" if order is None else "sequential" if isinstance(order, str) else "explicit",
        executor=loop.name,
        executor_why=why,
        spacing=spacing.first,
        kept=spacing.kept,
        record_mb=float(record_mb),
        data=entry.settings,
        machine=Machine(versions(), cpu_name(), loop.blas_name(), loop.threads),
        l1=l1,
        l2=l2,
        weighted=bool(row_data),
        class_weight="" if class_weight is None else "balanced" if isinstance(class_weight, str) else "given",
        stop=stop.describe() if stop is not None else None,
        time_limit=time_limit,
        start="" if start is None else f"{start.path or 'a run'}" if isinstance(start, Run) else "given",
        rules=own_rules(step, predict),
    )
    record = Record(settings, step, batches, predict)
    record.row_data = row_data
    _set_start(record, network.initial(features, seed, dtype), start)
    run = Run(record, taken, entry=entry)
    run._go(
        ahead.loop(loop), out, entry.held, begun=begun, progress=progress,
        stop=stop, time_limit=time_limit, callbacks=called,
    )  # fmt: skip
    if begun is None and record.outcome.notes:
        warnings.warn("\n".join(record.outcome.notes), stacklevel=2)
    return run


def resume(
    path: str | os.PathLike[str],
    data: Any = None,
    *,
    ops: Iterable[type[Op]] = (),
    time_limit: float | None = None,
    callbacks: Iterable[Any] = (),
    begun: Callable[[Run], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Go on with a run that was killed, interrupted, or ended by its time limit, in its own folder.

    It goes on from its last whole checkpoint to its planned end, and is then, bit for bit, the run that it
    would have been: weights, costs, early stopping, schedules. It takes a folder and not a `Run`, since what
    is in the memory of a process need not be what is on the disk; the Run that comes back is.

    Parameters
    ----------
    path : path-like
        The run folder.
    data, ops
        See `backpass.load`. The data are needed where they came from memory and rows of them are held out.
    time_limit : float, optional
        Seconds from now on. Left out, a run that was killed or interrupted keeps what is left of its own
        limit, and one that the limit ended has none any more.
    callbacks, begun, progress
        See `train`.

    Raises
    ------
    UsageError
        It has come to its end; the message tells what can be done instead.
    RecordError
        The data have changed since, or cannot be found. Nothing was written then.
    StorageError
        Another process is writing the folder.
    """
    if time_limit is not None:
        check("time_limit", time_limit, 0.0, open=True)
    found = load(path, data, ops=ops)
    check_unfinished(found.record, str(path))
    held, called = found._held(), Callbacks(callbacks)
    folder = RunFolder(path)
    folder.lock()
    try:
        record = read_record(folder)  # once more: until now another process may have written
        check_unfinished(record, str(path))
        run = Run(record, found.rows, folder.path, dataset=found._dataset)
        run.__dict__["parts"] = found.parts
        loop, settings, outcome = run._new_loop(), record.settings, record.outcome
        if time_limit is None and settings.time_limit is not None and outcome.status != "time limit":
            time_limit = max(settings.time_limit - outcome.seconds, 1e-3)
        kept = promise(settings, loop.blas_name())
        resumed(record, Replay(record, loop, found.rows.arrays | record.row_data))
    except BaseException:
        folder.close()
        raise
    if not kept.bitwise:
        outcome.notes.append(f"resumed after step {outcome.steps:,}: {kept.words}")
    run._go(
        loop, folder, held, again=True, begun=begun, progress=progress,
        stop=None if settings.stop is None else EarlyStopping(**settings.stop),
        time_limit=time_limit, callbacks=called,
    )  # fmt: skip
    return run


def _check_targets(loss: Any, t: NDArray[Any], task: str) -> None:
    """Refuse quantities that a loss cannot compare: probabilities are from 0 to 1, counts not below 0."""
    name = loss_named(loss).name
    least, most = {"cross_entropy": (0.0, 1.0), "poisson": (0.0, np.inf)}.get(name, (-np.inf, np.inf))
    low, high = float(t.min()), float(t.max())
    if task == "regression" and not least <= low <= high <= most:
        raise DataError(
            f"the targets are quantities from {low:.6g} to {high:.6g} (as they enter the network), and "
            f"{name} needs {'probabilities, from 0 to 1' if most == 1 else 'counts, 0 or more'}.\n"
            "  Leave the activation out of the last layer, Dense(outputs), and the loss with it, to predict "
            "quantities; or give the targets as classes: whole numbers or words."
        )


def _set_start(
    record: Record, initial: Mapping[str, NDArray[Any]], start: Run | Mapping[str, ArrayLike] | None
) -> None:
    """Where the run starts: drawn or given weights, and the optimiser's slots, which are zero."""
    initial = dict(initial)
    if isinstance(start, Run):
        found = start.record.result()  # its slots belong to its own optimiser, its draws to its own seed
        start = {name: found[name] for name in start.record.predict_graph.inputs if name in found}
    if start is not None:
        weights = record.step.inputs_of_kind("parameter") | record.step.inputs_of_kind("fixed")
        initial = started_from(start, initial, list(weights))
    record.fixed = {name: initial[name] for name in record.step.inputs_of_kind("fixed")}
    carry = {}
    for name in record.carried:
        type_ = record.step.inputs[name].array_type
        carry[name] = initial.get(name, np.zeros(tuple(map(int, type_.shape)), type_.numpy_dtype))
    record.keep(0, carry)


def network_for(
    preparation: Preparation,
    hidden: Sequence[int] = defaults.HIDDEN,
    activation: str = defaults.ACTIVATION,
    *,
    dropout: float = 0.0,
    batch_norm: bool = False,
    init: str | None = None,
    loss: Any = None,
) -> Network:
    """Hidden layers of these sizes, and the output layer that the target and the loss ask for.

    Parameters
    ----------
    preparation : Preparation
        Of the data, as fitted by `train`.
    hidden : sequence of int
    activation : str
        Of the hidden layers.
    dropout : float
        The part of each hidden layer's units that is left out at random in a step.
    batch_norm : bool
        Normalise each hidden layer's pre-activations over the batch.
    init : str, optional
        Where the weights of the hidden layers start; by default it follows from the activation.
    loss : str or Loss, optional
        "poisson" asks for outputs that are rates, "hinge" for scores.
    """
    layers: list[Any] = []
    for units in hidden:
        if batch_norm:
            layers += [Dense(units, init=init), BatchNorm(), Activation(activation)]
        else:
            layers.append(Dense(units, activation, init=init))
        layers += [Dropout(dropout)] if dropout else []
    head = {"classification": "softmax", "multilabel": "sigmoid", "regression": "identity"}
    asked = {"poisson": "exp", "hinge": "identity"}.get("" if loss is None else loss_named(loss).name)
    layers.append(Dense(preparation.outputs, asked or head[preparation.task]))
    return Network(layers)


def _network(given: Any, entry: Entry, loss: Any) -> Network:
    """The network: given, made for the data by a function, or the usual one."""
    if given is None:
        return network_for(entry.preparation, entry.dataset.suggests or defaults.HIDDEN, loss=loss)
    made = given(entry.preparation) if callable(given) and not isinstance(given, Network) else given
    if not isinstance(made, Network):
        raise UsageError(f"network must be a Network, such as Network([Dense(10, 'softmax')]), got {made!r}")
    return made


def _held(dataset: Dataset, validation: Held, test: Held) -> tuple[Dataset, float | None, float | None]:
    """The data with the parts that were given as rows of their own; and the fractions to hold out."""
    fractions: list[float | None] = []
    for role, given in (("validation", validation), ("test", test)):
        if given is None or isinstance(given, (int, float, np.number)):
            fractions.append(None if given is None else float(given))
        else:
            dataset = dataset.with_part(role, as_part(dataset, given, role))
            fractions.append(None)
    return dataset, fractions[0], fractions[1]
