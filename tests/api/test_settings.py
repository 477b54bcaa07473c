"""Every setting is documented, and is what the environment says."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import PREFIX, Settings, read_settings
from retrieval.completion import BackendChoices, CompletionChoice
from retrieval.embedding import BUNDLED, EmbedderChoice
from retrieval.errors import InvalidRequest
from retrieval.rerank import RerankChoice

VALUES = {
    "data_dir": "/srv/quotebase",
    "cache_dir": "/var/cache/quotebase",
    "mongodb_uri": "mongodb://user:secret-1@db/quotes",
    "index_memory": "2GiB",
    "upload_limit": "3GiB",
    "embedding_model": "e5",
    "embedding_models": "multilingual-e5-small, /srv/a@b,bge@http://other/v1",
    "embedding_base_url": "http://embed/v1",
    "embedding_api_key": "secret-2",
    "embedding_max_tokens": "8192",
    "completion_model": "chat",
    "completion_base_url": "http://chat/v1",
    "completion_api_key": "secret-3",
    "completion_timeout_s": "2.5",
    "completion_context": "8192",
    "completion_concurrency": "4",
    "completion_backends": json.dumps(
        [
            {
                "name": "big",
                "base_url": "http://big/v1",
                "model": "gpt",
                "api_key": "secret-5",
                "timeout_s": 9,
                "context": 32768,
                "concurrency": 2,
            }
        ]
    ),
    "completion_fallbacks": "big, extractive",
    "rerank_model": "rerank",
    "rerank_url": "http://rerank/v1/rerank",
    "rerank_key": "secret-4",
    "private_links": "true",
    "rate_limit": "120/minute",
    "host": "::1",
    "port": "0",
    "log_level": "debug",
    "log_format": "json",
    "metrics_open": "true",
}


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


@pytest.fixture
def everything_set(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in VALUES.items():
        monkeypatch.setenv(PREFIX + name.upper(), value)
    return read_settings()


def test_the_docstrings_table_has_every_setting_and_no_other() -> None:
    _, table, _ = re.split(r"^ *=+  =+$", Settings.__doc__ or "", flags=re.MULTILINE)
    first_column = re.findall(r"^ {4}([A-Z][A-Z_, ]*?) {2,}", table, flags=re.MULTILINE)
    names = [name for cell in first_column for name in cell.split(", ")]

    assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)


def test_every_setting_is_read_from_the_environment(everything_set: Settings) -> None:
    assert VALUES.keys() == Settings.model_fields.keys()
    assert everything_set.data_dir == Path("/srv/quotebase")
    assert everything_set.cache_dir == Path("/var/cache/quotebase")
    assert everything_set.mongodb == "mongodb://user:secret-1@db/quotes"
    assert everything_set.index_memory == 2 << 30
    assert everything_set.upload_limit == 3 << 30
    assert everything_set.embedder == EmbedderChoice("e5", "http://embed/v1", "secret-2", 8192)
    assert everything_set.further_embedders == (
        EmbedderChoice(BUNDLED),
        EmbedderChoice("/srv/a@b"),
        EmbedderChoice("bge", "http://other/v1", "secret-2", 8192),
    )
    assert everything_set.completion == CompletionChoice("chat", "http://chat/v1", "secret-3", 2.5, 8192, 4)
    assert everything_set.backends == BackendChoices(
        everything_set.completion,
        {"big": CompletionChoice("gpt", "http://big/v1", "secret-5", 9.0, 32768, 2)},
        ("big", "extractive"),
    )
    assert everything_set.rerank == RerankChoice("rerank", "http://rerank/v1/rerank", "secret-4")
    assert everything_set.private_links is True
    assert everything_set.rate_limit == "120/minute"
    assert (everything_set.host, everything_set.port) == ("::1", 0)
    assert everything_set.log_level == "debug"
    assert (everything_set.log_format, everything_set.metrics_open) == ("json", True)


def test_secrets_are_not_shown(everything_set: Settings) -> None:
    assert "secret-" not in repr(everything_set)
    assert "secret-" not in str(everything_set)
    assert "secret-" not in repr(everything_set.rerank)


def test_without_an_environment_nothing_else_is_needed() -> None:
    settings = read_settings()

    assert settings.mongodb is None
    assert settings.index_memory is None
    assert settings.upload_limit == 1 << 30
    assert settings.private_links is False
    assert settings.rate_limit is None
    assert settings.embedder == EmbedderChoice("multilingual-e5-small", None, None, 512)
    assert settings.completion == CompletionChoice("extractive", None, None, 60.0)
    assert settings.rerank == RerankChoice("", "", "")
    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 3000, "info")


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VALUES:
        monkeypatch.setenv(PREFIX + name.upper(), "")

    assert read_settings() == Settings()
    assert read_settings().port == 3000


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        read_settings().port = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("PORT", "-1"),
            ("PORT", "65536"),
            ("PORT", "x"),
            ("LOG_LEVEL", "INFO"),
            ("LOG_LEVEL", "trace"),
            ("LOG_FORMAT", "xml"),
        ),
        *(
            ("RATE_LIMIT", value)
            for value in ("120", "0/minute", "-1/minute", "many", "1/fortnight", "1/minute;")
        ),
        *(("EMBEDDING_MAX_TOKENS", "15"), ("COMPLETION_TIMEOUT_S", "0"), ("COMPLETION_TIMEOUT_S", "-1")),
        *(("COMPLETION_CONTEXT", "511"), ("COMPLETION_CONCURRENCY", "0")),
        *(
            ("COMPLETION_BACKENDS", value)
            for value in (
                "big",
                "{}",
                '[{"name": "big"}]',
                '[{"name": "", "base_url": "http://b/v1", "model": "m"}]',
                '[{"name": "big", "base_url": "http://b/v1", "model": "m", "key": "secret"}]',
            )
        ),
        *(
            ("INDEX_MEMORY", value)
            for value in ("0", "0GiB", "0.4B", "-1", "-2GiB", "2 pounds", "GiB", "many")
        ),
    ],
)
def test_a_bad_value_is_told_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)

    with pytest.raises(InvalidRequest, match=f"^the setting {PREFIX}{name} is not usable: ") as caught:
        read_settings()

    assert caught.value.param == PREFIX + name


@pytest.mark.parametrize("names", [["a", "a"], ["default"], ["extractive"]])
def test_backends_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    listed = [{"name": name, "base_url": "http://b/v1", "model": "m"} for name in names]
    monkeypatch.setenv("QUOTEBASE_COMPLETION_BACKENDS", json.dumps(listed))

    with pytest.raises(InvalidRequest, match="a name of its own"):
        _ = read_settings().backends


@pytest.mark.parametrize(("name", "value"), [("PORT", "65535"), ("EMBEDDING_MAX_TOKENS", "16")])
def test_a_value_at_the_edge_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)

    assert getattr(read_settings(), name.lower()) == int(value)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("1", 1),
        ("1B", 1),
        ("1536", 1536),
        ("512 MiB", 512 << 20),
        ("1.5gib", 3 << 29),
        ("2GB", 2_000_000_000),
    ],
)
def test_memory_is_told_in_bytes_or_with_a_unit(
    monkeypatch: pytest.MonkeyPatch, value: str, count: int
) -> None:
    monkeypatch.setenv("QUOTEBASE_INDEX_MEMORY", value)

    assert read_settings().index_memory == count


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTEBASE_DATA_DIR", "~/quotes")
    assert read_settings().data_dir == Path.home() / "quotes"
