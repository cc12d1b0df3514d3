"""The update of a weight as a sum: of one step by part and by example, and of a whole run."""
