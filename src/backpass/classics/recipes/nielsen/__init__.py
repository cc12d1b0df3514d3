"""Nielsen's book, Neural Networks and Deep Learning (2015): its curves, and its nets."""
