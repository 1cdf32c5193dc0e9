"""The wire between the front and its workers."""
