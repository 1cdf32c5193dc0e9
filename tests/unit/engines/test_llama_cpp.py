"""How llama.cpp is started, as far as it decides who may find what another left there."""

import importlib

import pytest

from hutch.config import Settings
from hutch.core.chat import LoadOptions
from hutch.engines import llama_cpp
from hutch.runtime.launch import launch_plan
from tests.unit.runtime.things import facts, model

PLAN = launch_plan(model(), facts(), LoadOptions(), Settings())


def test_no_prompt_is_kept_outside_its_slot_and_the_front_alone_chooses_the_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = importlib.import_module("xllamacpp")
    monkeypatch.setattr(engine, "Server", lambda params: params)
    params = llama_cpp._serve(PLAN)
    assert isinstance(params, engine.CommonParams)
    assert (params.cache_ram_mib, params.cache_idle_slots, params.slot_prompt_similarity) == (0, False, 0.0)


def test_a_llama_server_of_ones_own_is_told_the_same() -> None:
    words = llama_cpp._arguments(PLAN)
    assert words[words.index("--cache-ram") + 1] == "0"
    assert words[words.index("-sps") + 1] == "0"
    assert "--no-cache-idle-slots" in words
