"""One full-text index: BM25 over the passages of a dataset, in a folder of its own.

tantivy ranks; what a term is comes from :mod:`.analysis`. A passage has two fields, its words and its
grams, and its score is the sum of both. Passages that were removed go on counting in the statistics of
terms until the index is made again, which is due at once while that is quick, and later when they are many.
Everything that is specific to tantivy stays in this module, but for the look of its files.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from tantivy import DocAddress, Document, Index, Occur, Query, Schema, SchemaBuilder, Searcher

from retrieval.errors import QuotebaseError
from retrieval.fulltext.analysis import Terms, analyse, analyse_passage, codes
from retrieval.fulltext.files import State, check_files, commit_number, read_state, write_state
from retrieval.types import CollectionFilter, Hit, TextChanges

FORMAT = "2 " + " ".join(version(package) for package in ("rjieba", "opencc", "pystemmer"))
"""Of the terms in an index: one of another format cannot be searched with today's terms."""

WRITER_BYTES = 32_000_000
"""What a catch-up may take before it writes a segment."""

SCORE_DECIMALS = 3
"""Of a score. The sums behind equal scores differ in the last bits from segment to segment."""

CODE_PASSAGES, CODE_SHARE = 3, 0.001
"""A code that more passages have, or more than this share of them, names a kind of thing and not one."""

REMOVED_SHARE = 0.05
"""Removed passages, as a share of the rest, that make an index worth making again."""

QUICKLY_MADE = 20_000
"""Passages of an index that is made again for any that is removed: two seconds of work."""


class UnusableIndex(QuotebaseError):
    """The folder holds no index of this format, or a damaged one; it can be made again from the store."""


class FullTextIndex:
    """The passages of one dataset by their terms.

    One thread changes it at a time; searches go on meanwhile and see the state before or after.

    Raises:
        UnusableIndex: what is in the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        with _translated(folder):
            damage = check_files(folder)
            if damage:
                raise UnusableIndex(f"the full-text index {folder} is damaged: {damage}")
            self._index = Index(_SCHEMA, str(folder))
            self._searcher = self._index.searcher()
            self._state = self._checked(read_state(folder))

    @property
    def watermark(self) -> int:
        """All changes up to this number of the store's sequence are in."""
        return self._state.watermark

    @property
    def is_worn(self) -> bool:
        """Whether so much was removed that it should be made again."""
        removed = self._state.added - len(self)
        return removed > (REMOVED_SHARE * len(self) if len(self) > QUICKLY_MADE else 0)

    @property
    def nbytes(self) -> int:
        """On disk."""
        return sum(file.stat().st_size for file in self._folder.iterdir() if file.is_file())

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def apply(self, steps: Iterable[TextChanges]) -> None:
        """Take in what happened in the store, in one commit; if that is cut off, nothing has changed.

        Cut off between the commit and the note of how far it came, it is of no use any more, and is told as such.
        """
        state = self._state
        with _translated(self._folder):
            writer = self._index.writer(heap_size=WRITER_BYTES, num_threads=1)
            try:
                for changes in steps:
                    state = _take_in(writer, changes, state)
                writer.commit()
            except BaseException:
                writer.rollback()
                raise
            finally:
                writer.wait_merging_threads()
            state = replace(state, commit=commit_number(self._folder), format=FORMAT)
            write_state(self._folder, state)
            self._index.reload()
            self._searcher, self._state = self._index.searcher(), state

    def _checked(self, state: State) -> State:
        """Raises UnusableIndex if it is not that of this index, or of another format."""
        if state.commit != commit_number(self._folder):
            raise UnusableIndex(f"the full-text index {self._folder} does not say how far it is")
        if state.commit and state.format != FORMAT:
            raise UnusableIndex(f"the full-text index {self._folder} is of the format {state.format}")
        return state

    def search(self, text: str, top_k: int, collections: CollectionFilter | None = None) -> list[Hit]:
        """The passages that have terms of the text, best first, ties by ascending passage id.

        Args:
            top_k: most hits; at least 1.
            collections: where to search; ``None`` for everywhere.
        """
        query = _query(analyse(text))
        if query is None:
            return []
        if collections is not None:
            query = _within(query, collections)
        searcher, wanted = self._searcher, top_k
        while True:
            # One more than wanted tells whether the last one has equals that were cut off.
            hits = _hits(searcher, query, wanted + 1)
            if len(hits) <= wanted or hits[top_k - 1].score > hits[-1].score:
                return hits[:top_k]
            wanted *= 4

    def scores(self, text: str, passage_ids: Sequence[int]) -> dict[int, float]:
        """The score of each of the passages that has a term of the text."""
        query = _query(analyse(text))
        if query is None or not passage_ids:
            return {}
        query = _both(query, Query.term_set_query(_SCHEMA, "id", list(passage_ids)))
        return {hit.passage_id: hit.score for hit in _hits(self._searcher, query, len(passage_ids))}

    def knows_code_of(self, text: str) -> bool:
        """Whether a code in the text is in few passages: one at least, ``CODE_PASSAGES`` or their share at most."""
        most = max(CODE_PASSAGES, int(CODE_SHARE * len(self)))
        counts = (self._searcher.doc_freq("words", code) for code in codes(text))
        return any(1 <= count <= most for count in counts)

    def passages(self) -> Iterator[tuple[int, int]]:
        """(id, collection key) of all that is in, in no order."""
        searcher = self._searcher
        found = searcher.search(Query.all_query(), max(1, searcher.num_docs), count=False).hits
        places = [place for _, place in found]
        return zip(_column(searcher, "id", places), _column(searcher, "collection", places), strict=True)


