"""What a model needs for some requests only: made once, and anew where making it failed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hutch.engines.onnx import aids
from hutch.engines.onnx.aids import Aids, Facts
from hutch.engines.onnx.requests import Completion
from hutch.engines.onnx.text import Tokens
from tests.onnx_files import CHATML, write_llama


def test_what_failed_is_tried_again_and_what_was_made_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens(write_llama(tmp_path) / "tokenizer.json", eos=(2,))
    made: list[str] = []

    def failing_once(name: str) -> None:
        real, has_failed = getattr(aids, name), False

        def make(*given: Any) -> Any:
            nonlocal has_failed
            if not has_failed:
                has_failed = True
                raise OSError("no more processes")
            made.append(name)
            return real(*given)

        monkeypatch.setattr(aids, name, make)

    async def scenario() -> None:
        kept = Aids(Facts("m", tokens, CHATML, {}, 1, 64, tokens.size, {}))
        asked = Completion.parse({"prompt": "a", "json_schema": {"type": "object"}})
        for _ in range(2):  # guidance fails, and then the template's process
            with pytest.raises(OSError, match="no more processes"):
                await kept.chat()
        first = await kept.chat()
        assert await kept.chat() is first
        assert await kept.constraint(asked) is not None
        first._template.close()

    failing_once("Guidance")
    failing_once("ChatTemplate")
    asyncio.run(scenario())
    assert made == ["Guidance", "ChatTemplate"]
