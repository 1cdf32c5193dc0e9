"""Which models exist: blobs, manifests, and where they come from."""
