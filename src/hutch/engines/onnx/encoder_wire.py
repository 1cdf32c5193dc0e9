"""What a worker with an encoder answers, in llama-server's words: JSON in, JSON out. Knows no HTTP.

What it raises is a HutchError, which the server turns into a reply.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import tokenizers

from hutch.core.errors import BadInput, ContextExceeded, FormatError, NotBuilt
from hutch.engines.onnx.encoder import Encoder, Text
from hutch.engines.onnx.encoder_batch import EncoderBatch
from hutch.formats.ggml_numbers import Floats

JsonDict = dict[str, Any]
MAX_TEXTS = 4096
_LONG = 1 << 15  # characters: to take them apart keeps the event loop for some milliseconds


class EncoderWire:
    """The routes of one encoder."""

    def __init__(self, encoder: Encoder, folder: Path, num_ctx: int | None = None) -> None:
        """Load the tokenizer in `folder`; `num_ctx` may make texts shorter than the model takes. Raises FormatError."""
        self._encoder = encoder
        self._batch = EncoderBatch(encoder)
        self._tokenizer = _tokenizer(folder / "tokenizer.json")
        self._vocabulary = self._tokenizer.get_vocab_size()
        self._max_tokens = min(num_ctx or encoder.config.max_tokens, encoder.config.max_tokens)
        self.posts: Mapping[str, Callable[[JsonDict], Awaitable[Any]]] = {
            "/v1/embeddings": self._embeddings,
            "/embeddings": self._embeddings,
            "/embedding": self._embedding,
            "/rerank": self._rerank,
            "/v1/rerank": self._rerank,
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
        }
        self.streams: Mapping[str, Callable[[JsonDict], Awaitable[NoReturn]]] = {}  # nothing is generated
        self.gets: Mapping[str, Callable[[], Any]] = {"/props": self._props, "/slots": self._slots}

    def close(self) -> None:
        """End the encoder's thread."""
        self._batch.close()

    async def _embeddings(self, body: JsonDict) -> JsonDict:
        texts = await self._texts(body.get("input"))
        write = _writer(body.get("encoding_format"))
        vectors = await self._vectors(texts)
        data = [
            {"object": "embedding", "index": index, "embedding": write(vector)}
            for index, vector in enumerate(vectors)
        ]
        return {"object": "list", "data": data, "usage": _usage(texts)}

    async def _embedding(self, body: JsonDict) -> list[JsonDict]:
        texts = await self._texts(body.get("content", body.get("input")))
        vectors = await self._vectors(texts)
        return [{"index": index, "embedding": [vector.tolist()]} for index, vector in enumerate(vectors)]

    async def _vectors(self, texts: Sequence[Text]) -> Floats:
        if self._encoder.config.is_reranker:
            raise BadInput("this model ranks documents and makes no vectors", hint="Ask it at /rerank.")
        return await self._batch.run(texts)

    async def _rerank(self, body: JsonDict) -> JsonDict:
        if not self._encoder.config.is_reranker:
            raise BadInput(
                "this model makes vectors and ranks no documents", hint="Ask it at /v1/embeddings."
            )
        query, documents, top_n = body.get("query"), body.get("documents"), body.get("top_n")
        if not isinstance(query, str) or not query:
            raise BadInput("query: a text is needed", param="query")
        if not isinstance(documents, list) or not all(isinstance(each, str) for each in documents):
            raise BadInput("documents: a list of texts is needed", param="documents")
        if not 0 < len(documents) <= MAX_TEXTS:
            raise BadInput(f"documents: 1 to {MAX_TEXTS} are needed", param="documents")
        if top_n is not None and (type(top_n) is not int or top_n < 1):
            raise BadInput("top_n: a positive integer is needed", param="top_n")
        pairs = await self._pairs(query, documents)
        scores = (await self._batch.run(pairs))[:, 0].tolist()
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        results = [{"index": index, "relevance_score": scores[index]} for index in order[:top_n]]
        return {"object": "list", "results": results, "usage": _usage(pairs)}

    async def _tokenize(self, body: JsonDict) -> JsonDict:
        content = body.get("content", "")
        if not isinstance(content, str):
            raise BadInput("content: a text is needed", param="content")
        if body.get("parse_special") is False:
            raise NotBuilt("parse_special: false is not built for encoders", param="parse_special")
        (encoded,) = await self._encoded([content], add_special=body.get("add_special") is True)
        if body.get("with_pieces") is True:
            pieces = zip(encoded.ids, encoded.tokens, strict=True)
            return {"tokens": [{"id": token, "piece": piece} for token, piece in pieces]}
        return {"tokens": encoded.ids}

    async def _detokenize(self, body: JsonDict) -> JsonDict:
        ids = self._ids(body.get("tokens"), "tokens")
        return {"content": self._tokenizer.decode(list(ids), skip_special_tokens=False)}

    def _props(self) -> JsonDict:
        return {
            "default_generation_settings": {"n_ctx": self._max_tokens},
            "total_slots": 1,
            "media_marker": "",
            "pooling_type": "rank" if self._encoder.config.is_reranker else self._encoder.config.pooling,
            "engine": self._encoder.report,
        }

    def _slots(self) -> list[JsonDict]:
        return [{"id": 0, "n_ctx": self._max_tokens, "is_processing": self._batch.num_requests > 0}]

    async def _texts(self, given: Any) -> list[Text]:
        """The inputs as tokens. Raises BadInput, or ContextExceeded where one is longer than the model takes."""
        items = given if isinstance(given, list) and not all(type(each) is int for each in given) else [given]
        if len(items) > MAX_TEXTS:
            raise BadInput(f"input: more than {MAX_TEXTS} texts", param="input")
        words = [item for item in items if isinstance(item, str)]
        encoded = iter(await self._encoded(words))
        found = [
            _text(next(encoded)) if isinstance(item, str) else self._given(item, f"input.{index}")
            for index, item in enumerate(items)
        ]
        for text in found:
            if len(text.ids) > self._max_tokens:
                raise ContextExceeded(
                    "the input is longer than the model takes",
                    prompt_tokens=len(text.ids),
                    num_ctx=self._max_tokens,
                )
        return found

    def _given(self, ids: Any, name: str) -> Text:
        known = self._ids(ids, name)
        return Text(known, [0] * len(known))

    def _ids(self, ids: Any, name: str) -> Sequence[int]:
        if not isinstance(ids, list) or not ids:
            raise BadInput(f"{name}: a text, or a list of token ids, is needed", param=name)
        if not all(type(each) is int and 0 <= each < self._vocabulary for each in ids):
            raise BadInput(f"{name}: token ids are from 0 to {self._vocabulary - 1}", param=name)
        return ids

    async def _pairs(self, query: str, documents: Sequence[str]) -> list[Text]:
        """The query with each document; of those that are too long, the document's end is cut off.

        Raises ContextExceeded where the query alone leaves no room.
        """
        (asked,) = await self._encoded([query], add_special=False)
        room = self._max_tokens - len(asked.ids) - self._tokenizer.num_special_tokens_to_add(is_pair=True)
        if room < 1:
            raise ContextExceeded(
                "the query is longer than the model takes",
                prompt_tokens=len(asked.ids),
                num_ctx=self._max_tokens,
            )
        pairs = []
        for document in await self._encoded(documents, add_special=False):
            document.truncate(room)
            pairs.append(_text(self._tokenizer.post_process(asked, document)))
        return pairs

    async def _encoded(self, texts: Sequence[str], *, add_special: bool = True) -> list[tokenizers.Encoding]:
        def encode() -> list[tokenizers.Encoding]:
            return self._tokenizer.encode_batch(list(texts), add_special_tokens=add_special)

        return encode() if sum(map(len, texts)) < _LONG else await asyncio.to_thread(encode)


def _tokenizer(path: Path) -> tokenizers.Tokenizer:
    try:
        found = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # its only class for a file that it cannot read
        raise FormatError(f"tokenizer.json cannot be read: {str(error)[:300]}") from error
    found.no_truncation()  # files come with those of the maker's last training
    found.no_padding()
    return found


def _text(encoded: tokenizers.Encoding) -> Text:
    return Text(encoded.ids, encoded.type_ids)


def _writer(encoding_format: object) -> Callable[[Floats], Any]:
    if encoding_format not in (None, "float", "base64"):
        raise BadInput("encoding_format: it takes float or base64", param="encoding_format")
    if encoding_format == "base64":
        return lambda vector: base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return lambda vector: vector.tolist()


def _usage(texts: Sequence[Text]) -> JsonDict:
    total = sum(len(text.ids) for text in texts)
    return {"prompt_tokens": total, "total_tokens": total}
