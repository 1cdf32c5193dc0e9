"""Task services: a request with a name in place of a prompt. Speaks no HTTP, and imports no inference library."""
