"""What can go wrong on the way to a server, and what an answer says went wrong: branches of the one tree of errors."""

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from hutch.core import errors
from hutch.core.errors import Busy, HutchError, Unreachable

_MAX_SHOWN_CHARS = 200
_TAG = re.compile(r"<(?:style|script)\b.*?</(?:style|script)>|<[^>]*>", re.DOTALL | re.IGNORECASE)
BEHIND = "A proxy in between may have answered: look at its log, and at the server's address."


class NoAnswer(Unreachable):
    """Nothing at the address took the connection in time."""

    code = "no_answer"


class TurnedAway(Busy):
    """429 or 503, without Hutch's own word that the request was not begun: it may come from a proxy."""

    code = "turned_away"


class TooSlow(HutchError):
    """The server was silent for longer than the client's `timeout_s`."""

    code = "too_slow"
    http_status = 504


class BrokenOff(HutchError):
    """The connection, or the stream, ended before the answer did."""

    code = "broken_off"
    http_status = 502


class BadAnswer(HutchError):
    """What came back is not what a Hutch server sends."""

    code = "bad_answer"
    http_status = 502


_BY_CODE: Mapping[str, type[HutchError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, HutchError)
}
_BY_STATUS: Mapping[int, type[HutchError]] = {
    400: errors.BadInput,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.BadInput,
    415: errors.BadInput,
    429: TurnedAway,
    503: TurnedAway,
    507: errors.NoRoom,
}


def failure(status: int, headers: Mapping[str, str], body: bytes) -> HutchError:
    """The error that an answer with such a status is; `http_status` is the answer's."""
    told = _object(body)
    if "error" in told:
        error = told_failure(told, _BY_STATUS.get(status, HutchError))
    else:
        kind = _BY_STATUS.get(status, BadAnswer)
        hint = f"It points to {headers['location'][:200]}." if "location" in headers else BEHIND
        error = kind(f"the server answered with status {status}{_shown(body)}", hint=hint)
    error.http_status = status
    if isinstance(error, Busy):
        error.retry_after_s = _retry_after_s(headers.get("retry-after", ""))
    return error


def told_failure(told: Mapping[str, Any], otherwise: type[HutchError] = HutchError) -> HutchError:
    """The error that an object with `error` in it tells, by its code where that is known."""
    said = told["error"]
    inner = (
        said if isinstance(said, Mapping) else {**told, "message": said}
    )  # as OpenAI writes it, or as Ollama
    message = str(inner.get("message") or "the server names no reason")
    return _BY_CODE.get(str(inner.get("code")), otherwise)(message, hint=str(inner.get("hint") or ""))


def bad_json(data: bytes) -> BadAnswer:
    """The error for bytes where a JSON object should be."""
    return BadAnswer(f"the server sent what is no JSON object{_shown(data)}", hint=BEHIND)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _shown(data: bytes) -> str:
    """The beginning of an answer's text, without the tags of a web page."""
    words = " ".join(_TAG.sub(" ", data[:16384].decode("utf-8", "replace")).split())
    return f": {words[:_MAX_SHOWN_CHARS]}" if words else ""


def _retry_after_s(text: str) -> int:
    """The seconds that `Retry-After` says, as a number or a date; 0 where it says nothing."""
    try:
        wait_s = float(text)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return 0
    return math.ceil(max(0.0, wait_s)) if math.isfinite(wait_s) else 0
