"""The devices that llama.cpp can use here, as one line of JSON: `python -m hutch.engines.llama_cpp_devices`."""

import importlib.metadata
import json


def main() -> None:
    """Ask the engine that comes with Hutch, and print what it says."""
    import xllamacpp as engine  # noqa: PLC0415  # only here: the front must be able to name this module

    devices = [
        {
            "name": device["name"],
            "description": device["description"],
            "kind": device["type"].name.rsplit("_", 1)[-1].lower(),
            "memory_bytes": int(device["memory_total"]),
            "free_bytes": int(device["memory_free"]),
        }
        for device in engine.get_device_info()
    ]
    version = importlib.metadata.version("xllamacpp")
    print(json.dumps({"version": version, "build": engine.get_system_info(), "devices": devices}))


if __name__ == "__main__":
    main()
