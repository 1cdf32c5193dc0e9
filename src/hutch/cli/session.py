"""A conversation: what was said, and how the model is to answer. Writes the requests."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hutch.cli import images
from hutch.cli.client import Server
from hutch.core.errors import BadInput

_THINK_LEVELS = ("low", "medium", "high", "max")


@dataclass(slots=True)
class Session:
    """The changing state of `hutch run`. `think` None leaves it to the model; `system` "" to its Modelfile."""

    server: Server
    model: str
    system: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    format: str | dict[str, Any] | None = None
    think: bool | str | None = None
    keep_alive: float | str | None = None
    verbose: bool = False
    is_wrapping: bool = True
    is_hiding_thinking: bool = False
    capabilities: Sequence[str] = ()  # of the model, as `/api/show` tells them
    gpu_layers: int | None = None  # asked for with every request, and saved with no model
    truncate: bool | None = None  # for embedding models, as is the next one
    dimensions: int | None = None

    def load_body(self) -> dict[str, Any]:
        """The request that makes the model ready."""
        return self._body(stream=False)

    def generate_body(self, prompt: str) -> dict[str, Any]:
        """The request for one answer."""
        text, pictures = self._look(prompt)
        said = {"system": self.system, "images": pictures}
        return self._body(prompt=text, **{name: value for name, value in said.items() if value})

    def chat_body(self) -> dict[str, Any]:
        """The request for the next answer of the conversation."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self._body(messages=[*system, *self.messages])

    def embed_body(self, text: str) -> dict[str, Any]:
        """The request for a vector."""
        said = self._said(
            keep_alive=self.keep_alive,
            options=self._options(),
            truncate=self.truncate,
            dimensions=self.dimensions,
        )
        return {"model": self.model, "input": text, **said}

    def say(self, text: str) -> None:
        """Add what the user says."""
        text, pictures = self._look(text)
        said = {"role": "user", "content": text}
        self.messages.append(said | {"images": pictures} if pictures else said)

    def hear(self, text: str) -> None:
        """Add what the model answered; where that is nothing, the question goes too."""
        if text:
            self.messages.append({"role": "assistant", "content": text})
        else:
            self.messages.pop()

    def _body(self, **fields: Any) -> dict[str, Any]:
        said = self._said(
            format=self.format, think=self.think, keep_alive=self.keep_alive, options=self._options()
        )
        return {"model": self.model, **fields, **said}

    def _options(self) -> dict[str, Any] | None:
        layers = {} if self.gpu_layers is None else {"num_gpu": self.gpu_layers}
        return layers | self.options or None

    def _look(self, text: str) -> tuple[str, list[str]]:
        """A text without the paths of pictures, and the pictures, where the model sees."""
        if "vision" not in self.capabilities:
            return text, []
        seen = images.look(text)
        for file in seen.files:
            print(f"Added image '{file}'", file=sys.stderr)
        return seen.text, seen.images

    @staticmethod
    def _said(**fields: Any) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if value is not None}


def read_think(text: str | None) -> bool | str | None:
    """The value of --think, and of `/set think`."""
    if text is None or text in _THINK_LEVELS:
        return text
    if text not in ("true", "false"):
        raise BadInput(
            f"invalid value for --think: '{text}'", hint="It takes true, false, low, medium, high or max."
        )
    return text == "true"
