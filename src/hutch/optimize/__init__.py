"""Finds the variant of a model that is fastest on this machine and still close enough to its source."""
