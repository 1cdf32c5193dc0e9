"""LangChain's standard tests of an integration, with `langchain-openai` against a Hutch server."""

import os

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

WHERE = {"base_url": f"{os.environ['OLLAMA_HOST']}/v1", "api_key": "none", "max_retries": 0, "timeout": 100}


class _Chat(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """What is tested."""
        return ChatOpenAI

    @property
    def supports_json_mode(self) -> bool:
        """`response_format` is there."""
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        """Blocks of Anthropic's are none of OpenAI's API."""
        return False


class TestChat(_Chat):
    """By chat completions."""

    @property
    def chat_model_params(self) -> dict:
        """How it is made."""
        return {
            "model": "llama3.1",
            "temperature": 0,
            "max_tokens": 400,
            "frequency_penalty": 1,
            "stream_usage": True,
            **WHERE,
        }


class TestResponses(_Chat):
    """By the Responses API."""

    @property
    def chat_model_params(self) -> dict:
        """How it is made."""
        return {"model": "llama3.1", "temperature": 0, "max_tokens": 400, "use_responses_api": True, **WHERE}


class TestEmbeddings(EmbeddingsIntegrationTests):
    """The embedding model."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        """What is tested."""
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict:
        """How it is made: texts go as texts, since tiktoken's tokens are those of OpenAI's models."""
        return {"model": "embedder", "check_embedding_ctx_length": False, **WHERE}
