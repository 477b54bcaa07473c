"""Whatever is done to a library, in whatever order: it answers like brute force over a dict."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
)

from retrieval.errors import CollectionNotFound
from retrieval.library import Library
from retrieval.types import MAX_LIMIT, Collection, RecordDraft, SearchRequest, VerifyReport
from tests.doubles import GridEmbedder
from tests.oracle import expected_quotes

TEXTS = ("coffee", "coffee!", "beans", "shipping", "returns", "咖啡", "咖啡豆", "opening hours")

drafts = st.builds(
    RecordDraft,
    q=st.sampled_from(TEXTS),
    a=st.sampled_from(("", "yes", "yes.", "no")),
    indexes=st.lists(st.sampled_from(TEXTS), max_size=3).map(tuple),
)


class LibraryMachine(RuleBasedStateMachine):
    """Two datasets; ``self.records`` holds what has to be found, in the order of adding."""

    collections = Bundle("collections")
    records_added = Bundle("records_added")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="library-machine-"))
        self.lives = 0
        self.library = Library.open(self.data_dir, GridEmbedder())
        self.records: dict[str, tuple[Collection, RecordDraft]] = {}
        self.deleted: list[str] = []

    @property
    def data_dir(self) -> Path:
        return self.folder / str(self.lives)

    @initialize(target=collections)
    def create(self) -> object:
        self.datasets = [self.library.create_dataset(name) for name in ("one", "two")]
        store = self.library.store
        return multiple(
            *(store.create_collection(dataset.id, "start") for dataset in (*self.datasets, self.datasets[0]))
        )

    @rule(target=collections, number=st.integers(0, 1))
    def create_collection(self, number: int) -> Collection:
        return self.library.store.create_collection(self.datasets[number].id, "later")

    @rule(target=records_added, collection=collections, batch=st.lists(drafts, max_size=6))
    def add(self, collection: Collection, batch: list[RecordDraft]) -> object:
        """Again and again the same few contents: most batches are in part known."""
        known = {draft.content_hash for held, draft in self.records.values() if held.id == collection.id}
        fresh: dict[bytes, RecordDraft] = {}
        for draft in batch:
            if draft.content_hash not in known:
                fresh.setdefault(draft.content_hash, draft)
        result = self.library.add_records(collection, batch)
        assert len(result.added) == len(fresh)
        assert result.unchanged == len(batch) - len(fresh)
        assert result.embedded == len({text for draft in fresh.values() for text in draft.passage_texts})
        for record_id, draft in zip(result.added, fresh.values(), strict=True):
            assert record_id not in self.records
            self.records[record_id] = (collection, draft)
        return multiple(*result.added)

    @rule(record_ids=st.lists(consumes(records_added), min_size=1, max_size=3))
    def delete_records(self, record_ids: list[str]) -> None:
        """Some are gone already, with their collection."""
        for dataset in self.datasets:
            held = [id_ for id_ in record_ids if self._dataset_of(id_) == dataset.id]
            self.library.delete_records(dataset.id, [*held, "0" * 24])
        for record_id in record_ids:
            self.records.pop(record_id, None)

    @rule(collection=consumes(collections))
    def delete_collection(self, collection: Collection) -> None:
        self.library.delete_collection(collection.id)
        self.records = {id_: value for id_, value in self.records.items() if value[0].id != collection.id}
        with pytest.raises(CollectionNotFound):
            self.library.add_records(collection, [RecordDraft("too late")])

    @rule(
        text=st.sampled_from(TEXTS),
        numbers=st.sampled_from(([0], [1], [0, 1], [1, 0])),
        similarity=st.sampled_from((0.0, 1 / 16, 0.25, 1.0)),
        limit=st.sampled_from((1, 10, 50, MAX_LIMIT)),
        top_k=st.sampled_from((None, 1, 3)),
    )
    def search(self, text: str, numbers: list[int], similarity: float, limit: int, top_k: int | None) -> None:
        request = SearchRequest(text, [self.datasets[n].id for n in numbers], similarity, limit, top_k)
        self._assert_answers(request)

    @rule()
    def close_and_reopen(self) -> None:
        self.library.close()
        self.library = Library.open(self.data_dir, GridEmbedder())

    @rule()
    def crash(self) -> None:
        """Go on from what is on the disk at this moment: the log of the database, indexes of the past."""
        before = self.data_dir
        self.lives += 1
        shutil.copytree(before, self.data_dir)
        self.library.close()
        shutil.rmtree(before)
        self.library = Library.open(self.data_dir, GridEmbedder())

    @rule()
    def lose_the_indexes(self) -> None:
        self.library.close()
        shutil.rmtree(self.data_dir / "indexes", ignore_errors=True)
        self.library = Library.open(self.data_dir, GridEmbedder())

    @rule()
    def verify(self) -> None:
        counts = {dataset.name: 0 for dataset in self.datasets}
        for collection, draft in self.records.values():
            name = next(dataset.name for dataset in self.datasets if dataset.id == collection.dataset_id)
            counts[name] += len(draft.passage_texts)
        assert self.library.verify() == VerifyReport(passages=counts)

    def teardown(self) -> None:
        for dataset in self.datasets:
            self._assert_answers(SearchRequest("coffee", [dataset.id], limit=MAX_LIMIT))
        self.verify()
        self.library.close()
        shutil.rmtree(self.folder)

    def _dataset_of(self, record_id: str) -> str | None:
        return self.records[record_id][0].dataset_id if record_id in self.records else None

    def _assert_answers(self, request: SearchRequest) -> None:
        held = {
            record_id: draft
            for record_id, (collection, draft) in self.records.items()
            if collection.dataset_id in request.dataset_ids
        }
        found = [(quote.record.id, quote.score) for quote in self.library.search(request).quotes]
        assert found == expected_quotes(GridEmbedder(), held, request)


TestLibraryMachine = LibraryMachine.TestCase
TestLibraryMachine.settings = settings(
    max_examples=50, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
