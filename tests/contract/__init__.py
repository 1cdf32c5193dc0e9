"""What clients can rely on: every dialect's requests and replies, byte by byte."""
