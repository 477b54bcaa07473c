"""Settings: environment variables, read once where a process starts."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from api.limits import UPLOAD_LIMIT
from retrieval.completion import CONTEXT_TOKENS, DEFAULT, EXTRACTIVE, BackendChoices, CompletionChoice
from retrieval.embedding import BUNDLED, EmbedderChoice
from retrieval.errors import InvalidRequest
from retrieval.rerank import RerankChoice

PREFIX = "QUOTEBASE_"

Folder = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path that may begin with ``~``."""


class FurtherBackend(BaseModel):
    """One of ``QUOTEBASE_COMPLETION_BACKENDS``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    base_url: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    api_key: SecretStr | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    context: Annotated[int, Field(ge=512)] = CONTEXT_TOKENS
    concurrency: Annotated[int, Field(ge=1)] | None = None

    @property
    def choice(self) -> CompletionChoice:
        return CompletionChoice(
            self.model,
            self.base_url,
            _secret(self.api_key),
            self.timeout_s,
            self.context,
            self.concurrency,
        )


class Settings(BaseSettings):
    """What an operator may choose. Every field is the environment variable ``QUOTEBASE_<FIELD>``.

    ========================  ==================================================================
    DATA_DIR                  where the database and the indexes are
    CACHE_DIR                 where the bundled model is unpacked; may be deleted at any time
    MONGODB_URI               keep everything but the indexes in MongoDB instead of a SQLite file
    INDEX_MEMORY              bytes that the loaded indexes may take together, such as 2GiB; the
                              least recently used are unloaded. Without it all stay
    UPLOAD_LIMIT              bytes that the body of an upload may have, 1GiB by default
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
    COMPLETION_CONTEXT        tokens that it takes, prompt and answer together
    COMPLETION_CONCURRENCY    answers under way at a time; further ones wait. Without it any number
    COMPLETION_BACKENDS       further backends that apps may name, as a JSON list of objects with name,
                              base_url and model, and api_key, timeout_s, context and concurrency if need be
    COMPLETION_FALLBACKS      names of those that answer where another one fails, separated by commas;
                              ``extractive`` is one of them without being listed
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
    LOG_FORMAT                text, or json for an object a line
    METRICS_OPEN              whether ``/metrics`` is told without a key
    ========================  ==================================================================
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    data_dir: Folder = Path.home() / ".quotebase"
    cache_dir: Folder = Path.home() / ".cache" / "quotebase"
    mongodb_uri: SecretStr | None = None
    index_memory: Annotated[ByteSize, Field(gt=0)] | None = None
    upload_limit: Annotated[ByteSize, Field(gt=0)] = ByteSize(UPLOAD_LIMIT)
    embedding_model: str = BUNDLED
    embedding_models: str = ""
    embedding_base_url: str | None = None
    embedding_api_key: SecretStr | None = None
    embedding_max_tokens: Annotated[int, Field(ge=16)] = 512
    completion_model: str = EXTRACTIVE
    completion_base_url: str | None = None
    completion_api_key: SecretStr | None = None
    completion_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    completion_context: Annotated[int, Field(ge=512)] = CONTEXT_TOKENS
    completion_concurrency: Annotated[int, Field(ge=1)] | None = None
    completion_backends: tuple[FurtherBackend, ...] = ()
    completion_fallbacks: str = ""
    rerank_model: str = ""
    rerank_url: str = ""
    rerank_key: SecretStr = SecretStr("")
    private_links: bool = False
    rate_limit: Annotated[str, Field(pattern=r"^[1-9]\d*/(second|minute|hour|day)$")] | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 3000
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    log_format: Literal["text", "json"] = "text"
    metrics_open: bool = False

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
            self.completion_context,
            self.completion_concurrency,
        )

    @property
    def backends(self) -> BackendChoices:
        """Raises InvalidRequest for names that are given twice."""
        others = {one.name: one.choice for one in self.completion_backends}
        if len(others) < len(self.completion_backends) or {DEFAULT, EXTRACTIVE} & others.keys():
            raise InvalidRequest(
                f"each of QUOTEBASE_COMPLETION_BACKENDS needs a name of its own, other than {DEFAULT!r} and "
                f"{EXTRACTIVE!r}",
                "QUOTEBASE_COMPLETION_BACKENDS",
            )
        names = (name.strip() for name in self.completion_fallbacks.split(","))
        return BackendChoices(self.completion, others, tuple(filter(None, names)))

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
    except SettingsError as error:
        raise InvalidRequest(
            f"the setting {PREFIX}COMPLETION_BACKENDS is not usable: {error.__cause__ or error}; it is a JSON list",
            f"{PREFIX}COMPLETION_BACKENDS",
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        setting, *within = first["loc"]
        variable = PREFIX + str(setting).upper()
        place = "".join(f"{part}: " for part in within)
        raise InvalidRequest(
            f"the setting {variable} is not usable: {place}{first['msg']}", variable
        ) from None


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None
