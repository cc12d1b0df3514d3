"""The forward pass of a step as units and links, and one recursion over all its paths."""
