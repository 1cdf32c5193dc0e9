"""LangChain's standard tests of an integration, with `langchain-ollama` against a Hutch server."""

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests


class TestChat(ChatModelIntegrationTests):
    """The chat model."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """What is tested."""
        return ChatOllama

    @property
    def chat_model_params(self) -> dict:
        """How it is made."""
        return {"model": "llama3.1", "temperature": 0, "num_predict": 400, "repeat_penalty": 1.3}

    @property
    def supports_json_mode(self) -> bool:
        """`format` is there."""
        return True

    @property
    def has_tool_choice(self) -> bool:
        """Ollama's API has no such field."""
        return False


class TestEmbeddings(EmbeddingsIntegrationTests):
    """The embedding model."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        """What is tested."""
        return OllamaEmbeddings

    @property
    def embedding_model_params(self) -> dict:
        """How it is made."""
        return {"model": "all-minilm"}
