"""Rumelhart, Hinton & Williams, 1986: chapter 8 of Parallel Distributed Processing,
and their letter to Nature."""
