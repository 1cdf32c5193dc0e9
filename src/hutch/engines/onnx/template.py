"""A model's chat template, and the process that renders it."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from hutch import places
from hutch.core.errors import BadInput, FormatError
from hutch.engines.onnx.render import MAX_PROMPT_CHARS

JsonDict = dict[str, Any]

_WITHIN_S = 10.0
_MAX_LINE_BYTES = 6 * MAX_PROMPT_CHARS + 100  # a character is six in JSON at the most, as in \u00e9
_MAX_COMPLAINT_CHARS = 300
_HINT = "The template is the model's own: pull or export the model again, or use another."
_NEEDLE = "hutch needle"
_PROBE: JsonDict = {"role": "user", "content": "probe"}
_PROBE_CALL: JsonDict = {"id": "call00001", "type": "function"}


class ChatTemplate:
    """Renders conversations for one model. `tokens`: what its `bos_token` and `eos_token` are called.

    Blocks while it renders, so call it in a thread. Raises FormatError for a template that cannot be read.
    """

    def __init__(self, source: str, tokens: Mapping[str, str], *, within_s: float = _WITHIN_S) -> None:
        self.source = source
        self._tokens = tokens
        self._within_s = within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        try:
            self._ask({})
        except BadInput as error:
            if self._process is None:
                raise FormatError(error.message, hint=_HINT) from error
        self._takes_objects = self._wants_objects()
        self._has_system = self._renders([{"role": "system", "content": _NEEDLE}, _PROBE])

    def render(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
        """The prompt for a conversation. `options`: further variables, such as tools or enable_thinking. Raises BadInput."""
        said = [self._fitted(message) for message in messages]
        if not self._has_system and said and said[0]["role"] == "system":
            said = _without_system(said)
        return self._ask({"add_generation_prompt": True, **options, "messages": said})

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _fitted(self, message: Mapping[str, Any]) -> JsonDict:
        """A message as this template expects it: some write arguments as JSON themselves, some want the text of it."""
        fitted = dict(message)
        calls = fitted.get("tool_calls")
        if not calls:
            return fitted
        if not fitted.get("content"):  # some write even an empty content as a turn of its own
            fitted["content"] = None if "content'] is not none" in self.source else ""
        if self._takes_objects:
            fitted["tool_calls"] = [
                {
                    **call,
                    "function": {**call["function"], "arguments": parsed(call["function"]["arguments"])},
                }
                for call in calls
            ]
        return fitted

    def _wants_objects(self) -> bool:
        """Whether arguments are to be objects: where these come out as JSON, or where text is no use."""
        said = self._with_arguments({"needle": _NEEDLE})
        if said is None or f'"{_NEEDLE}"' in said:
            return said is not None
        return self._with_arguments(json.dumps({"needle": _NEEDLE})) is None

    def _with_arguments(self, arguments: object) -> str | None:
        """What the template makes of a call with these arguments; None where it fails."""
        call = {**_PROBE_CALL, "function": {"name": "probe", "arguments": arguments}}
        messages = [_PROBE, {"role": "assistant", "content": "", "tool_calls": [call]}]
        with suppress(BadInput):
            return self._ask({"messages": messages, "add_generation_prompt": False})
        return None

    def _renders(self, messages: Sequence[JsonDict]) -> bool:
        with suppress(BadInput):
            return _NEEDLE in self._ask({"messages": messages, "add_generation_prompt": True})
        return False

    def _ask(self, variables: Mapping[str, Any]) -> str:
        """Have the process render. Raises BadInput, also where it took too long and was ended."""
        with self._lock:
            if self._process is None:
                self._process = _started()
                self._exchange(self.source)
            return self._exchange({**self._tokens, **variables})

    def _exchange(self, question: object) -> str:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise BadInput("the chat template's process has ended")
        clock = threading.Timer(self._within_s, process.kill)
        clock.start()
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline(_MAX_LINE_BYTES)
        except OSError:
            line = b""
        finally:
            clock.cancel()
        if not line.endswith(b"\n"):
            self._end()
            raise BadInput("the chat template takes too long, or too much memory", hint=_HINT)
        reply = json.loads(line)
        if "error" in reply:
            if isinstance(question, str):  # the template itself
                self._end()
            why = " ".join(reply["error"].split())[:_MAX_COMPLAINT_CHARS]
            raise BadInput(f"the chat template cannot render these messages: {why}")
        return str(reply["text"])

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _started() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "hutch.engines.onnx.render"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=places.worker_environment(),
    )


def _without_system(messages: Sequence[JsonDict]) -> list[JsonDict]:
    """The messages with what the system says put before what the user says first."""
    system, *others = messages
    for index, message in enumerate(others):
        if message["role"] == "user" and isinstance(message["content"], str):
            others[index] = {**message, "content": f"{system['content']}\n\n{message['content']}"}
            return others
    return [{**system, "role": "user"}, *others]


def parsed(arguments: object) -> object:
    """Arguments as an object; as they are where they are no JSON."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
