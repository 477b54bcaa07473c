"""Apps: what a chat key opens. Kept as documents of the store."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from retrieval.errors import AppNotFound, InvalidRequest, NameTaken
from retrieval.store import Store
from retrieval.types import MAX_LIMIT, Document, new_id

KIND = "app"

DEFAULT_QUOTE_TEMPLATE = "{{index}}. [{{q}}\n{{a}}]"
DEFAULT_QUOTE_PROMPT = "下面是知识库内容:\n{{quote}}\n"


@dataclass(frozen=True, slots=True)
class App:
    """How a chat searches, what it puts before the question, and what answers.

    Args:
        model: what the completion backend is asked for; empty for its own.
        temperature: of the backend; ``None`` for its own.
        max_tokens: most tokens of an answer.
        empty_reply: the whole answer when nothing is found; empty lets the backend answer.
        search_price, chat_price: per 1,000 tokens, for the ``price`` fields of replies.
    """

    id: str
    name: str
    dataset_ids: tuple[str, ...]
    system_prompt: str = ""
    limit_prompt: str = ""
    quote_template: str = DEFAULT_QUOTE_TEMPLATE
    quote_prompt: str = DEFAULT_QUOTE_PROMPT
    model: str = ""
    temperature: float | None = None
    max_tokens: int = 2000
    similarity: float = 0.0
    limit: int = 1500
    empty_reply: str = ""
    search_price: float = 0.0
    chat_price: float = 0.0


def new_app(name: str, dataset_ids: tuple[str, ...], **fields_: Any) -> App:
    """An app with a fresh id. Raises InvalidRequest that names the field."""
    app = App(new_id(), name, dataset_ids, **fields_)
    check_app(app)
    return app


def check_app(app: App) -> None:
    """Raises InvalidRequest for the first field out of range."""
    if not app.name.strip():
        raise InvalidRequest("an app needs a name", "name")
    if not 0 <= app.similarity <= 1:
        raise InvalidRequest(f"similarity is {app.similarity}, it must be from 0 to 1", "similarity")
    if not 1 <= app.limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit is {app.limit} tokens, it must be from 1 to {MAX_LIMIT}", "limit")
    if app.max_tokens < 1:
        raise InvalidRequest(f"max_tokens is {app.max_tokens}, it must be at least 1", "max_tokens")
    if app.temperature is not None and not 0 <= app.temperature <= 2:
        raise InvalidRequest(f"temperature is {app.temperature}, it must be from 0 to 2", "temperature")
    if not app.dataset_ids:
        raise InvalidRequest("an app needs a dataset to answer from: name one with --dataset", "dataset_ids")


class Apps:
    """The apps in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, app: App) -> App:
        """Raises NameTaken."""
        if any(other.name == app.name for other in self.list()):
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
        if not self._store.delete_document(KIND, app_id):
            raise AppNotFound(f"there is no app with the id {app_id!r}")


def _from_document(document: Document) -> App:
    body: Mapping[str, Any] = document.body
    known = {field.name: body[field.name] for field in fields(App) if field.name in body}
    return App(**{**known, "dataset_ids": tuple(known["dataset_ids"])})
