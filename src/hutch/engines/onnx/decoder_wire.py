"""What a worker with a decoder answers, in llama-server's words. Knows no HTTP."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from hutch.core.errors import BadInput, ContextExceeded
from hutch.engines.onnx import states
from hutch.engines.onnx.aids import Aids, Facts
from hutch.engines.onnx.answer import Constraint, End, Event, Failed, Order, Sink
from hutch.engines.onnx.batch import Batcher
from hutch.engines.onnx.chat_writer import ChatWriter
from hutch.engines.onnx.completion_writer import CompletionWriter, JsonDict
from hutch.engines.onnx.requests import Completion
from hutch.engines.onnx.sampling import Sampler
from hutch.engines.onnx.text import Output

_LONG = 1 << 15  # characters: to take them apart would keep the event loop for some milliseconds


class Writer(Protocol):
    """Puts an answer's events into a dialect's words."""

    def stream(self, events: Iterable[Event]) -> bytes:
        """Some events as a part of a stream."""

    def whole(self, events: Iterable[Event]) -> JsonDict:
        """All events as one reply."""


class Reply:
    """An answer on its way to a client, or several choices. Close it, and its computing ends within one step."""

    def __init__(self, batcher: Batcher, choices: Sequence[tuple[Order, Writer]], *, is_stream: bool) -> None:
        self.is_stream = is_stream
        self._writers = [writer for _, writer in choices]
        self._news: asyncio.Queue[tuple[Writer, Sequence[Event]]] = asyncio.Queue()
        self._cancels = [batcher.submit(order, self._sink(writer)) for order, writer in choices]

    def close(self) -> None:
        """Give it up, if it has not ended."""
        for cancel in self._cancels:
            cancel()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The parts of a stream. Raises the error that ends it."""
        async for told in self._told():
            if piece := b"".join(writer.stream(events) for writer, events in told):
                yield piece

    async def whole(self) -> JsonDict:
        """The reply in one piece, of one choice. Raises the error that ends it."""
        return self._writers[0].whole(
            [event async for told in self._told() for _, events in told for event in events]
        )

    def _sink(self, writer: Writer) -> Sink:
        return lambda events: self._news.put_nowait((writer, events))

    async def _told(self) -> AsyncGenerator[list[tuple[Writer, Sequence[Event]]], None]:
        """What has come since last time, until every choice has ended."""
        left = len(self._writers)
        while left:
            told = [await self._news.get()]
            while not self._news.empty():
                told.append(self._news.get_nowait())
            for at, (_, events) in enumerate(told):
                last = events[-1]
                if isinstance(last, Failed):
                    if at:
                        yield told[:at]
                    raise last.error
                left -= isinstance(last, End)
            yield told


