"""What schemathesis is told of the API beyond its description: which models there are, and how long an answer may be.

A text is replaced by a text and a number by a number, so that a request that is to be refused stays one.
"""

from typing import Any

import schemathesis

MODEL = "smollm2:135m"
NUM_TOKENS = 4
# Nothing is fetched from anywhere, and the model that answers is neither deleted nor made anew.
OTHERS = {
    "/api/pull": "127.0.0.1:9/library/none",
    "/api/push": "127.0.0.1:9/library/none",
    "/api/create": "made",
    "/api/delete": "made",
}
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
COUNTS = ("n", "best_of")
PER_DIALECT = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Name a model that is there, and keep answers short."""
    body = case.body
    if not isinstance(body, dict):
        return
    path = case.operation.path
    for name in ("model", "name"):
        if isinstance(body.get(name), str) and (body[name] or path in OTHERS):
            body[name] = OTHERS.get(path, MODEL)
    for name in ("from", "source"):
        if isinstance(body.get(name), str):
            body[name] = MODEL
    if path in ("/api/pull", "/api/push"):
        body.setdefault("stream", False)
    if path in PER_DIALECT and body.get(PER_DIALECT[path]) is None:
        body[PER_DIALECT[path]] = NUM_TOKENS
    for name in LIMITS:
        if _is_count(body.get(name)):
            body[name] = min(body[name], NUM_TOKENS)
    for name in COUNTS:
        if _is_count(body.get(name)):
            body[name] = min(body[name], 2)
    if path.startswith("/api/") and isinstance(body.get("options", {}) or {}, dict) and "options" in body:
        body["options"] = {**(body["options"] or {}), "num_predict": NUM_TOKENS, "num_ctx": 2048}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
