"""Places to pull from: one module for each kind, found by the table in hutch.store.pull."""
