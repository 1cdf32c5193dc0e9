"""What other programs take from a model that is served. To be run on a machine that does nothing else."""

from pathlib import Path

import pytest

from bench import outside_load
from tests.conftest import EVERY_ENGINE, MODEL


@pytest.mark.slow
@pytest.mark.timeout(600)
@EVERY_ENGINE
def test_decode_keeps_its_part_of_the_machine_beside_two_busy_processes(models_dir: Path) -> None:
    (pairs,) = outside_load.measured(models_dir, MODEL, [{}], num_busy=2, num_rounds=5)
    assert outside_load.kept(pairs) >= outside_load.TARGET
