"""Settings: environment variables, read once where a process starts."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from retrieval.completion import EXTRACTIVE, CompletionChoice
from retrieval.embedding import BUNDLED, EmbedderChoice
from retrieval.errors import InvalidRequest
from retrieval.rerank import RerankChoice

PREFIX = "QUOTEBASE_"

Folder = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path that may begin with ``~``."""


class Settings(BaseSettings):
    """What an operator may choose. Every field is the environment variable ``QUOTEBASE_<FIELD>``.

    ========================  ==================================================================
    DATA_DIR                  where the database and the indexes are
    CACHE_DIR                 where the bundled model is unpacked; may be deleted at any time
    MONGODB_URI               keep everything but the indexes in MongoDB instead of a SQLite file
    INDEX_MEMORY              bytes that the loaded indexes may take together, such as 2GiB; the
                              least recently used are unloaded. Without it all stay
    EMBEDDING_MODEL           the bundled model, or a sentence-transformers folder or hub id, or
                              the model's name at EMBEDDING_BASE_URL
    EMBEDDING_MODELS          further models that datasets may have, separated by commas: folders, hub
                              ids, the bundled one's name, or name@URL for one behind an API, which is
                              given EMBEDDING_API_KEY. Each is loaded when first used
    EMBEDDING_BASE_URL        an OpenAI-compatible API to take embeddings from
    EMBEDDING_API_KEY         its key
    EMBEDDING_MAX_TOKENS      what the model there reads at most
    COMPLETION_MODEL          the model's name at COMPLETION_BASE_URL
    COMPLETION_BASE_URL       an OpenAI-compatible API to take answers from; without it the best
                              quote is the answer
    COMPLETION_API_KEY        its key
    COMPLETION_TIMEOUT_S      how long it may stay silent, in seconds
    RERANK_MODEL              a cross-encoder, by sentence-transformers folder or hub id, or the
                              model's name at RERANK_URL
    RERANK_URL                a ``/rerank`` endpoint to take relevances from; without it and without
                              a model nothing is reranked
    RERANK_KEY                its key
    PRIVATE_LINKS             whether links to this machine and to private networks may be fetched
    RATE_LIMIT                requests a key may make, such as ``120/minute``; of a second, minute,
                              hour or day. Without it any number
    HOST, PORT                where ``quotebase serve`` listens
    LOG_LEVEL                 debug, info, warning or error
    ========================  ==================================================================
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    data_dir: Folder = Path.home() / ".quotebase"
    cache_dir: Folder = Path.home() / ".cache" / "quotebase"
    mongodb_uri: SecretStr | None = None
    index_memory: Annotated[ByteSize, Field(gt=0)] | None = None
    embedding_model: str = BUNDLED
    embedding_models: str = ""
    embedding_base_url: str | None = None
    embedding_api_key: SecretStr | None = None
    embedding_max_tokens: Annotated[int, Field(ge=16)] = 512
    completion_model: str = EXTRACTIVE
    completion_base_url: str | None = None
    completion_api_key: SecretStr | None = None
    completion_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    rerank_model: str = ""
    rerank_url: str = ""
    rerank_key: SecretStr = SecretStr("")
    private_links: bool = False
    rate_limit: Annotated[str, Field(pattern=r"^[1-9]\d*/(second|minute|hour|day)$")] | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 3000
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    @property
    def embedder(self) -> EmbedderChoice:
        return EmbedderChoice(
            self.embedding_model,
            self.embedding_base_url,
            _secret(self.embedding_api_key),
            self.embedding_max_tokens,
        )

    @property
    def further_embedders(self) -> tuple[EmbedderChoice, ...]:
        names = (name.strip() for name in self.embedding_models.split(","))
        return tuple(self._further(name) for name in names if name)

    def _further(self, name: str) -> EmbedderChoice:
        at_url = re.fullmatch(r"(.+?)@(https?://.+)", name)
        if at_url is None:
            return EmbedderChoice(name)
        return EmbedderChoice(
            at_url[1], at_url[2], _secret(self.embedding_api_key), self.embedding_max_tokens
        )

    @property
    def completion(self) -> CompletionChoice:
        return CompletionChoice(
            self.completion_model,
            self.completion_base_url,
            _secret(self.completion_api_key),
            self.completion_timeout_s,
        )

    @property
    def rerank(self) -> RerankChoice:
        return RerankChoice(self.rerank_model, self.rerank_url, self.rerank_key.get_secret_value())

    @property
    def mongodb(self) -> str | None:
        return _secret(self.mongodb_uri)


def read_settings() -> Settings:
    """From the environment. Raises InvalidRequest that names the variable and what is wrong with it."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = PREFIX + str(first["loc"][0]).upper()
        raise InvalidRequest(f"the setting {variable} is not usable: {first['msg']}", variable) from None


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None
