"""Load and speed measurements, run by hand on a quiet machine."""
