"""Apps: what a chat key opens. Kept as documents of the store."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from threading import Lock
from typing import Any, Literal

from retrieval.errors import AppNotFound, InvalidRequest, NameTaken
from retrieval.requests import check_request
from retrieval.store import Store
from retrieval.types import Document, Extension, SearchMode, SearchRequest, new_id, now

KIND = "app"

DEFAULT_QUOTE_TEMPLATE = "{{index}}. [{{q}}\n{{a}}]"
DEFAULT_QUOTE_PROMPT = "下面是知识库内容:\n{{quote}}\n"

VARIABLE = re.compile(r"[\w.-]+")
"""A name in braces."""

RESERVED = frozenset(("q", "a", "source", "sourceId", "index", "score", "quote", "question"))
"""What the quote template and the quote prompt put in themselves."""

Speaker = Literal["user", "assistant"]

MAX_HISTORY_TURNS = 100
"""Of the past, before a question; what the backend's context has no room for is left out anyway."""

LARGEST = 2**31 - 1
"""Of a count or a price; more is a mistake, and no store could keep it."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A name that the app's prompts have in braces, and what stands there where a request says nothing.

    Args:
        label: what a form that asks for it would call it.
    """

    key: str
    default: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class App:
    """How a chat searches, what it puts before the question, and what answers.

    Args:
        search_mode, similarity, limit, top_k, per_source, embedding_weight, rerank, rerank_weight: as in
            :class:`~retrieval.types.SearchRequest`.
        extension: whether the question is completed from the chat before it, and asked in other words, by
            ``extension_model`` of the completion backend, which is told ``extension_background``.
        backend: name of a completion backend of the settings; empty for the first.
        model: what the backend is asked for; empty for its own.
        temperature: of the backend; ``None`` for its own.
        max_tokens: most tokens of an answer.
        history_turns: most turns of a stored chat that a question is asked after.
        empty_reply: the whole answer when nothing is found; empty lets the backend answer.
        welcome_text, variables: what a client shows and asks for before the first question.
        citations: whether every answer carries what it was given to quote.
        search_price, chat_price: per 1,000 tokens, for the ``price`` fields of replies.
        created_at: ISO 8601.
    """

    id: str
    name: str
    dataset_ids: tuple[str, ...]
    intro: str = ""
    search_mode: SearchMode = "embedding"
    similarity: float | None = None
    limit: int = 1500
    top_k: int | None = None
    per_source: int | None = None
    embedding_weight: float = 0.5
    rerank: bool = False
    rerank_weight: float = 0.5
    extension: bool = False
    extension_model: str = ""
    extension_background: str = ""
    system_prompt: str = ""
    limit_prompt: str = ""
    quote_template: str = DEFAULT_QUOTE_TEMPLATE
    quote_prompt: str = DEFAULT_QUOTE_PROMPT
    backend: str = ""
    model: str = ""
    temperature: float | None = None
    max_tokens: int = 2000
    history_turns: int = 6
    empty_reply: str = ""
    welcome_text: str = ""
    variables: tuple[Variable, ...] = ()
    citations: bool = False
    search_price: float = 0.0
    chat_price: float = 0.0
    created_at: str = ""

    def search_request(self, text: str, history: Sequence[tuple[Speaker, str]] = ()) -> SearchRequest:
        """The search for a question, after what was said before it."""
        extension = Extension(self.extension_background, tuple(history), self.extension_model)
        return SearchRequest(
            text=text,
            dataset_ids=self.dataset_ids,
            similarity=self.similarity,
            limit=self.limit,
            top_k=self.top_k,
            mode=self.search_mode,
            embedding_weight=self.embedding_weight,
            per_source=self.per_source,
            rerank=self.rerank,
            rerank_weight=self.rerank_weight,
            extension=extension if self.extension else None,
        )

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """What the variables stand for in one request."""
        return {variable.key: variable.default for variable in self.variables} | dict(given)


