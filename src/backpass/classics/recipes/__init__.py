"""How classics are run: a file a family. A recipe is a function ``(classic, told) -> Measured``."""
