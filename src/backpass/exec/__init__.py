"""Executors: what turns a Graph into numbers. They know nothing of networks, data or training."""
