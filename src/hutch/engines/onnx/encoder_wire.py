"""What a worker with an encoder answers, in llama-server's words: JSON in, JSON out. Knows no HTTP.

What it raises is a HutchError, which the server turns into a reply.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn

from tokenizers import Tokenizer

from hutch.core.errors import BadInput
from hutch.engines.onnx.encoder import Encoder, Text
from hutch.engines.onnx.encoder_batch import EncoderBatch
from hutch.engines.onnx.encoder_tokens import MAX_TEXTS, EncoderTokens
from hutch.formats.ggml_numbers import Floats

JsonDict = dict[str, Any]


class EncoderWire:
    """The routes of one encoder."""

    def __init__(self, encoder: Encoder, tokenizer: Tokenizer, num_ctx: int | None = None) -> None:
        """`num_ctx` may make texts shorter than the model takes."""
        self._encoder = encoder
        self._batch = EncoderBatch(encoder)
        self._max_tokens = min(num_ctx or encoder.config.max_tokens, encoder.config.max_tokens)
        self._tokens = EncoderTokens(tokenizer, encoder.num_tokens, self._max_tokens)
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
        texts = await self._tokens.texts(body.get("input"))
        write = _writer(body.get("encoding_format"))
        vectors = await self._vectors(texts)
        data = [
            {"object": "embedding", "index": index, "embedding": write(vector)}
            for index, vector in enumerate(vectors)
        ]
        return {"object": "list", "data": data, "usage": _usage(texts)}

    async def _embedding(self, body: JsonDict) -> list[JsonDict]:
        texts = await self._tokens.texts(body.get("content", body.get("input")))
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
        pairs = await self._tokens.pairs(query, documents)
        scores = (await self._batch.run(pairs))[:, 0].tolist()
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        results = [{"index": index, "relevance_score": scores[index]} for index in order[:top_n]]
        return {"object": "list", "results": results, "usage": _usage(pairs)}

    async def _tokenize(self, body: JsonDict) -> JsonDict:
        content = body.get("content", "")
        if not isinstance(content, str):
            raise BadInput("content: a text is needed", param="content")
        special = {
            "add_special": body.get("add_special") is True,
            "parse_special": body.get("parse_special") is not False,
        }
        (encoded,) = await self._tokens.encoded([content], **special)
        if body.get("with_pieces") is True:
            pieces = zip(encoded.ids, self._tokens.pieces(encoded), strict=True)
            return {"tokens": [{"id": token, "piece": piece} for token, piece in pieces]}
        return {"tokens": encoded.ids}

    async def _detokenize(self, body: JsonDict) -> JsonDict:
        ids = self._tokens.ids(body.get("tokens"), "tokens")
        return {"content": self._tokens.decoded(ids)}

    def _props(self) -> JsonDict:
        opening, closing = self._tokens.around
        return {
            "default_generation_settings": {"n_ctx": self._max_tokens},
            "total_slots": 1,
            "media_marker": "",
            "bos_token": opening,
            "eos_token": closing,
            "pooling_type": "rank" if self._encoder.config.is_reranker else self._encoder.config.pooling,
            "engine": self._encoder.report,
        }

    def _slots(self) -> list[JsonDict]:
        return [{"id": 0, "n_ctx": self._max_tokens, "is_processing": self._batch.num_requests > 0}]


def _writer(encoding_format: object) -> Callable[[Floats], Any]:
    if encoding_format not in (None, "float", "base64"):
        raise BadInput("encoding_format: it takes float or base64", param="encoding_format")
    if encoding_format == "base64":
        return lambda vector: base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return lambda vector: vector.tolist()


def _usage(texts: Sequence[Text]) -> JsonDict:
    total = sum(len(text.ids) for text in texts)
    return {"prompt_tokens": total, "total_tokens": total}
