"""The nouns of the engine, as frozen values. No behaviour beyond what follows from the fields."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.float32]
"""(n, dim) float32, rows of unit length."""

StoredEmbeddings = npt.NDArray[np.float16]
"""(n, dim) float16: what the store keeps and the indexes search."""

PassageIds = npt.NDArray[np.int64]

SearchMode = Literal["embedding", "fullTextRecall", "mixedRecall"]

Channel = Literal["embedding", "fullText"]
"""A way to recall passages."""

Fusion = Literal["scores", "ranks"]
"""How recalls become one order: see :mod:`retrieval.fusion`."""

Item = TypeVar("Item")


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
    """What is searched together, or a folder of datasets, which holds nothing else.

    Args:
        parent_id: that of the folder it is in; empty at the top.
        avatar: a picture of it, as a URL.
    """

    id: str
    name: str
    model: ModelBinding
    intro: str
    created_at: datetime
    updated_at: datetime
    parent_id: str = ""
    is_folder: bool = False
    avatar: str = ""
    edition: int = 0
    """Of the passages that are searched: see :mod:`retrieval.store.editions`."""

    @property
    def index_name(self) -> str:
        """Of its indexes: each edition has its own."""
        return f"{self.id}-{self.edition}" if self.edition else self.id


FOLDER = "folder"
"""The kind of a collection that has collections in it and no records."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One source inside a dataset: a file, a manual set; or a folder of such.

    Args:
        key: the small integer that indexes label passages with, so that they can filter.
        parent_id: that of the folder it is in; empty at the top.
        kind: ``virtual``, ``file``, ``link``, ``folder`` or what else a client calls it.
        metadata: JSON values that are kept with it.
    """

    id: str
    key: int
    dataset_id: str
    name: str
    tags: tuple[str, ...]
    forbid: bool
    created_at: datetime
    updated_at: datetime
    parent_id: str = ""
    kind: str = "virtual"
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def is_folder(self) -> bool:
        return self.kind == FOLDER


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list that is ``total`` long."""

    items: tuple[Item, ...]
    total: int


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


class Record(NamedTuple):
    """A stored q/a pair: what is quoted. ``tokens`` counts its text in cl100k_base. Searches make many."""

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
    metadata: Mapping[str, object] = MappingProxyType({})

    def __hash__(self) -> int:
        return hash(self.id)

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
class TextBlock:
    """Passages as a full-text index wants them: columns, by ascending id."""

    ids: PassageIds
    collection_keys: npt.NDArray[np.int64]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class TextChanges:
    """:class:`Changes`, with the texts of the passages instead of their embeddings."""

    added: TextBlock
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


class Hit(NamedTuple):
    """A passage found by an index, with its raw score. Searches make many."""

    passage_id: int
    score: float


