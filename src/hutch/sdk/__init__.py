"""The clients for programs in Python: `hutch.Client` and `hutch.AsyncClient`."""