def _schema() -> Schema:
    builder = SchemaBuilder()
    # Signed: a deletion of an unsigned term deletes nothing, and says nothing.
    builder.add_integer_field("id", indexed=True, fast=True)
    builder.add_integer_field("collection", indexed=True, fast=True)
    for field in ("words", "grams"):
        # The terms come separated by spaces; there are none in a term.
        builder.add_text_field(field, tokenizer_name="whitespace", index_option="freq")
    return builder.build()


_SCHEMA = _schema()


def _document(passage_id: int, collection_key: int, terms: Terms) -> Document:
    document = Document()
    document.add_integer("id", passage_id)
    document.add_integer("collection", collection_key)
    document.add_text("words", " ".join(terms.words))
    document.add_text("grams", " ".join(terms.grams))
    return document


def _take_in(writer: Any, changes: TextChanges, state: State) -> State:
    """The state after the changes; what is in already is left out."""
    rows = zip(
        changes.added.ids.tolist(), changes.added.collection_keys.tolist(), changes.added.texts, strict=True
    )
    fresh = [row for row in rows if row[0] > state.watermark]
    for passage_id, key, text in fresh:
        writer.add_document(_document(passage_id, key, analyse_passage(text)))
    if len(changes.removed):
        _delete(writer, changes.removed.tolist())
    return replace(state, watermark=max(state.watermark, changes.watermark), added=state.added + len(fresh))


def _delete(writer: Any, ids: Sequence[int]) -> None:
    writer.delete_documents_by_query(Query.term_set_query(_SCHEMA, "id", list(ids)))


def _query(terms: Terms) -> Query | None:
    """Any of the terms, each once; ``None`` if there are none."""
    queries = [
        (Occur.Should, Query.term_query(_SCHEMA, field, term, "freq"))
        for field, found in (("words", terms.words), ("grams", terms.grams))
        for term in dict.fromkeys(found)
    ]
    return Query.boolean_query(queries) if queries else None


def _both(query: Query, condition: Query) -> Query:
    """The query's scores, where the condition holds."""
    return Query.boolean_query([(Occur.Must, query), (Occur.Must, Query.const_score_query(condition, 0.0))])


def _within(query: Query, collections: CollectionFilter) -> Query:
    keys = Query.term_set_query(_SCHEMA, "collection", sorted(collections.keys))
    if collections.is_denial:
        return Query.boolean_query([(Occur.Must, query), (Occur.MustNot, keys)])
    return _both(query, keys)


def _hits(searcher: Searcher, query: Query, count: int) -> list[Hit]:
    found = searcher.search(query, count, count=False).hits
    ids = _column(searcher, "id", [place for _, place in found])
    hits = [
        Hit(passage_id, round(score, SCORE_DECIMALS))
        for passage_id, (score, _) in zip(ids, found, strict=True)
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage_id))


def _column(searcher: Searcher, field: str, places: Sequence[DocAddress]) -> list[int]:
    """The field of documents, all of which have it."""
    return cast("list[int]", searcher.fast_field_values(field, list(places)))


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """tantivy's errors as one of ours."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UnusableIndex(f"the full-text index {folder} cannot be used: {error}") from error
