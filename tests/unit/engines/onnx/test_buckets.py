"""Which texts go through an encoder together."""

from hypothesis import given
from hypothesis import strategies as st

from hutch.engines.onnx.buckets import MAX_ROWS, MAX_TOKENS, Waiting, step

LENGTHS = st.lists(st.integers(1, 2000), min_size=1, max_size=80)


@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_every_text_is_done_once_in_bounded_steps_of_little_padding(lengths: list[list[int]]) -> None:
    requests = [Waiting.of(each) for each in lengths]
    done: list[tuple[int, int]] = []
    names = list(range(len(requests)))
    while names:
        taken = [(names[number], index) for number, index in step([requests[name] for name in names])]
        sizes = [lengths[name][index] for name, index in taken]
        assert taken
        assert len(sizes) <= MAX_ROWS
        assert len(sizes) == 1 or len(sizes) * max(sizes) <= MAX_TOKENS
        assert min(sizes) >= min(0.74 * max(sizes), max(sizes) - 2)
        done += taken
        names = [name for name in (*names[1:], names[0]) if requests[name]]
    assert sorted(done) == [(name, index) for name, each in enumerate(lengths) for index in range(len(each))]


def test_the_first_request_leads_and_others_of_its_length_go_with_it() -> None:
    long, short, same = Waiting.of([100, 99, 5]), Waiting.of([3]), Waiting.of([98, 100])
    assert step([long, short, same]) == [(0, 1), (0, 0), (2, 0), (2, 1)]
    assert (len(long), len(short), len(same)) == (1, 1, 0)
    assert step([short, long]) == [(0, 0)]
    assert step([long]) == [(0, 2)]


def test_short_texts_fill_a_step_though_they_are_not_of_one_length() -> None:
    assert len(step([Waiting.of([3, 4, 5] * 20)])) == MAX_ROWS
