"""What running a model takes to know of its file or folder, whichever format it has."""

from typing import Protocol


class Kind(Protocol):
    """What a model was made for."""

    @property
    def is_embedding(self) -> bool:
        """Whether the model turns texts into vectors, and does not write."""

    @property
    def is_encoder(self) -> bool:
        """Whether it sees a text as a whole and keeps nothing of it: it has no key-value cache."""

    @property
    def is_reranker(self) -> bool:
        """Whether it scores how well a document answers a query, and makes no vectors."""

    @property
    def can_embed(self) -> bool:
        """Whether it can turn texts into vectors, made for it or not."""

    @property
    def sees(self) -> bool:
        """Whether it understands images by itself, without a projector."""


class Facts(Kind, Protocol):
    """The facts of a model. `GGUF` and `OnnxModel` have them."""

    @property
    def architecture(self) -> str:
        """The model's family, such as llama."""

    @property
    def size_bytes(self) -> int:
        """The bytes of all its files."""

    @property
    def context_length(self) -> int | None:
        """The longest context that the model was trained for, in tokens."""

    @property
    def block_count(self) -> int | None:
        """The number of layers."""

    @property
    def chat_template(self) -> str:
        """The Jinja template for conversations that comes with it; empty where there is none."""

    @property
    def fim(self) -> tuple[str, str, str] | None:
        """The tokens before prefix, suffix and middle, of models that fill in."""

    @property
    def kv_element_bytes(self) -> int | None:
        """The bytes of a number in its key-value cache; None where whoever loads it may choose."""

    def kv_bytes_per_token(self, bytes_per_element: int = 2) -> int:
        """Bytes of key-value cache for each token of context, with numbers of so many bytes."""
