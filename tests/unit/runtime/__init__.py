"""Queue, placement and conversation, without processes."""
