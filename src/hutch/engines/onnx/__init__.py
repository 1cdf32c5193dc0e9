"""The ONNX engine: ONNX Runtime in a worker process of its own."""
