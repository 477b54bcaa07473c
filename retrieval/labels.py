"""Labelled queries, and the records of a dataset that their labels name."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from collections.abc import Collection as AnyOf
from dataclasses import dataclass, field

from retrieval.errors import InvalidRequest
from retrieval.evaluation import Qrels
from retrieval.quotes import content_key
from retrieval.types import Record, RecordDraft

ROW_NUMBER = "row number"

NamesOf = Callable[[Record], Sequence[str]]
"""What a record may be called in labels."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Queries by id, and what is relevant to them; an empty set of that says that nothing answers the query.

    Args:
        qrels: for each query, of records by name. Names are record ids, keys or row numbers from 1, the
            same for all; or, ``by_question``, the q of records without white space around it.
        contents: content keys of documents that the names stand for, where they are known.
    """

    queries: Mapping[str, str]
    qrels: Qrels
    by_question: bool = False
    contents: Mapping[str, str] = field(default_factory=dict)

    def ways(self) -> dict[str, NamesOf]:
        """In which ways labels may name records, the most certain first."""
        if self.by_question:
            return {"question": lambda record: (record.q.strip(),)}
        named: dict[str, list[str]] = {}
        for name, key in self.contents.items():
            named.setdefault(key, []).append(name)
        return {
            "record id": lambda record: (record.id,),
            "key": lambda record: (record.key,),
            "content": lambda record: named.get(content_key(record), ()),
            ROW_NUMBER: lambda record: (str(record.chunk_index + 1),),
        }


@dataclass(frozen=True, slots=True)
class Listed:
    """A record of a dataset with its custom texts."""

    record: Record
    indexes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Met:
    """Labels in terms of what searches find: documents are content keys.

    Args:
        qrels: of the queries that something answers.
        unanswerable: ids of those that nothing does.
        names: what the labels named records by.
        unmet: names that no record has; they count as relevant, and as never found.
        leaked: ids of queries whose text is that of a passage, or the q of a record.
    """

    queries: Mapping[str, str]
    qrels: Qrels
    unanswerable: frozenset[str]
    names: str
    unmet: tuple[str, ...]
    leaked: frozenset[str]


class Digest:
    """A hash of records by their texts and keys, in whatever order they come."""

    def __init__(self) -> None:
        self._sum = 0

    def over(self, records: Iterable[Listed]) -> Iterator[Listed]:
        """The records, which count when they are taken."""
        for listed in records:
            record = listed.record
            draft = RecordDraft(record.q, record.a, listed.indexes, key=record.key)
            self._sum += int.from_bytes(draft.content_hash)
            yield listed

    def __str__(self) -> str:
        return f"{self._sum % (1 << 64):016x}"


def loose(text: str) -> str:
    """Equal for texts that differ in nothing but spaces and punctuation."""
    return content_key(RecordDraft(text))


def meet(labels: Labels, records: Iterable[Listed]) -> Met:
    """Find the records that labels name, in one pass over all of a dataset.

    Names are taken for what most of them can be: record ids, else keys, else documents of the same
    content, else row numbers.

    Raises:
        InvalidRequest: no record is named, or rows of several collections have the same number.
    """
    wanted = dict.fromkeys(name for judged in labels.qrels.values() for name in judged)
    texts = {loose(text) for text in labels.queries.values()}
    found, known = _look_up(labels.ways(), wanted, texts, records)
    names = max(found, key=lambda names: len(found[names]))
    _check_found(names, found[names], list(wanted))
    keys = {name: [content_key(record) for record in named] for name, named in found[names].items()}
    qrels = {query_id: by_content(judged, keys) for query_id, judged in labels.qrels.items()}
    answered = {query_id: judged for query_id, judged in qrels.items() if max(judged.values(), default=0) > 0}
    return Met(
        labels.queries,
        answered,
        unanswerable=frozenset(qrels.keys() - answered.keys()),
        names=names,
        unmet=tuple(name for name in wanted if name not in keys),
        leaked=frozenset(query_id for query_id, text in labels.queries.items() if loose(text) in known),
    )


def _look_up(
    ways: Mapping[str, NamesOf], wanted: AnyOf[str], texts: Set[str], records: Iterable[Listed]
) -> tuple[dict[str, dict[str, list[Record]]], set[str]]:
    """The records of each wanted name, by each way of naming; and those of the loose texts that records have."""
    found: dict[str, dict[str, list[Record]]] = {names: {} for names in ways}
    known: set[str] = set()
    for listed in records:
        record = listed.record
        known |= texts & {loose(text) for text in (record.q, record.text, *listed.indexes)}
        for names, names_of in ways.items():
            for name in names_of(record):
                if name in wanted:
                    found[names].setdefault(name, []).append(record)
    return found, known


def _check_found(names: str, found: Mapping[str, Sequence[Record]], wanted: Sequence[str]) -> None:
    if not found:
        example = f", such as {wanted[0]!r}" if wanted else ""
        raise InvalidRequest(
            f"the labels name no record of the dataset{example}: name records by their id, key or row number, or in "
            "a CSV by their q"
        )
    for name, named in found.items():
        if names == ROW_NUMBER and len({record.collection_id for record in named}) > 1:
            raise InvalidRequest(
                f"row {name} is there in several collections: name records by their id or key, or in a CSV by their q"
            )


def by_content(judged: Mapping[str, int], keys: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Judgements by content key, the highest of each; ``keys`` are those of each name.

    A name without keys looks like no key, which has no space, or no letter.
    """
    values = sorted(judged.items(), key=lambda item: item[1])
    return {key: value for name, value in values for key in keys.get(name, (f"unmet {name}",))}
