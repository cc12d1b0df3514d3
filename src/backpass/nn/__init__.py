"""Networks as graph builders: layers, wiring, initialisers, losses. They know programs; they know no data."""

from backpass.nn import initialisers, losses
from backpass.nn.activations import ACTIVATIONS
from backpass.nn.cost import add_cost
from backpass.nn.layers import Activation, Dense, Dropout, Embedding
from backpass.nn.links import Apply, Flatten, Residual, join
from backpass.nn.losses import LOSSES, Loss, default_loss, loss_named
from backpass.nn.network import Network
from backpass.nn.norms import BatchNorm, LayerNorm
from backpass.nn.wires import Inputs, Layer, Wire

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "Activation",
    "Apply",
    "BatchNorm",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Inputs",
    "Layer",
    "LayerNorm",
    "Loss",
    "Network",
    "Residual",
    "Wire",
    "add_cost",
    "default_loss",
    "initialisers",
    "join",
    "loss_named",
    "losses",
]
