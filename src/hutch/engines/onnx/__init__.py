"""The ONNX engine: models in ONNX Runtime GenAI's layout, decoded many at once."""
