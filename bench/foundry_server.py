"""Foundry Local's REST server on a folder in ONNX Runtime GenAI's layout: `PYTHON foundry_server.py FOLDER PORT STATE`.

Runs in an environment of its own that has foundry-local-sdk. The folder is planted as a model that was downloaded, and
Foundry Local as if it had no network: it asks for its catalog in vain for some seconds, then takes the copy on disk.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # noqa: TID251  before the library is imported

from foundry_local_sdk import Configuration, FoundryLocalManager, LogLevel

NAME = "bench-generic-cpu"
MODEL = f"{NAME}:1"


def main() -> None:
    """Serve until standard input ends."""
    folder, port, state = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    cache = state / "cache" / "models"
    _plant(folder, cache)
    settings = Configuration(
        app_name="bench",
        app_data_dir=str(state),
        model_cache_dir=str(cache),
        web=Configuration.WebService(urls=f"http://127.0.0.1:{port}"),
        log_level=LogLevel.ERROR,
        disable_nonessential_telemetry=True,
    )
    FoundryLocalManager.initialize(settings)
    manager = FoundryLocalManager.instance
    manager.catalog.list_models()
    manager.catalog.get_model_variant(MODEL).load()
    manager.start_web_service()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


def _plant(folder: Path, cache: Path) -> None:
    place = cache / "local" / f"{NAME}-1"
    shutil.copytree(folder, place)
    (place / "inference_model.json").write_text(json.dumps({"Name": MODEL}))
    now = int(time.time())
    entry = {
        "id": MODEL,
        "name": NAME,
        "version": 1,
        "alias": "bench",
        "displayName": "bench",
        "uri": f"azureml://registries/azureml/models/{NAME}/versions/1",
        "providerType": "FoundryLocal",
        "publisher": "local",
        "modelType": "ONNX",
        "createdAt": now,
        "fileSizeMb": 0,
        "maxOutputTokens": 2048,
        "runtime": {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"},
        "intProperties": {"created_at_unix": now, "max_output_tokens": 2048},
        "stringProperties": {"type": "ONNX", "publisher": "local"},
    }
    known = {"version": 1, "savedAtUnix": now, "models": [entry]}
    (cache / "foundry.modelinfo.json").write_text(json.dumps(known))


if __name__ == "__main__":
    main()
