"""How an engine's last words are told."""

from pathlib import Path

from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.runtime.worker import Worker

_PLAN = LaunchPlan("w", Endpoint(), num_ctx=8, num_slots=1, num_batch=8, num_ubatch=8, num_thread=1)


def test_the_engines_stamp_is_no_part_of_its_words(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("0.00.001.002 I loading\n0.00.006.485 E llama_model_load: error loading model\n")
    assert Worker(_PLAN, path)._last_words() == "llama_model_load: error loading model"
