"""Tests of the engines: which there are, and how one is built."""
