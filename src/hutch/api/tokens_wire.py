"""Tokens as JSON, in llama.cpp's words and in vLLM's. Both have the same paths: the fields of a request tell them apart."""

from dataclasses import replace
from typing import Any

from pydantic import Field

from hutch.api.limits import MAX_MESSAGES, MAX_TEXT_CHARS, MAX_TOKENS, checked_token_ids
from hutch.api.openai_wire import ChatBody, ChatMessage, JsonDict
from hutch.api.route import Wire, ignored_header
from hutch.core.chat import GenerateRequest
from hutch.core.errors import BadInput, NotBuilt

_NOT_BUILT = ("chat_template", "media_io_kwargs", "mm_processor_kwargs")


class ModelBody(Wire):
    """A body about a model. Clients of servers that have one model name none."""

    model_config = Wire.model_config | {"extra": "allow"}

    model: str | None = None

    def ignored(self) -> dict[str, str]:
        """A header that names parameters nobody has documented. Raises NotBuilt for documented ones not built."""
        extra = self.model_extra or {}
        for name in _NOT_BUILT:
            if extra.get(name):
                raise NotBuilt(f"{name}: it is not supported", hint=f"Leave `{name}` out.", param=name)
        names = sorted(name for name in extra if name not in _NOT_BUILT)
        return ignored_header(names)


class _Conversation(ModelBody):
    messages: list[ChatMessage] | None = Field(None, max_length=MAX_MESSAGES)
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    @property
    def opens_answer(self) -> bool:
        """Whether the text goes on to where the answer begins."""
        return self.add_generation_prompt is not False

    def conversation(self, model: str) -> GenerateRequest:
        """The messages as a request to this model. Raises BadInput."""
        if self.continue_final_message:
            raise NotBuilt(
                "continue_final_message: true is not supported",
                hint="Leave `continue_final_message` out.",
                param="continue_final_message",
            )
        request = ChatBody(model=model, messages=self.messages or [], tools=self.tools).internal()
        if any(message.images for message in request.messages or ()):
            raise NotBuilt("messages: images have no text", hint="Leave them out.", param="messages")
        return replace(request, think=self._think(), needs_thinking=False)

    def _think(self) -> bool | None:
        options = self.chat_template_kwargs or {}
        for name in options:
            if name != "enable_thinking" or not isinstance(options[name], bool):
                raise NotBuilt(
                    f"chat_template_kwargs: {name[:40]!a} is not supported",
                    hint="It takes enable_thinking, true or false.",
                    param="chat_template_kwargs",
                )
        return options.get("enable_thinking")


class TokenizeBody(_Conversation):
    """`POST /tokenize`: llama.cpp's with `content`, vLLM's with `prompt` or `messages`."""

    content: str | None = Field(None, max_length=MAX_TEXT_CHARS)
    add_special: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None
    prompt: str | None = Field(None, max_length=MAX_TEXT_CHARS)
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None

    def given(self) -> str:
        """Which of the three holds what is to be taken apart. Raises BadInput."""
        names = [name for name in ("content", "prompt", "messages") if getattr(self, name) is not None]
        if len(names) != 1:
            raise BadInput(
                f"{' and '.join(names)}: only one of them can be taken apart"
                if names
                else "there is no text",
                hint="Send `content` as to llama.cpp, or `prompt` or `messages` as to vLLM.",
                param=names[0] if names else "prompt",
            )
        if names == ["messages"] and self.add_special_tokens:
            raise NotBuilt(
                "add_special_tokens: the tokens of messages are always those that the model is sent",
                hint="Leave `add_special_tokens` out.",
                param="add_special_tokens",
            )
        return names[0]


class DetokenizeBody(ModelBody):
    """`POST /detokenize`."""

    tokens: list[int] = Field(max_length=MAX_TOKENS)

    def checked(self) -> tuple[int, ...]:
        """The tokens. Raises BadInput for numbers that are no tokens of any model."""
        return checked_token_ids(self.tokens, "tokens")


class TemplateBody(_Conversation):
    """`POST /apply-template`, of llama.cpp."""

    messages: list[ChatMessage] | None = Field(max_length=MAX_MESSAGES)


def piece_json(piece: bytes) -> str | list[int]:
    """A token's text, or where it is no whole character its bytes, as llama.cpp gives them."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def numbered(ids: tuple[int, ...], pieces: tuple[bytes, ...]) -> list[JsonDict]:
    """Tokens with their pieces, as llama.cpp gives them."""
    return [{"id": token, "piece": piece_json(piece)} for token, piece in zip(ids, pieces, strict=True)]
