"""Tests of single parts, without models and processes."""
