"""Tests of hutch.cli."""
