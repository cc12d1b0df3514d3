"""The loss on an input along a whole run, and what each training row did to it."""
