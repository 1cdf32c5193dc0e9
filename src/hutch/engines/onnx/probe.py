"""What ONNX Runtime can use here, as one line of JSON: `python -m hutch.engines.onnx.probe [PROVIDER]`.

Without a name: the version, and which providers are there to be asked. With one: what that provider offers. A
provider's library may crash, and then takes only this process with it.
"""

import importlib
import json
import sys
from importlib import metadata
from typing import Any


def main() -> None:
    """Look, and print what was found."""
    providers = importlib.import_module("hutch.engines.onnx.providers")
    told: Any
    if len(sys.argv) > 1:
        offered = providers.offer(sys.argv[1])
        told = offered._asdict() | {"devices": [device._asdict() for device in offered.devices]}
    else:
        told = {
            "version": _version("onnxruntime"),
            "genai_version": _version("onnxruntime-genai"),
            "installed": providers.installed(),
        }
    print(json.dumps(told))


def _version(package: str) -> str:
    """The version of a package or of one of its variants (-gpu, -cuda, …); "" where none is installed."""
    known = (
        package,
        *(f"{package}-{variant}" for variant in ("gpu", "cuda", "directml", "openvino", "winml")),
    )
    for name in known:
        try:
            return f"{metadata.version(name)}" + (f" ({name})" if name != package else "")
        except metadata.PackageNotFoundError:
            continue
    return ""


if __name__ == "__main__":
    main()
