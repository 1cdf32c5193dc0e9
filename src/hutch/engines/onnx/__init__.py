"""The ONNX engine: ONNX Runtime in a worker process of its own."""

import os

# ONNX Runtime's wheels send telemetry unless they are told not to before they are imported, which is after this.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # noqa: TID251
