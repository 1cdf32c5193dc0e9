"""Messages into text."""
