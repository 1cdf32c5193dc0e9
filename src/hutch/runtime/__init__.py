"""What is running: queue, placement, supervision."""
