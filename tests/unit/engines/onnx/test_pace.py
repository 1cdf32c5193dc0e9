"""How much of a prompt is read at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.engines.onnx.pace import Pace, _Cost


def learnt(token_s: float = 0.001, step_s: float = 0.015, rows: int = 7, max_chunk: int = 512) -> Pace:
    """A pace that has seen some steps."""
    pace = Pace(max_chunk)
    for _ in range(20):
        pace.prefilled(100, 100 * token_s)
        pace.decoded(rows, step_s)
    pace.chunk(1, 1, num_decoding=0, num_busy=1)  # nobody writes any more: nobody has been held up
    return pace


def test_a_long_prompt_leaves_others_within_three_times_their_pace() -> None:
    chunk = learnt().chunk(4000, 4000, num_decoding=7, num_busy=8)
    assert 0.015 + chunk * 0.001 <= 3 * 0.015
    assert chunk >= 16


def test_a_chunk_that_took_long_is_made_up_for_before_the_next_one() -> None:
    pace = learnt()
    pace.prefilled(16, 0.060)
    num_steps = 0
    while not pace.chunk(4000, 4000, num_decoding=7, num_busy=8):
        pace.decoded(7, 0.015)
        num_steps += 1
    assert (num_steps * 0.015 + 0.060) / num_steps <= 3 * 0.015
    assert num_steps == 3


def test_a_short_prompt_is_read_at_once_even_while_others_write() -> None:
    assert learnt().chunk(200, 200, num_decoding=7, num_busy=8) == 200


def test_what_is_short_goes_by_the_steps_where_they_are_slow() -> None:
    slow = learnt(token_s=0.01, step_s=0.15)
    assert slow.chunk(140, 140, num_decoding=7, num_busy=8) == 140
    assert slow.chunk(200, 200, num_decoding=7, num_busy=8) < 50


def test_many_short_prompts_do_not_make_a_longer_one_wait() -> None:
    pace = learnt(token_s=0.0005)
    for _ in range(50):
        pace.prefilled(6, 0.030 + 6 * 0.0005)
        pace.decoded(3, 0.030)
    pace.prefilled(80, 0.030 + 80 * 0.0005)
    assert pace.chunk(100, 100, num_decoding=3, num_busy=4) == 100
    assert pace.chunk(4000, 4000, num_decoding=3, num_busy=4) < 200


@given(st.lists(st.tuples(st.integers(1, 600), st.floats(1e-5, 10)), min_size=1, max_size=50))
def test_no_noise_makes_a_chunk_cost_nothing(chunks: list[tuple[int, float]]) -> None:
    cost = _Cost()
    for num_tokens, took_s in chunks:
        cost.learn(num_tokens, took_s)
    assert cost.token_s > 0
    assert cost.chunk_s >= -1e-9 * cost.of(1000)


def test_with_nobody_waiting_a_chunk_takes_a_quarter_of_a_second() -> None:
    assert learnt(token_s=0.002).chunk(4000, 4000, 0, 1) == 112
    assert learnt(token_s=0.0001).chunk(4000, 4000, 0, 1) == 512


def test_before_anything_is_known_a_chunk_is_small() -> None:
    assert Pace(512).chunk(4000, 4000, 7, 8) == 64


def test_a_number_of_rows_that_was_not_seen_goes_by_the_nearest() -> None:
    assert learnt(rows=2).chunk(4000, 4000, 7, 8) == learnt(rows=7).chunk(4000, 4000, 7, 8)


@given(st.integers(1, 5000), st.integers(1, 600), st.integers(0, 8), st.booleans())
def test_chunks_never_end_in_a_single_token(num: int, max_chunk: int, num_decoding: int, knows: bool) -> None:
    pace = learnt(max_chunk=max_chunk) if knows else Pace(max_chunk)
    left = num
    while left:
        chunk = pace.chunk(left, num, num_decoding, 8)
        assert 0 < chunk <= left
        assert left == num == 1 or chunk > 1
        left -= chunk


@pytest.mark.parametrize("max_chunk", [1, 16, 512])
def test_a_chunk_is_no_larger_than_was_asked_for(max_chunk: int) -> None:
    assert learnt(max_chunk=max_chunk).chunk(4000, 4000, 0, 1) <= max(16, max_chunk)
