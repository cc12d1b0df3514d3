"""How what a method needs grows with the number of weights: `backpass race scaling`."""

from backpass.rivals.scaling.growth import Scaling, scaling

__all__ = ["Scaling", "scaling"]
