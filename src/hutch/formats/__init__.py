"""Bytes on disk into facts, with every bound checked before an engine sees them."""
