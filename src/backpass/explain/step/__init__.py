"""One number of a visited step: how it is named, how the program writes it, a second route to it."""
