"""Networks as graph builders: layers, initialisers, losses. They know programs; they know no data."""

from backpass.nn.layers import ACTIVATIONS, Dense
from backpass.nn.losses import LOSSES, add_cost, default_loss
from backpass.nn.network import Network

__all__ = ["ACTIVATIONS", "LOSSES", "Dense", "Network", "add_cost", "default_loss"]
