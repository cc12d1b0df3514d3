"""How good predictions are: metrics from plain arrays, and baselines to beat. It knows no network."""

from backpass.scoring.baselines import SCORED, baselines
from backpass.scoring.metrics import score

__all__ = ["SCORED", "baselines", "score"]
