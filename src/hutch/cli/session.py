"""A conversation: what was said, and how the model is to answer. Writes the requests."""

from dataclasses import dataclass, field
from typing import Any

from hutch.cli.client import Server


@dataclass(slots=True)
class Session:
    """The changing state of `hutch run`. `think` None leaves it to the model; `system` "" to its Modelfile."""

    server: Server
    model: str
    system: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    format: str | dict[str, Any] | None = None
    think: bool | str | None = None
    keep_alive: float | str | None = None
    verbose: bool = False
    is_wrapping: bool = True
    is_hiding_thinking: bool = False

    def load_body(self) -> dict[str, Any]:
        """The request that makes the model ready."""
        return self._body(stream=False)

    def generate_body(self, prompt: str) -> dict[str, Any]:
        """The request for one answer."""
        return self._body(prompt=prompt, **({"system": self.system} if self.system else {}))

    def chat_body(self) -> dict[str, Any]:
        """The request for the next answer of the conversation."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self._body(messages=[*system, *self.messages])

    def embed_body(self, text: str) -> dict[str, Any]:
        """The request for a vector."""
        return {"model": self.model, "input": text, **self._said(keep_alive=self.keep_alive)}

    def say(self, text: str) -> None:
        """Add what the user says."""
        self.messages.append({"role": "user", "content": text})

    def hear(self, text: str) -> None:
        """Add what the model answered; where that is nothing, the question goes too."""
        if text:
            self.messages.append({"role": "assistant", "content": text})
        else:
            self.messages.pop()

    def _body(self, **fields: Any) -> dict[str, Any]:
        said = self._said(
            format=self.format, think=self.think, keep_alive=self.keep_alive, options=self.options or None
        )
        return {"model": self.model, **fields, **said}

    @staticmethod
    def _said(**fields: Any) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if value is not None}
