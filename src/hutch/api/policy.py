"""What a principal may do: by the action of the route, the models that it names, and what it asks of the queue.

A key without a list of models may do everything. One with a list may ask these models, and see them and itself; every other
action is refused, those among them that are still to be thought of.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import replace

from hutch.core.access import Action, Principal
from hutch.core.durations import parse_duration_s
from hutch.core.errors import BadInput, Forbidden, NotFound
from hutch.core.names import ModelName

_OF_SOME_MODELS = frozenset(
    {
        Action.HEALTH,
        Action.DESCRIBE,
        Action.INFER,
        Action.LIST_MODELS,
        Action.READ_MODEL,
        Action.SEE_RUNNING,
        Action.SEE_QUEUE,
        Action.SEE_HARDWARE,
    }
)
_FIELDS = ("model", "name")  # in which a body, a path or a query names the model that it is about
DEADLINE = "x-hutch-deadline"
PRIORITY = "x-hutch-priority"
_MAX_DEADLINE_S = 86400.0


def check_action(who: Principal, action: Action) -> None:
    """Raise Forbidden for what this principal may not do."""
    if who.allowance.models is not None and action not in _OF_SOME_MODELS:
        raise Forbidden(
            f"this key is for some models only, and may not do this ({action})",
            hint="Use a key without a list of models.",
        )


def check_models(who: Principal, body: object, parameters: Mapping[str, object]) -> None:
    """Raise NotFound, in the store's own words, where a request names a model that is not there for this principal."""
    if who.allowance.models is None:
        return
    named = [getattr(body, field, None) for field in _FIELDS] + [parameters.get(field) for field in _FIELDS]
    for text in named:
        if isinstance(text, str) and text:
            name = ModelName.parse(text)
            if not who.may_use(name):
                raise NotFound(
                    f"model '{name.short}' not found", hint="See which there are for this key: GET /api/tags."
                )


def asking(who: Principal, headers: Mapping[str, str]) -> Principal:
    """The principal with what this request asks of the queue. Raises BadInput.

    `X-Hutch-Deadline` is how long it may wait for its turn, `X-Hutch-Priority` a priority below the key's own.
    """
    if deadline := headers.get(DEADLINE):
        who = replace(who, begin_by=time.monotonic() + _deadline_s(deadline))
    if priority := headers.get(PRIORITY):
        try:
            lower = min(int(priority), who.allowance.priority)
        except ValueError:
            raise BadInput(f"{PRIORITY}: it must be a whole number") from None
        who = replace(who, allowance=replace(who.allowance, priority=lower))
    return who


def _deadline_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = parse_duration_s(text)
    if not math.isfinite(seconds) or not 0 < seconds <= _MAX_DEADLINE_S:
        raise BadInput(f"{DEADLINE}: it must be above 0 and at most a day", hint="Write seconds, or 30s, 5m.")
    return seconds
