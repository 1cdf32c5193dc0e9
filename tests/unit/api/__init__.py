"""The HTTP front without sockets."""
