"""The nouns of the engine, as frozen values. No behaviour beyond what follows from the fields."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.float32]
"""(n, dim) float32, rows of unit length."""

StoredEmbeddings = npt.NDArray[np.float16]
"""(n, dim) float16: what the store keeps and the indexes search."""

PassageIds = npt.NDArray[np.int64]

SearchMode = Literal["embedding"]


def new_id() -> str:
    """A fresh id of 24 hex digits, for everything but passages."""
    return secrets.token_hex(12)


def now() -> datetime:
    """The present in UTC, to the millisecond: the precision that both stores keep."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class ModelBinding:
    """Which embedding model a dataset was made with."""

    name: str
    dim: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is searched together."""

    id: str
    name: str
    model: ModelBinding
    intro: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Collection:
    """One source inside a dataset: a file, a manual set.

    ``key`` is the small integer that indexes label passages with, so that they can filter.
    """

    id: str
    key: int
    dataset_id: str
    name: str
    tags: tuple[str, ...]
    forbid: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class RecordDraft:
    """A q/a pair before it is stored.

    Args:
        indexes: further texts it can be found by; white space around them, blank ones and those
            that say the same as another do not count.
        key: what it is known by in its collection, if not by its content.
        title: stands before each of its texts where they are embedded, and is not quoted.
        metadata: JSON values that are kept with it.
    """

    q: str
    a: str = ""
    indexes: tuple[str, ...] = ()
    chunk_index: int = 0
    key: str = ""
    title: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def text(self) -> str:
        """What is quoted, counted and embedded by default: q, a newline, a."""
        return f"{self.q}\n{self.a}" if self.a else self.q

    @property
    def texts(self) -> tuple[str, ...]:
        """What it can be found by: the default text first, then the distinct custom ones."""
        if not self.indexes:
            return (self.text,)
        stripped = (index.strip() for index in self.indexes)
        return tuple(dict.fromkeys((self.text, *(index for index in stripped if index))))

    @cached_property
    def content_hash(self) -> bytes:
        """16 bytes that are equal exactly when q, a, the custom texts, the key and the title are."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.q, self.a, *self.texts[1:]):
            digest.update(_counted(part))
        for name, part in (("key", self.key), ("title", self.title)):
            if part:
                digest.update(name.encode() + _counted(part))
        return digest.digest()


def _counted(text: str) -> bytes:
    """The text with its length before it, so that texts in a row cannot be mistaken for others."""
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "little") + encoded


@dataclass(frozen=True, slots=True)
class PassageDraft:
    """A passage before it is stored.

    Args:
        text: what is embedded: the title, if there is one, and a text of the record or a part of it.
        start: where in that text the part begins, in characters; 0 also if it is the whole.
    """

    text: str
    is_default: bool
    start: int = 0


