"""Worker processes that hold a model, and the one client that talks to them."""
