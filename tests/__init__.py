"""The tests of Hutch."""
