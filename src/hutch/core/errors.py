"""Everything that can go wrong, as one tree.

HutchError                                                  500  exit 1
  BadInput          a request, name, file or Modelfile      400  exit 2
    FormatError     bytes that are not what they claim
      Damaged       a file of this server's own             500  exit 2
    NotBuilt        a documented field that Hutch lacks
    Unsuited        a model that cannot do what is asked
    ContextExceeded a prompt longer than the context
  Refused
    Unauthenticated no key, or a wrong one                  401  exit 3
    Forbidden       this principal may not                  403  exit 3
  NotFound          no such model or blob                   404  exit 4
  Conflict          the name is taken, or in use            409  exit 5
    RolledBack      a deployment that did not become ready  409  exit 5
  NoRoom            disk or memory does not suffice         507  exit 6
  SourceFailed      a place to pull from did not deliver    502  exit 7
  EngineFailed      a worker died, or cannot load           502  exit 8
  Unanswered        a model's answer is not a whole one     422  exit 1
  Busy              the queue is full                       503  exit 9
    TooLate         it could not begin by its deadline      503  exit 9
    OverLimit       this key has used up its minute         429  exit 9
  Unreachable       no server answers                       503  exit 10
"""


class HutchError(Exception):
    """An error for people: `message` says what is wrong, `hint` what to do next."""

    code = "internal_error"
    http_status = 500
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(HutchError):
    """What came from outside is wrong in itself. `param` names the field, where it is one field's fault."""

    code = "bad_input"
    http_status = 400
    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class FormatError(BadInput):
    """A file's bytes are not what they claim to be."""

    code = "bad_format"


class Damaged(FormatError):
    """A file that the server keeps, or is given by who runs it, cannot be read: no fault of whoever asks."""

    code = "damaged"
    http_status = 500


class NotBuilt(BadInput):
    """A documented field or route that Hutch does not have."""

    code = "not_built"


class Unsuited(BadInput):
    """The model was not made for what is asked of it."""

    code = "unsuited"


class ContextExceeded(BadInput):
    """The prompt has more tokens than the model's context holds."""

    code = "context_length_exceeded"

    def __init__(self, message: str, *, hint: str = "", prompt_tokens: int = 0, num_ctx: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.prompt_tokens = prompt_tokens
        self.num_ctx = num_ctx


class Refused(HutchError):
    """The caller may not do this."""

    code = "refused"
    http_status = 403
    exit_code = 3


class Unauthenticated(Refused):
    """No key came with the request, or one that is not known."""

    code = "unauthenticated"
    http_status = 401


class Forbidden(Refused):
    """The principal is known and may not do this."""

    code = "forbidden"


class NotFound(HutchError):
    """There is no such model or blob, or none that this principal may see."""

    code = "not_found"
    http_status = 404
    exit_code = 4


class Conflict(HutchError):
    """The name is taken by something else, or another process is at work on it."""

    code = "conflict"
    http_status = 409
    exit_code = 5


class RolledBack(Conflict):
    """A deployment did not become ready, and what was there before is there again."""

    code = "rolled_back"


class NoRoom(HutchError):
    """The disk or the memory cannot hold what was asked for."""

    code = "no_room"
    http_status = 507
    exit_code = 6


class SourceFailed(HutchError):
    """A place to pull from is down, or delivered something else."""

    code = "source_failed"
    http_status = 502
    exit_code = 7


class EngineFailed(HutchError):
    """A worker died, hung, or could not load its model."""

    code = "engine_failed"
    http_status = 502
    exit_code = 8


class Unanswered(HutchError):
    """The model wrote, and what it wrote is no whole answer."""

    code = "unanswered"
    http_status = 422


class Busy(HutchError):
    """Too many requests wait already."""

    code = "busy"
    http_status = 503
    exit_code = 9

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class TooLate(Busy):
    """The request could not begin by the time that it named."""

    code = "deadline_exceeded"


class OverLimit(Busy):
    """The principal has had what it may have in a minute."""

    code = "rate_limit_exceeded"
    http_status = 429


class Unreachable(HutchError):
    """No server answers at the address."""

    code = "unreachable"
    http_status = 503
    exit_code = 10
