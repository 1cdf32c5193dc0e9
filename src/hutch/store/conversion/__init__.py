"""Folders of safetensors, as Hugging Face lays them out, into GGUF."""
