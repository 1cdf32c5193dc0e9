"""`/tokenize`, `/detokenize`, `/apply-template` and `/tokenizer_info`: texts as tokens, and what a model is really sent."""

import asyncio

from starlette.responses import JSONResponse, Response

from hutch.api.limits import MAX_TEXT_CHARS
from hutch.api.openai_wire import OPENAI, OpenAIDialect
from hutch.api.route import Call, Route
from hutch.api.tokens_wire import DetokenizeBody, TemplateBody, TokenizeBody, numbered
from hutch.core.access import Action, Principal
from hutch.core.backend import Backend
from hutch.core.errors import BadInput
from hutch.core.names import ModelName


class Tokens:
    """The routes, and the backend whose models have the tokenizers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        post, infer = ("POST",), Action.INFER
        of_tokens = OpenAIDialect("tokens")
        summary = "What begins and ends a model's texts"
        return (
            Route(post, "/tokenize", infer, self.tokenize, OPENAI, TokenizeBody, summary="Text into tokens"),
            Route(
                post,
                "/detokenize",
                infer,
                self.detokenize,
                of_tokens,
                DetokenizeBody,
                summary="Tokens into text",
            ),
            Route(
                post,
                "/apply-template",
                infer,
                self.apply_template,
                OPENAI,
                TemplateBody,
                summary="The text that a model is sent for a conversation",
            ),
            Route(("GET",), "/tokenizer_info", infer, self.info, OPENAI, summary=summary),
        )

    async def tokenize(self, call: Call) -> Response:
        """Take a text apart, or the text that a conversation becomes."""
        body: TokenizeBody = call.body
        headers, given = body.ignored(), body.given()
        name = self._name(call.who, body.model)
        if given == "content":
            found = await self._backend.tokenizer.tokenize(
                name,
                body.content or "",
                add_special=bool(body.add_special),
                parse_special=body.parse_special is not False,
                with_pieces=bool(body.with_pieces),
            )
            tokens = (
                await asyncio.to_thread(numbered, found.ids, found.pieces) if body.with_pieces else found.ids
            )
            return JSONResponse({"tokens": tokens}, headers=headers)
        text = body.prompt or ""
        if given == "messages":
            request = body.conversation(name.short)
            text = await self._backend.render(request, opens_answer=body.opens_answer)
            if len(text) > MAX_TEXT_CHARS:
                raise BadInput(
                    f"messages: they come to more than {MAX_TEXT_CHARS:,} characters", param="messages"
                )
        found = await self._backend.tokenizer.tokenize(
            name,
            text,
            add_special=given == "messages" or body.add_special_tokens is not False,
            with_pieces=bool(body.return_token_strs),
        )
        words = [piece.decode(errors="replace") for piece in found.pieces] if body.return_token_strs else None
        reply = {
            "count": len(found.ids),
            "max_model_len": found.num_ctx,
            "tokens": found.ids,
            "token_strs": words,
        }
        return JSONResponse(reply, headers=headers)

    async def detokenize(self, call: Call) -> Response:
        """Put tokens together. llama.cpp's clients read `content`, vLLM's read `prompt`."""
        body: DetokenizeBody = call.body
        headers, tokens = body.ignored(), body.checked()
        text = await self._backend.tokenizer.detokenize(self._name(call.who, body.model), tokens)
        return JSONResponse({"content": text, "prompt": text}, headers=headers)

    async def apply_template(self, call: Call) -> Response:
        """Write a conversation as the model would read it, and ask nothing."""
        body: TemplateBody = call.body
        headers = body.ignored()
        request = body.conversation(self._name(call.who, body.model).short)
        text = await self._backend.render(request, opens_answer=body.opens_answer)
        return JSONResponse({"prompt": text}, headers=headers)

    async def info(self, call: Call) -> Response:
        """What vLLM's clients ask of a tokenizer before they use it."""
        name = self._name(call.who, call.request.query_params.get("model"))
        found = await self._backend.tokenizer.special_tokens(name)
        return JSONResponse(
            {
                "bos_token": found.bos_token or None,
                "eos_token": found.eos_token or None,
                "chat_template": found.chat_template or None,
                "model_max_length": found.num_ctx,
            }
        )

    def _name(self, who: Principal, given: str | None) -> ModelName:
        """The model that is named; where none is, the one that is loaded. Raises BadInput where that is not one."""
        if given:
            return ModelName.parse(given)
        loaded = [each.model.name for each in self._backend.running() if who.may_use(each.model.name)]
        if len(loaded) != 1:
            count = "no model is" if not loaded else f"{len(loaded)} models are"
            raise BadInput(
                f"model: none is named, and {count} loaded",
                hint="Name one in `model`; only where a single one is loaded, that is meant.",
                param="model",
            )
        return loaded[0]
