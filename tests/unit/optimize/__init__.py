"""Tests of `hutch.optimize`."""
