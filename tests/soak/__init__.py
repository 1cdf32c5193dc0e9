"""A long mixed load against a real server."""