class DecoderWire:
    """The routes of one decoder: `posts` and `gets` give JSON, `streams` give a `Reply`."""

    def __init__(self, batcher: Batcher, facts: Facts) -> None:
        self._batcher = batcher
        self._facts = facts
        self._aids = Aids(facts)
        self.posts: Mapping[str, Callable[[JsonDict], Awaitable[Any]]] = {
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
            "/apply-template": self._apply_template,
            "/slots": self._slot_state,
        }
        self.gets: Mapping[str, Callable[[], Any]] = {"/props": self._props, "/slots": self._slots}
        self.streams: Mapping[str, Callable[[JsonDict], Awaitable[Reply]]] = {
            "/completion": self._completion,
            "/v1/chat/completions": self._chat_completion,
        }

    def close(self) -> None:
        """End the thread that computes."""
        self._batcher.close()

    async def _completion(self, body: JsonDict) -> Reply:
        asked = Completion.parse(body)
        facts = self._facts
        preserved = {token for text in asked.preserved if (token := facts.tokens.id_of(text)) is not None}
        first = await self._order(asked, preserved, await self._aids.constraint(asked))
        choices = [(first, CompletionWriter(asked, facts.tokens, len(first.prompt)))]
        for index in range(1, asked.num_choices):
            constraint = await self._aids.constraint(asked)
            order = self._further(first, asked, preserved, constraint, index)
            choices.append((order, CompletionWriter(asked, facts.tokens, len(first.prompt), index)))
        return Reply(self._batcher, choices, is_stream=asked.is_stream)

    async def _chat_completion(self, body: JsonDict) -> Reply:
        chat = await self._aids.chat()
        turn = await asyncio.to_thread(chat.open, body)
        asked = Completion.parse(_as_completion(body), (turn.prompt,), turn.images)
        facts = self._facts
        first = await self._order(asked, turn.preserved, turn.constraint)
        choices = [(first, ChatWriter(asked, facts.tokens, turn.reader(), facts.name))]
        for index in range(1, asked.num_choices):
            turn = await asyncio.to_thread(chat.open, body)
            order = self._further(first, asked, turn.preserved, turn.constraint, index)
            choices.append((order, ChatWriter(asked, facts.tokens, turn.reader(), facts.name, index)))
        return Reply(self._batcher, choices, is_stream=asked.is_stream)

    async def _apply_template(self, body: JsonDict) -> JsonDict:
        chat = await self._aids.chat()
        return {"prompt": await asyncio.to_thread(chat.prompt, body)}

    async def _order(
        self, asked: Completion, preserved: Collection[int], constraint: Constraint | None
    ) -> Order:
        """Everything that can be wrong with a request is found here, before it waits for its turn."""
        facts = self._facts
        if asked.num_choices > 1 and not asked.is_stream:
            raise BadInput("n_cmpl: several choices are given as a stream alone", param="n_cmpl")
        if asked.further_slots and len(asked.further_slots) != asked.num_choices - 1:
            raise BadInput("id_slots: each choice but the first needs one", param="id_slots")
        if max((asked.slot, *asked.further_slots)) >= facts.num_slots:
            raise BadInput(
                f"id_slot: there is no slot {asked.slot}; they are 0 to {facts.num_slots - 1}",
                param="id_slot",
            )
        prompt, prepare = await self._read(asked)
        if not prompt:
            raise BadInput("prompt: it has no tokens", hint="Send a text.", param="prompt")
        if len(prompt) >= facts.num_ctx:
            raise ContextExceeded(
                f"request ({len(prompt)} tokens) exceeds the available context size ({facts.num_ctx} tokens), "
                "try increasing it",
                prompt_tokens=len(prompt),
                num_ctx=facts.num_ctx,
            )
        return Order(
            prompt=prompt,
            sampler=Sampler(asked.sampling, facts.vocab_size),
            output=Output(facts.tokens, asked.stop, preserved),
            eos=facts.tokens.eos,
            num_predict=asked.num_predict,
            slot=asked.slot,
            reuse=asked.reuse and prepare is None,
            constraint=constraint,
            prepare=prepare,
        )

    def _further(
        self,
        first: Order,
        asked: Completion,
        preserved: Collection[int],
        constraint: Constraint | None,
        index: int,
    ) -> Order:
        """The order of another choice, which finds the prompt where the first one has read it."""
        facts, sampling = self._facts, asked.sampling
        if sampling.seed >= 0:
            sampling = replace(sampling, seed=sampling.seed + index)
        return replace(
            first,
            sampler=Sampler(sampling, facts.vocab_size),
            output=Output(facts.tokens, asked.stop, preserved),
            constraint=constraint,
            slot=asked.further_slots[index - 1] if asked.further_slots else -1,
            reuse=False,
            behind=first,
        )

    async def _read(self, asked: Completion) -> tuple[Sequence[int], Callable[[int], None] | None]:
        """The tokens of a prompt, and what has a row ready for them, if they need it."""
        tokens, sight, parts = self._facts.tokens, self._facts.sight, asked.prompt
        if asked.images and sight is None:
            raise BadInput("this model cannot see images", hint="Leave the images out.", param="prompt")
        if asked.images and sight is not None:
            prompt = "".join(map(str, parts))  # one text, where there are images
            return await asyncio.to_thread(sight.see, prompt, asked.images)
        if sum(len(part) for part in parts if isinstance(part, str)) < _LONG:
            return tokens.encode_mixed(parts), None
        return await asyncio.to_thread(tokens.encode_mixed, parts), None

    async def _tokenize(self, body: JsonDict) -> JsonDict:
        content = body.get("content", "")
        if not isinstance(content, str):
            raise BadInput("content: a text is needed", param="content")
        tokens = self._facts.tokens
        ids = await asyncio.to_thread(
            tokens.encode,
            content,
            add_special=body.get("add_special") is True,
            parse_special=body.get("parse_special") is not False,
        )
        if body.get("with_pieces") is True:
            return {"tokens": [{"id": token, "piece": _piece(tokens.bytes_of(token))} for token in ids]}
        return {"tokens": ids}

    async def _detokenize(self, body: JsonDict) -> JsonDict:
        ids = body.get("tokens")
        if not isinstance(ids, list) or not all(type(each) is int for each in ids):
            raise BadInput("tokens: a list of token ids is needed", param="tokens")
        tokens = self._facts.tokens
        if not all(0 <= each < tokens.size for each in ids):
            raise BadInput(f"tokens: this model's token ids are from 0 to {tokens.size - 1}", param="tokens")
        return {"content": tokens.decode(ids)}

    async def _slot_state(self, body: JsonDict) -> JsonDict:
        """Save or restore what a slot holds, as llama-server does it; a file is named by its number alone."""
        facts, slot, name = self._facts, body.get("id_slot"), body.get("filename")
        if type(slot) is not int or not 0 <= slot < facts.num_slots:
            raise BadInput(f"id_slot: slots are 0 to {facts.num_slots - 1}", param="id_slot")
        if not facts.state_folder or not isinstance(name, str) or not re.fullmatch("[0-9]{1,9}", name):
            raise BadInput(
                "filename: the number of a file is needed, and a folder to find it in", param="filename"
            )
        actions = {"save": (states.save, "n_saved"), "restore": (states.restore, "n_restored")}
        if body.get("action") not in actions:
            raise BadInput("action: save or restore", param="action")
        do, told = actions[body["action"]]
        path = Path(facts.state_folder, name)
        num = await self._batcher.between_steps(lambda rows: do(rows, slot, path))
        return {"id_slot": slot, "filename": name, told: num}

    def _props(self) -> JsonDict:
        facts = self._facts
        return {
            "default_generation_settings": {"n_ctx": facts.num_ctx},
            "total_slots": facts.num_slots,
            "media_marker": facts.marker,
            "bos_token": facts.template_tokens.get("bos_token", ""),
            "eos_token": facts.template_tokens.get("eos_token", ""),
            "engine": facts.engine,
        }

    def _slots(self) -> list[JsonDict]:
        written, held = self._batcher.num_written, self._batcher.num_held
        return [
            {
                "id": slot,
                "n_ctx": self._facts.num_ctx,
                "is_processing": slot in written,
                "n_prompt_tokens": held.get(slot, 0),
                "next_token": [{"n_decoded": written.get(slot, 0)}],
            }
            for slot in range(self._facts.num_slots)
        ]


def _as_completion(body: JsonDict) -> JsonDict:
    """A chat's body in the words of `/completion`. What its answer is held to is the chat's own affair."""
    said = {name: value for name, value in body.items() if name not in ("json_schema", "grammar", "regex")}
    if "n_predict" not in said:
        said["n_predict"] = said.get("max_tokens", said.get("max_completion_tokens"))
    if said.get("logprobs"):
        said["n_probs"] = said.get("top_logprobs") or 1
    return said


def _piece(piece: bytes) -> str | list[int]:
    """A token's text, or where it is no whole character its bytes, as llama-server gives them."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
