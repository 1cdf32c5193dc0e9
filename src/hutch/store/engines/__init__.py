"""The engines of this installation: which there are, which is used, and how one is built here."""
