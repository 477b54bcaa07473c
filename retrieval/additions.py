"""What an add has to do: which drafts are new, which replace a record, which records go, what is known.

    drafts + what the collection has → Plan → (embeddings) → Prepared → store

Plans are made of what was in the store a moment ago; the store looks again when it adds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property

from retrieval.batched import batched
from retrieval.errors import InvalidRequest
from retrieval.passages import custom_texts
from retrieval.store import KnownRecord
from retrieval.types import EmbeddedDraft, ModelBinding, Passage, PassageDraft, Record, RecordDraft

ASKED_AT_ONCE = 256
"""Records whose passages are read together."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A draft that has to be stored, and the id of the record it replaces, if it replaces one.

    ``passages`` are empty, and ``tokens`` not counted, until it is cut for the model.

    Args:
        alike: records that have some of its texts, and so their embeddings.
    """

    draft: RecordDraft
    record_id: str | None = None
    passages: tuple[PassageDraft, ...] = ()
    tokens: int = 0
    alike: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for ``given`` drafts; those that are not ``planned`` say what is there already."""

    given: int
    planned: tuple[Planned, ...]
    gone: tuple[str, ...] = ()
    """Records to delete in the same step."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan with the embeddings it takes."""

    given: int
    embedded: tuple[EmbeddedDraft, ...]
    gone: tuple[str, ...] = ()
    texts_read: int = 0
    """By the embedding model."""
    model: ModelBinding | None = None
    """That of the embeddings; ``None`` only where there are none."""

    @property
    def plan(self) -> Plan:
        """What it was made of."""
        planned = tuple(Planned(item.draft, item.record_id) for item in self.embedded)
        return Plan(self.given, planned, self.gone)


def plan_new(drafts: Sequence[RecordDraft], known: AbstractSet[bytes]) -> Plan:
    """Those whose content is not known, each content once."""
    fresh: dict[bytes, Planned] = {}
    for draft in drafts:
        if draft.content_hash not in known:
            fresh.setdefault(draft.content_hash, Planned(draft))
    return Plan(len(drafts), tuple(fresh.values()))


def plan_by_key(drafts: Sequence[RecordDraft], known: Iterable[KnownRecord]) -> Plan:
    """Those whose key is new, or the record of which says something else.

    Raises:
        InvalidRequest: a draft has no key, or that of another.
    """
    by_key: dict[str, list[KnownRecord]] = {}
    for record in known:
        by_key.setdefault(record.key, []).append(record)
    _check_keys(drafts)
    planned, gone = [], []
    for draft in drafts:
        old = by_key.get(draft.key, [])
        if not any(_says_the_same(draft, record) for record in old):
            planned.append(Planned(draft, old[0].id if old else None))
            gone += [record.id for record in old[1:]]
    return Plan(len(drafts), tuple(planned), tuple(gone))


def changed(
    record: Record,
    passages: Sequence[Passage],
    q: str | None = None,
    a: str | None = None,
    indexes: Sequence[str] | None = None,
) -> RecordDraft:
    """A record with what is not ``None`` in place of what it has; ``passages`` are all of its own."""
    kept = tuple(custom_texts(record, passages)) if indexes is None else tuple(indexes)
    return RecordDraft(
        q=record.q if q is None else q,
        a=record.a if a is None else a,
        indexes=kept,
        chunk_index=record.chunk_index,
        key=record.key,
        title=record.title,
        metadata=record.metadata,
    )


class Replacement:
    """What turns a collection into the drafts of all calls of ``plan``: the rest of it goes.

    Records that say the same stay; one whose key comes with something else is replaced. Without a key nothing
    tells which record it was that changed, so that texts which it still has are looked for in all of them.

    Args:
        known: the records of the collection.
        passages_of: of records, by their ids; asked for all of the known ones, once, when the first text is
            looked for (12 s a million).
    """

    def __init__(
        self,
        known: Sequence[KnownRecord],
        passages_of: Callable[[Sequence[str]], Mapping[str, Sequence[Passage]]],
    ) -> None:
        self._known = known
        self._passages_of = passages_of
        self._by_content = {record.content_hash: record for record in known}
        self._by_key = {record.key: record for record in known if record.key}
        self._kept: set[str] = set()
        self._seen: set[bytes] = set()

    def plan(self, drafts: Sequence[RecordDraft]) -> Plan:
        """Those that have to be stored; each content once."""
        return Plan(len(drafts), tuple(filter(None, map(self._planned, drafts))))

    def _planned(self, draft: RecordDraft) -> Planned | None:
        if draft.content_hash in self._seen:
            return None
        self._seen.add(draft.content_hash)
        old = self._by_content.get(draft.content_hash) or self._by_key.get(draft.key)
        if old is None or old.id in self._kept:
            return Planned(draft)
        self._kept.add(old.id)
        return None if _says_the_same(draft, old) else Planned(draft, old.id)

    def find_alike(self, plan: Plan) -> Plan:
        """A plan that is cut, with the records that have texts of its new drafts."""
        return replace(
            plan, planned=tuple(one if one.record_id else self._with_alike(one) for one in plan.planned)
        )

    def _with_alike(self, new: Planned) -> Planned:
        found = (self._owners.get(hash(passage.text)) for passage in new.passages)
        return replace(new, alike=tuple({record_id for record_id in found if record_id}))

    @cached_property
    def _owners(self) -> dict[int, str]:
        """A record by the hash of each text: that of another with the same hash is read in vain, not taken."""
        return {
            hash(passage.text): record_id
            for ids in batched([record.id for record in self._known], ASKED_AT_ONCE)
            for record_id, passages in self._passages_of(ids).items()
            for passage in passages
        }

    @property
    def gone(self) -> tuple[str, ...]:
        """Records that no draft so far keeps or replaces."""
        return tuple(record.id for record in self._known if record.id not in self._kept)


def join(parts: Iterable[Prepared], gone: Sequence[str] = ()) -> Prepared:
    """Several as one step. If they are not of one model, the result is of none."""
    listed = list(parts)
    models = {part.model for part in listed if part.embedded}
    return Prepared(
        sum(part.given for part in listed),
        tuple(item for part in listed for item in part.embedded),
        (*gone, *(record_id for part in listed for record_id in part.gone)),
        sum(part.texts_read for part in listed),
        models.pop() if len(models) == 1 else None,
    )


def _says_the_same(draft: RecordDraft, record: KnownRecord) -> bool:
    return draft.content_hash == record.content_hash and draft.metadata == record.metadata


def _check_keys(drafts: Sequence[RecordDraft]) -> None:
    seen: set[str] = set()
    for draft in drafts:
        if not draft.key:
            raise InvalidRequest(f"the record {draft.q[:50]!r} has no key: give each one its own", "key")
        if draft.key in seen:
            raise InvalidRequest(f"two records have the key {draft.key!r}: give each its own", "key")
        seen.add(draft.key)
