"""HTTP: one gate, and one file for each dialect."""
