"""Prompts that no cache knows, and the figures of a turn."""

import pytest

from bench.load import Sample
from bench.prompts import WORDS, Prompts
from bench.starts import ALL
from bench.workloads import (
    decode_tok_s,
    first_token_ms,
    later_first_token_ms,
    prefill_tok_s,
    total_tok_s,
    whole_s,
)


def test_no_prompt_is_given_twice_and_all_are_equally_long() -> None:
    prompts = Prompts(1)
    given = [prompts.new(12) for _ in range(2000)]
    assert len({str(chat) for chat in given}) == 2000
    assert {len(message["content"].split()) for chat in given for message in chat[:1]} == {13}
    assert len({chat[1]["content"] for chat in given}) == 1


def test_short_prompts_are_unique_as_long_as_there_are_any() -> None:
    prompts = Prompts(1)
    assert len({prompts.new(1)[0]["content"] for _ in WORDS}) == len(WORDS)


def test_a_seed_gives_its_prompts_again_and_another_one_does_not() -> None:
    first, again, other = Prompts(1).new(12), Prompts(1).new(12), Prompts(2).new(12)
    assert first == again
    assert first != other


def test_a_program_is_a_chain_of_new_names() -> None:
    program, name = Prompts(1).program(4)
    lines = program.splitlines()
    assert len(lines) == 5
    assert lines[0] == f"def build({name}):"
    assert lines[1].endswith(f"({name})")
    assert lines[-1].split()[1] == lines[-2].split()[0]


def test_workloads_have_names_of_their_own() -> None:
    assert len({workload.name for workload in ALL}) == len(ALL)


def test_figures_of_a_turn() -> None:
    samples = [Sample(10.0, 12.0, 10.5, 11.5, 40, 11), Sample(10.0, 14.0, 11.0, 13.0, 40, 21)]
    assert first_token_ms(samples) == pytest.approx(1000)
    assert decode_tok_s(samples) == pytest.approx(10)
    assert prefill_tok_s(samples) == pytest.approx(80)
    assert total_tok_s(samples) == pytest.approx(8)
    assert later_first_token_ms(samples) == pytest.approx(1000)
    assert whole_s(samples) == pytest.approx(4)


def test_no_figure_is_made_up() -> None:
    nothing = [Sample(10.0, 10.0)]
    assert {
        of(nothing) for of in (first_token_ms, later_first_token_ms, decode_tok_s, prefill_tok_s, total_tok_s)
    } == {None}
    assert decode_tok_s([Sample(10.0, 12.0, 11.0, 11.0, 40, 1)]) is None
