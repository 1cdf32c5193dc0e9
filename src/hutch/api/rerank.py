"""`/v1/rerank`: documents in the order in which they answer a query, in the words that Jina and Cohere share."""

from starlette.responses import JSONResponse, Response

from hutch.api.limits import MAX_INPUTS
from hutch.api.openai_wire import JsonDict, OpenAIDialect, OpenBody
from hutch.api.route import Call, Route, Wire
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.core.chat import RerankRequest
from hutch.core.errors import BadInput
from hutch.core.names import ModelName


class TextDocument(Wire):
    """A document as an object."""

    text: str


class RerankBody(OpenBody):
    """`POST /v1/rerank`."""

    query: str
    documents: list[str | TextDocument]
    top_n: int | None = None
    return_documents: bool | None = None

    def texts(self) -> tuple[str, ...]:
        """The documents' texts. Raises BadInput."""
        if not self.documents:
            raise BadInput("documents: it is empty", param="documents")
        if len(self.documents) > MAX_INPUTS:
            raise BadInput(f"documents: more than {MAX_INPUTS}", param="documents")
        return tuple(each if isinstance(each, str) else each.text for each in self.documents)

    def internal(self) -> RerankRequest:
        """The request as Hutch knows it. Raises BadInput."""
        if not self.query.strip():
            raise BadInput("query: it is empty", param="query")
        if self.top_n is not None and self.top_n < 1:
            raise BadInput("top_n: it must be at least 1", param="top_n")
        return RerankRequest(ModelName.parse(self.model), self.query, self.texts(), self.top_n)


class Rerank:
    """The route, and the backend behind it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        return (
            Route(
                ("POST",),
                "/v1/rerank",
                Action.INFER,
                self.rerank,
                OpenAIDialect("documents"),
                RerankBody,
                summary="Rank documents",
            ),
        )

    async def rerank(self, call: Call) -> Response:
        """Score each document, and give the best first."""
        body: RerankBody = call.body
        ignored = body.unknown()
        request = body.internal()
        ranking = await self._backend.rerank(request, call.who)
        results: list[JsonDict] = [
            {"index": each.index, "relevance_score": each.score} for each in ranking.results
        ]
        if body.return_documents:
            for result in results:
                result["document"] = {"text": request.documents[result["index"]]}
        usage = {"prompt_tokens": ranking.prompt_tokens, "total_tokens": ranking.prompt_tokens}
        reply = {"object": "list", "model": body.model, "results": results, "usage": usage}
        return JSONResponse(reply, headers=ignored)
