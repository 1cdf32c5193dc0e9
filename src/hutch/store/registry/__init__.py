"""Registries: models fetched from and sent to servers that speak Ollama's protocol, which is that of OCI registries."""