@dataclass(frozen=True, slots=True)
class Score:
    """One score of a quote: its type on the wire, its value, the rank it gave (from 0)."""

    type: str
    value: float
    index: int


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one recall gave to the fused score of a record.

    Args:
        source: the channel, or ``reRank``, or ``fused`` for the order before reranking.
        phrasing: the text that was searched with.
        passage_id: the record's best in this recall.
        raw: the score as the index or the model gave it; 0 where a passage has no term of the text.
        rank: from 0; ``None`` if the recall did not bring the record.
        normalised: what took the place of ``raw`` in the sum.
    """

    source: Literal["embedding", "fullText", "reRank", "fused"]
    phrasing: str
    passage_id: int
    raw: float
    rank: int | None
    normalised: float
    weight: float

    @property
    def value(self) -> float:
        return self.weight * self.normalised


@dataclass(frozen=True, slots=True)
class Quote:
    """A record ready to cite, its deciding score first."""

    record: Record
    collection_name: str
    scores: tuple[Score, ...]
    passage_id: int
    """The one that brought it, by the first of its recalls."""
    contributions: tuple[Contribution, ...] = ()
    """What its deciding score is the sum of; none where there was only one recall. After reranking it is
    the sum of ``fused`` and ``reRank``, and the raw score of ``fused`` is the sum of the others."""

    @property
    def score(self) -> float:
        """The one that decided its place."""
        return self.scores[0].value

    def score_of(self, type_: str) -> float | None:
        """Its score of a type, if it has one."""
        for score in self.scores:
            if score.type == type_:
                return score.value
        return None


@dataclass(frozen=True, slots=True)
class CollectionMatch:
    """Which collections to search in: those that meet everything that is given.

    Args:
        ids: it is one of these.
        all_of: it has all of these tags; ``None`` stands for having none at all.
        any_of: it has one of these tags, or none at all where ``None`` is among them.
        created_from: it was created then or later; with a time zone.
        created_to: it was created then or earlier; with a time zone.
    """

    ids: frozenset[str] | None = None
    all_of: tuple[str | None, ...] = ()
    any_of: tuple[str | None, ...] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Extension:
    """That the completion backend is to rewrite the question and phrase it in other ways.

    Args:
        history: (role, text) of what was said before, oldest first.
        model: of the backend; empty for its own.
    """

    background: str = ""
    history: tuple[tuple[Literal["user", "assistant"], str], ...] = ()
    model: str = ""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A question to one or several datasets.

    Args:
        similarity: lowest score to keep, inclusive, 0 to 1; ``None`` for what the datasets were
            calibrated to, else 0.
        limit: token budget for all quotes together, 1 to ``MAX_LIMIT``.
        top_k: most quotes; ``None`` for as many as the budget holds.
        embedding_weight: of the embedding channel in ``mixedRecall``, 0 to 1; the full text has the rest.
        per_source: most quotes of one collection.
        rerank_weight: of the reranker's order, 0 to 1; the order before it has the rest.
        explain: whether the decisions about all that was looked at are told.
        explain_record: one more record whose absence is to be explained.
    """

    text: str
    dataset_ids: Sequence[str]
    similarity: float | None = None
    limit: int = 1500
    top_k: int | None = None
    mode: SearchMode = "embedding"
    embedding_weight: float = 0.5
    fusion: Fusion = "scores"
    per_source: int | None = None
    collections: CollectionMatch | None = None
    rerank: bool = False
    rerank_weight: float = 0.5
    extension: Extension | None = None
    explain: bool = False
    explain_record: str | None = None


MAX_LIMIT = 20_000
"""The largest token budget of one search."""


class Decision(NamedTuple):
    """What became of a quote that was looked at.

    Args:
        dropped_by: empty if it is in the result.
        detail: why, in words.
    """

    quote: Quote
    dropped_by: Literal["", "repeat", "depth", "similarity", "limit", "topK", "perSource"]
    detail: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that was looked at, in order, and what became of it.

    Args:
        texts: of the passages that are named in the decisions.
        terms: what these have in common with what was searched for, as the full-text index sees it.
        absent: why the record that was asked for is not among ``decisions``; empty if it is, or if none was.
    """

    decisions: tuple[Decision, ...]
    texts: Mapping[int, str]
    terms: Mapping[int, tuple[str, ...]]
    absent: str = ""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Quotes, best first, and what it took to find them.

    Args:
        similarity: the threshold that was applied.
        filtered_by: the type of the score that it was applied to; ``None`` if there is no such score.
        phrasings: the texts that were searched with, that of the request or its rewriting first.
        reranked_by: the name of the model; empty if nothing was reranked.
        notes: what was asked for and could not be done, in words.
    """

    quotes: tuple[Quote, ...]
    request: SearchRequest
    model: ModelBinding
    seconds: float
    similarity: float
    filtered_by: Literal["embedding", "reRank"] | None
    phrasings: tuple[str, ...]
    reranked_by: str = ""
    notes: tuple[str, ...] = ()
    explanation: Explanation | None = None


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
    text_differences: Mapping[str, IndexDifferences] = field(default_factory=dict)
    """As ``differences``, of the full-text indexes."""

    @property
    def is_clean(self) -> bool:
        found = (self.repaired_batches, self.orphans_removed, self.differences, self.text_differences)
        return not any(found)