def new_app(name: str, dataset_ids: tuple[str, ...], **fields_: Any) -> App:
    """An app with a fresh id. Raises InvalidRequest that names the field."""
    app = App(new_id(), name, dataset_ids, created_at=now().isoformat(), **fields_)
    check_app(app)
    return app


def check_app(app: App) -> None:
    """Raises InvalidRequest for the first field out of range."""
    if not app.name.strip():
        raise InvalidRequest("an app needs a name", "name")
    for name, value, least, most in (
        ("topK", app.top_k, 1, LARGEST),
        ("perSource", app.per_source, 1, LARGEST),
        ("maxTokens", app.max_tokens, 1, LARGEST),
        ("temperature", app.temperature, 0, 2),
        ("historyTurns", app.history_turns, 0, MAX_HISTORY_TURNS),
        ("searchPrice", app.search_price, 0, LARGEST),
        ("chatPrice", app.chat_price, 0, LARGEST),
    ):
        if value is not None and not least <= value <= most:
            raise InvalidRequest(f"{name} is {value}, it must be from {least} to {most}", name)
    _check_variables([variable.key for variable in app.variables])
    if not app.dataset_ids:
        raise InvalidRequest("an app needs a dataset to answer from: name at least one", "datasetIds")
    check_request(app.search_request("a question"))


def _check_variables(keys: Sequence[str]) -> None:
    for place, key in enumerate(keys):
        if not VARIABLE.fullmatch(key):
            raise InvalidRequest(
                f"{key!r} is no name of a variable: letters, digits, dots, hyphens and underscores",
                "variables",
            )
        if key in RESERVED:
            raise InvalidRequest(
                f"{key!r} stands for something else in quotes: choose another name", "variables"
            )
        if key in keys[:place]:
            raise InvalidRequest(f"there are two variables {key!r}", "variables")


class Apps:
    """The apps in a store. Threads take turns to change them, so that names stay distinct and no change is lost."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()

    def create(self, app: App) -> App:
        """Raises NameTaken."""
        with self._lock:
            return self._put(app)

    def change(self, app_id: str, changes: Mapping[str, Any]) -> App:
        """Let fields have other values. Raises AppNotFound, InvalidRequest that names the field, NameTaken."""
        with self._lock:
            app = replace(self.get(app_id), **changes)
            check_app(app)
            return self._put(app)

    def _put(self, app: App) -> App:
        if any(other.name == app.name and other.id != app.id for other in self.list()):
            raise NameTaken(f"there is an app named {app.name!r} already: choose another name")
        self._store.put_document(KIND, app.id, asdict(app))
        return app

    def get(self, app_id: str) -> App:
        """Raises AppNotFound."""
        document = self._store.find_document(KIND, app_id)
        if document is None:
            raise AppNotFound(f"there is no app with the id {app_id!r}")
        return _from_document(document)

    def named(self, name: str) -> App:
        """Raises AppNotFound, with the names there are."""
        apps = self.list()
        for app in apps:
            if app.name == name:
                return app
        names = ", ".join(app.name for app in apps) or "none yet"
        raise AppNotFound(f"there is no app named {name!r} (there are: {names})")

    def list(self) -> list[App]:
        """Oldest first."""
        return [_from_document(document) for document in self._store.list_documents(KIND)]

    def delete(self, app_id: str) -> None:
        """Raises AppNotFound."""
        with self._lock:
            is_deleted = self._store.delete_document(KIND, app_id)
        if not is_deleted:
            raise AppNotFound(f"there is no app with the id {app_id!r}")


def _from_document(document: Document) -> App:
    body: Mapping[str, Any] = document.body
    known = {field.name: body[field.name] for field in fields(App) if field.name in body}
    variables = tuple(Variable(**variable) for variable in known.get("variables", ()))
    return App(**{**known, "dataset_ids": tuple(known["dataset_ids"]), "variables": variables})
