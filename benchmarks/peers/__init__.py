"""The parts of `benchmarks/peers.py`: what a training step costs here, and what it costs elsewhere."""
