"""Tests with real files, processes and models."""
