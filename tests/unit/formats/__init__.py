"""Tests of hutch.formats."""
