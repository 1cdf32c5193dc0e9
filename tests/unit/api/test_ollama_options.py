"""The options of a request in Ollama's dialect."""

import pytest

from hutch.api.ollama_wire import options_of


@pytest.mark.parametrize("name", ["mirostat", "f16_kv", "tfs_z", "colour"])
def test_an_option_that_does_nothing_is_passed_over_with_a_line_in_the_log(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    sampling, _ = options_of({name: 1, "top_k": 3})
    assert sampling.top_k == 3
    assert caplog.messages == [f"invalid option provided: '{name}'"]
