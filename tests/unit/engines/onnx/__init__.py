"""The ONNX engine."""