@dataclass(frozen=True, slots=True)
class EmbeddedDraft:
    """A draft with all that storing it needs.

    Args:
        embeddings: a row for each of ``passages``.
        record_id: that of the record it replaces, if it replaces one.
    """

    draft: RecordDraft
    tokens: int
    passages: tuple[PassageDraft, ...]
    embeddings: StoredEmbeddings
    record_id: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A stored q/a pair: what is quoted. ``tokens`` counts its text in cl100k_base."""

    id: str
    dataset_id: str
    collection_id: str
    q: str
    a: str
    chunk_index: int
    tokens: int
    updated_at: datetime
    key: str = ""
    title: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def text(self) -> str:
        return f"{self.q}\n{self.a}" if self.a else self.q


@dataclass(frozen=True, slots=True)
class Passage:
    """One indexed text of a record, or a part of one. Ids are given out by the store in order and never reused.

    The parts of a text follow one another; ``start`` is where in it they begin, so that 0 begins another text.
    """

    id: int
    text: str
    is_default: bool
    start: int = 0


@dataclass(frozen=True, slots=True)
class PassageBlock:
    """Passages as an index wants them: columns, by ascending id."""

    ids: PassageIds
    collection_keys: npt.NDArray[np.int64]
    embeddings: StoredEmbeddings

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to a dataset's passages after a watermark, in one step of a catch-up.

    ``watermark`` is where to go on from; ``is_last`` says that nothing more is to come.
    """

    added: PassageBlock
    removed: PassageIds
    watermark: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class CollectionFilter:
    """Which collections of a dataset to search in: those with the keys, or all but them."""

    keys: frozenset[int]
    is_denial: bool = False

    def keeps(self, collection_keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the collections are searched."""
        named = np.fromiter(self.keys, dtype=np.int64, count=len(self.keys))
        return np.isin(collection_keys, named, invert=self.is_denial)


@dataclass(frozen=True, slots=True)
class Document:
    """A named JSON value that the store keeps for the layers above: an app, a key, a chat turn.

    Documents of a kind have distinct ids; those of one group can be listed by ``seq``, which the
    store counts up.
    """

    kind: str
    id: str
    group: str
    seq: int
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found by an index, with its raw score."""

    passage_id: int
    score: float


@dataclass(frozen=True, slots=True)
class Score:
    """One score of a quote: its type on the wire, its value, the rank it gave (from 0)."""

    type: str
    value: float
    index: int


@dataclass(frozen=True, slots=True)
class Quote:
    """A record ready to cite, its deciding score first."""

    record: Record
    collection_name: str
    scores: tuple[Score, ...]
    passage_id: int

    @property
    def score(self) -> float:
        """The one that decided its place."""
        return self.scores[0].value


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A question to one or several datasets.

    Args:
        similarity: lowest score to keep, inclusive, 0 to 1.
        limit: token budget for all quotes together, 1 to ``MAX_LIMIT``.
        top_k: most quotes; ``None`` for as many as the budget holds.
    """

    text: str
    dataset_ids: Sequence[str]
    similarity: float = 0.0
    limit: int = 1500
    top_k: int | None = None
    mode: SearchMode = "embedding"


MAX_LIMIT = 20_000
"""The largest token budget of one search."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Quotes, best first, and what it took to find them."""

    quotes: tuple[Quote, ...]
    request: SearchRequest
    model: ModelBinding
    seconds: float


@dataclass(frozen=True, slots=True)
class AddResult:
    """What became of a batch of drafts: ``added`` + ``updated`` + ``unchanged`` = drafts given."""

    added: tuple[str, ...] = ()
    """Record ids, in the order of the drafts."""
    updated: tuple[str, ...] = ()
    """Record ids, in the order of the drafts."""
    unchanged: int = 0
    removed: int = 0
    """Records that went."""
    embedded: int = 0
    """Texts that the embedding model had to read."""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """Where the parts of a dataset's index stand."""

    passages: int
    """In the store."""
    sealed: int
    """In the sealed part, which is on disk."""
    has_graph: bool
    """Whether the sealed part is walked along a graph, or scanned."""
    flat: int
    """Scanned, and read from the store at the next start."""
    removed: int
    """Marked, and still taking room until the next fold."""
    memory_bytes: int
    disk_bytes: int
    is_loaded: bool
    load_seconds: float
    folding: float | None
    """The share that is done of the fold or rebuild under way."""


@dataclass(frozen=True, slots=True)
class IndexDifferences:
    """How an index differed from the store, in passages."""

    missing: int = 0
    surplus: int = 0
    misfiled: int = 0
    """In another collection."""
    changed: int = 0
    """With another embedding."""
    snapshot: str = ""
    """What is wrong with its files."""

    @property
    def is_clean(self) -> bool:
        return self == IndexDifferences()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What ``verify`` found and mended."""

    repaired_batches: int = 0
    orphans_removed: int = 0
    differences: Mapping[str, IndexDifferences] = field(default_factory=dict)
    """Of the indexes that were not as the store has it, by dataset name; they are made again."""
    passages: Mapping[str, int] = field(default_factory=dict)
    """Passages by dataset name."""

    @property
    def is_clean(self) -> bool:
        return not (self.repaired_batches or self.orphans_removed or self.differences)
