"""What was tuned, kept, and used again or not."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hutch.config import Settings
from hutch.core.chat import LoadOptions
from hutch.core.errors import FormatError
from hutch.engines.protocol import LaunchPlan
from hutch.formats.gguf import GGUF, Tensor
from hutch.runtime import machine, tuned
from hutch.runtime.launch import launch_plan, said_of_tuned, serves, with_tuned
from hutch.runtime.tuned import DEFAULTS, Finding, Tunings, Values
from tests.unit.runtime.things import facts, model, onnx_facts

VALUES = Values(num_thread=3, num_ubatch=128, flash_attention=False, repack=False)


def plan(values: Values = DEFAULTS, asked: LoadOptions | None = None, **settings: Any) -> LaunchPlan:
    given, asked = model(parameters=settings.pop("own", {})), asked or LoadOptions()
    made = launch_plan(given, facts(), asked, Settings(**settings))
    return with_tuned(made, values, said_of_tuned(given, asked, Settings(**settings)))


def finding(values: Values = VALUES, /, **conditions: Any) -> Finding:
    return Finding(
        {**tuned.conditions(plan()), **conditions},
        values,
        "tiny:latest",
        1.25,
        True,
        "2026-01-01T00:00:00+00:00",
    )


@pytest.mark.parametrize(
    ("asked", "settings", "gets"),
    [
        (None, {}, (3, 512, 128, False, False)),
        (LoadOptions(num_thread=2), {}, (2, 512, 128, False, False)),
        (None, {"own": {"num_thread": 2}}, (2, 512, 128, False, False)),
        (None, {"num_thread": 2}, (2, 512, 128, False, False)),
        (LoadOptions(num_batch=1024), {}, (3, 1024, 1024, False, False)),
        (None, {"own": {"num_batch": 256}}, (3, 256, 256, False, False)),
        (None, {"flash_attention": True}, (3, 512, 128, True, False)),
        (None, {"kv_cache_type": "q8_0"}, (3, 512, 128, None, False)),
    ],
)
def test_tuned_values_count_where_nobody_says_otherwise(
    asked: LoadOptions | None, settings: dict[str, Any], gets: tuple[Any, ...]
) -> None:
    found = plan(VALUES, asked, **settings)
    assert (found.num_thread, found.num_batch, found.num_ubatch, found.flash_attention, found.repack) == gets
    assert "repack" in found.tuned
    assert all(getattr(found, name) == getattr(VALUES, name) for name in found.tuned)


def test_a_plan_without_tuned_values_is_as_it_was() -> None:
    assert (plan().tuned, plan().repack) == ((), None)


def test_slots_have_equal_parts_of_a_tuned_batch() -> None:
    assert plan(Values(num_ubatch=128), num_parallel=3).num_ubatch == 129


def test_an_embedding_model_computes_a_text_at_once_whatever_was_tuned(tmp_path: Path) -> None:
    given = facts(general__architecture="bert", bert__context_length=4096)
    tuned.keep(tuned.place(tmp_path, given), finding())
    assert Tunings(tmp_path).values("tiny", plan(), given) == DEFAULTS


def test_a_text_that_needs_a_whole_batch_has_the_model_loaded_for_it() -> None:
    small = plan(Values(num_ubatch=128))
    asked = LoadOptions(num_batch=512)
    assert serves(small, LoadOptions(), small)
    assert not serves(small, asked, small)
    assert serves(plan(Values(num_ubatch=128), asked), asked, small)


def test_what_was_found_is_used_under_the_same_conditions_and_by_models_of_the_same_shape(
    tmp_path: Path,
) -> None:
    path = tuned.place(tmp_path, facts())
    assert Tunings(tmp_path).values("tiny", plan(), facts()) == DEFAULTS
    tuned.keep(path, finding())
    assert Tunings(tmp_path).values("tiny", plan(), facts()) == VALUES
    assert Tunings(tmp_path).values("other", plan(), facts(general__name="other")) == VALUES
    wider = replace(facts(), tensors=(Tensor("output.weight", (8, 8), "Q4_0", 0, 32),))
    assert Tunings(tmp_path).values("wider", plan(), wider) == DEFAULTS
    assert Tunings(tmp_path).values("folder", replace(plan(), engine="onnx"), onnx_facts()) == DEFAULTS
    assert tuned.NOTHING.values("tiny", plan(), facts()) == DEFAULTS


@pytest.mark.parametrize("name", list(tuned.conditions(plan())))
def test_what_was_found_under_other_conditions_is_not_used_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    tuned.keep(tuned.place(tmp_path, facts()), finding(VALUES, **{name: "another"}))
    tunings = Tunings(tmp_path)
    for _ in range(2):
        assert tunings.values("tiny", plan(), facts()) == DEFAULTS
    (told,) = caplog.messages
    assert told == (
        f"tiny was tuned for another {name.replace('_', ' ')}, which is not used: run `hutch tune tiny`"
    )


def test_each_engine_has_its_finding_and_a_new_one_replaces_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tuned.place(tmp_path, facts())
    others = Values(num_thread=1)
    tuned.keep(path, finding(others, engine="built"))
    tuned.keep(path, finding(Values(num_thread=7)))
    tuned.keep(path, finding())
    assert [each.values for each in tuned.read(path)] == [others, VALUES]
    binary = tmp_path / "llama-server"
    binary.write_bytes(b"x")
    built = replace(plan(), binary=str(binary))
    tuned.keep(path, Finding(tuned.conditions(built), others, "tiny:latest", 1.1, True, "2026"))
    assert Tunings(tmp_path).values("tiny", built, facts()) == others
    monkeypatch.setattr(machine, "num_cores", lambda: 64)
    assert Tunings(tmp_path).values("tiny", built, facts()) == DEFAULTS


def told(**changes: Any) -> str:
    each = finding()._asdict() | {"values": {"num_thread": 3}} | changes
    return json.dumps({"version": 1, "findings": [each]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"version": 2, "findings": []}',
        '{"version": 1, "findings": []}',
        json.dumps({"version": 1, "findings": [1]}),
        told(values={"num_thread": 0}),
        told(values={"num_thread": 1025}),
        told(values={"num_thread": True}),
        told(values={"num_thread": "3"}),
        told(values={"num_batch": 1 << 40}),
        told(values={"num_ubatch": 1024}),
        told(values={"flash_attention": "no"}),
        told(values={"repack": 1}),
        told(values={"weights": "/etc/passwd"}),
        told(conditions=[]),
        told(model=3),
        told(gain="much"),
        told(is_whole=1),
        told(more=1),
        "x" * (300 << 10),
    ],
)
def test_a_file_that_is_damaged_or_means_harm_is_not_used_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = tuned.place(tmp_path, facts())
    path.write_text(text)
    with pytest.raises(FormatError):
        tuned.read(path)
    tunings = Tunings(tmp_path)
    for _ in range(2):
        assert tunings.values("tiny", plan(), facts()) == DEFAULTS
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(f"what was tuned for tiny is not used: {path}")
    tuned.keep(path, finding())
    assert tunings.values("tiny", plan(), facts()) == VALUES


def test_a_file_that_cannot_be_read_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tuned.place(tmp_path, facts()).mkdir()
    assert Tunings(tmp_path).values("tiny", plan(), facts()) == DEFAULTS
    assert len(caplog.messages) == 1


def test_a_finding_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tuned.place(tmp_path, facts())
    tuned.keep(path, finding())
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_engine_that_is_gone_has_no_finding(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tuned.keep(tuned.place(tmp_path, facts()), finding())
    gone = replace(plan(), binary=str(tmp_path / "gone"))
    assert Tunings(tmp_path).values("tiny", gone, facts()) == DEFAULTS
    assert "not used" in caplog.text


def test_facts_of_a_gguf_file_have_a_place(tmp_path: Path) -> None:
    given: GGUF = facts()
    assert tuned.place(tmp_path, given).parent == tmp_path
