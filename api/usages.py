"""What was pushed under a bill: FastGPT's clients ask for one before they push, and name it as they do."""

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from retrieval.errors import UsageNotFound
from retrieval.store import Store
from retrieval.tokens import count_tokens
from retrieval.types import RecordDraft, new_id, now

KIND = "usage"

_ADDING = threading.Lock()
"""Held from reading a usage until it is written again."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Records and tokens (cl100k_base) that were pushed so far."""

    id: str
    name: str
    dataset_id: str
    created_at: str
    records: int = 0
    tokens: int = 0


class Usages:
    """The usages in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str, dataset_id: str) -> Usage:
        usage = Usage(new_id(), name, dataset_id, now().isoformat())
        self._save(usage)
        return usage

    def get(self, usage_id: str) -> Usage:
        """Raises UsageNotFound."""
        document = self._store.find_document(KIND, usage_id)
        if document is None:
            raise UsageNotFound(f"there is no usage with the id {usage_id!r}: createTrainingUsage makes one")
        body: dict[str, Any] = dict(document.body)
        return Usage(**body)

    def add(self, usage_id: str, records: int, drafts: Sequence[RecordDraft]) -> None:
        """Count records and the tokens of what was sent; a bill of another service is not ours to keep."""
        if not usage_id or self._store.find_document(KIND, usage_id) is None:
            return
        tokens = sum(count_tokens(draft.text) for draft in drafts)
        with _ADDING:
            usage = self.get(usage_id)
            self._save(replace(usage, records=usage.records + records, tokens=usage.tokens + tokens))

    def _save(self, usage: Usage) -> None:
        self._store.put_document(KIND, usage.id, asdict(usage))
