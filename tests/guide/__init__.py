"""The deployment guide's own commands, files and requests."""
