"""What a route is: where, what for, who answers, and in which dialect it fails."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from hutch.core.access import Action, Principal
from hutch.core.errors import HutchError


class Wire(BaseModel):
    """A body as it comes in: types are not bent to fit, unknown fields are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, let in. `body` is what the route's wire type made of it."""

    who: Principal
    request: Request
    body: Any


class Dialect(Protocol):
    """What a family of routes has in common: how they say that something went wrong, and what they call JSON."""

    json_type: str  # its media type

    def error(self, error: HutchError) -> dict[str, Any]:
        """The JSON object of an error."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route. Without an action there is none."""

    methods: tuple[str, ...]
    path: str
    action: Action
    handle: Callable[[Call], Awaitable[Response]]
    dialect: Dialect
    body: type[Wire] | None = None
    empty_body: bool = False  # whether no body at all means an empty object
    raw_body: bool = False  # the handler reads the body itself, in pieces
    public: bool = False  # answers also without a key
    documented: bool = True
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)  # its parameters, and what each may say
    summary: str = ""


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """A header that tells which parameters of a body meant nothing; none where all did."""
    shown = ascii(", ".join(names)[:1000])[1:-1]  # a name may hold anything, a header may not
    return {"X-Hutch-Ignored": shown} if names else {}
