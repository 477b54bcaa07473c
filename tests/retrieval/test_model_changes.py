"""A dataset is moved to another embedding model while it is searched and changed, and back."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retrieval import model_changes
from retrieval.calibration import Calibrations, Threshold
from retrieval.errors import EmbedderUnavailable, InvalidRequest, ModelMismatch
from retrieval.library import Library
from retrieval.model_changes import ChangeCancelled
from retrieval.types import Collection, Embeddings, RecordDraft, SearchRequest, SearchResult
from retrieval.vectors.index import FoldPolicy
from tests.doubles import HashEmbedder
from tests.mongodb import own_database


class NarrowHash(HashEmbedder):
    """Reads little, so that its passages are others."""

    name = "narrow"
    fingerprint = "narrow-1"
    max_tokens = 16


@pytest.fixture
def narrow() -> NarrowHash:
    return NarrowHash(24)


@pytest.fixture(params=["sqlite", "mongodb"])
def reopen(
    request: pytest.FixtureRequest, tmp_path: Path, embedder: HashEmbedder, narrow: NarrowHash
) -> Iterator[Callable[[], Library]]:
    """Opens the library, closed before if it was open."""
    opened: list[Library] = []

    def opening(uri: str | None) -> Library:
        if opened:
            opened.pop().close()
        opened.append(Library.open(tmp_path / "moved", embedder, uri, models=[narrow]))
        return opened[0]

    if request.param == "sqlite":
        yield lambda: opening(None)
        opened[0].close()
        return
    with own_database(request.getfixturevalue("mongodb_uri")) as uri:
        yield lambda: opening(uri)
        opened[0].close()


@pytest.fixture
def moved(reopen: Callable[[], Library]) -> Library:
    return reopen()


LONG = " ".join(f"Sentence {n} tells of kettles and of the water in them." for n in range(12))


def filled(library: Library, count: int = 40) -> Collection:
    collection = library.ensure_collection(library.create_dataset("d").id, "c")
    drafts = [RecordDraft(f"kettle {n}", f"answer {n}", (f"index {n}",), key=str(n)) for n in range(count)]
    library.add_records(
        collection, [*drafts, RecordDraft(LONG, title="A title", indexes=(f"custom {LONG}",))]
    )
    return collection


def search(
    library: Library, collection: Collection, text: str = "kettle 3", **fields: object
) -> SearchResult:
    request = SearchRequest(text, (collection.dataset_id,), limit=20_000, similarity=0.0, **fields)  # type: ignore[arg-type]
    return library.search(request)


def scored(result: SearchResult) -> list[tuple[str, float]]:
    return [(quote.record.id, quote.score) for quote in result.quotes]


def test_after_a_change_everything_is_found_by_the_new_model(
    moved: Library, narrow: NarrowHash, reopen: Callable[[], Library]
) -> None:
    collection = filled(moved)
    records = moved.store.list_records(collection.id)
    steps: list[tuple[int, int]] = []
    moved.change_model(collection.dataset_id, "narrow", lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == 82
    fresh = moved.ensure_collection(moved.create_dataset("fresh", model="narrow").id, "c")
    moved.add_records(
        fresh, [RecordDraft(f"kettle {n}", f"answer {n}", (f"index {n}",), key=str(n)) for n in range(40)]
    )
    moved.add_records(fresh, [RecordDraft(LONG, title="A title", indexes=(f"custom {LONG}",))])
    for get in (lambda: moved, reopen):
        library = get()
        assert library.store.list_records(collection.id) == records
        for mode in ("embedding", "fullTextRecall", "mixedRecall"):
            found, expected = search(library, collection, mode=mode), search(library, fresh, mode=mode)
            assert [quote.score for quote in found.quotes] == [quote.score for quote in expected.quotes]
            assert found.model.name == "narrow"
        assert library.verify().is_clean


def test_a_roll_back_gives_the_same_scores_and_has_what_came_meanwhile(moved: Library) -> None:
    collection = filled(moved)
    before = [scored(search(moved, collection, mode=mode)) for mode in ("embedding", "mixedRecall")]
    moved.change_model(collection.dataset_id, "narrow")
    assert scored(search(moved, collection)) != before[0]
    moved.roll_back_model(collection.dataset_id)
    assert [scored(search(moved, collection, mode=mode)) for mode in ("embedding", "mixedRecall")] == before
    moved.change_model(collection.dataset_id, "narrow")
    (added,) = moved.add_records(collection, [RecordDraft("a teapot")]).added
    gone = before[0][0][0]
    moved.delete_records(collection.dataset_id, [gone])
    moved.roll_back_model(collection.dataset_id)
    result = search(moved, collection, "a teapot")
    assert result.quotes[0].record.id == added
    assert result.quotes[0].score == pytest.approx(1.0, abs=1e-3)
    assert gone not in dict(scored(search(moved, collection)))
    assert moved.verify().is_clean


def test_a_roll_back_embeds_only_what_came_meanwhile(
    moved: Library, embedder: HashEmbedder, narrow: NarrowHash
) -> None:
    collection = filled(moved)
    moved.change_model(collection.dataset_id, "narrow")
    moved.add_records(collection, [RecordDraft("a teapot")])
    before = embedder.texts_read
    moved.roll_back_model(collection.dataset_id)
    assert embedder.texts_read - before == 1
    before = narrow.texts_read
    moved.roll_back_model(collection.dataset_id)
    assert narrow.texts_read == before


def test_what_was_cut_off_is_gone_on_with_and_nothing_is_embedded_twice(
    moved: Library, reopen: Callable[[], Library], narrow: NarrowHash, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_changes, "STEP", 10)
    collection = filled(moved)
    cancelled = threading.Event()
    with pytest.raises(ChangeCancelled):
        moved.change_model(
            collection.dataset_id,
            "narrow",
            lambda done, _: cancelled.set() if done >= 30 else None,
            cancelled,
        )
    assert 0 < narrow.texts_read < 60
    assert search(moved, collection).model.name == "hash"
    library = reopen()
    # What is remembered of texts is gone with the process.
    library.change_model(collection.dataset_id, "narrow")
    ids = [record.id for record in library.store.list_records(collection.id)]
    stored = [one.text for passages in library.store.passages_of(ids).values() for one in passages]
    assert len(set(stored)) == narrow.texts_read > 82
    assert library.verify().is_clean


def test_searches_adds_and_deletes_go_on_meanwhile(moved: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_changes, "STEP", 8)
    collection = filled(moved)
    widths = {"hash": 64, "narrow": 24}
    over = threading.Event()
    kept: list[str] = []

    def ask() -> set[str]:
        seen = set()
        while not over.is_set():
            for mode in ("embedding", "mixedRecall"):
                result = search(moved, collection, mode=mode, explain=True)
                assert result.model.dim == widths[result.model.name]
                model = moved.models.named(result.model.name)
                quote = next(quote for quote in result.quotes if quote.record.key == "5")
                rows = model.embedder.embed_passages([quote.record.text, "index 5"])
                cosine = float((rows @ model.embedder.embed_queries(["kettle 3"])[0]).max())
                assert quote.score_of("embedding") == pytest.approx(cosine, abs=2e-3)
                seen.add(result.model.name)
        return seen

    def write() -> None:
        number = 0
        while not over.is_set():
            added = moved.add_records(collection, [RecordDraft(f"teapot {number}")]).added
            if number % 2:
                moved.delete_records(collection.dataset_id, added)
            else:
                kept.extend(added)
            number += 1

    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(ask), pool.submit(ask), pool.submit(write)]
        try:
            for name in ("narrow", "hash", "narrow"):
                moved.change_model(collection.dataset_id, name)
        finally:
            over.set()
        seen = tasks[0].result() | tasks[1].result()
        tasks[2].result()
    assert seen == {"hash", "narrow"}
    present = moved.store.records_in(collection.dataset_id, kept)
    assert sorted(present) == sorted(kept)
    found = {quote.record.id for quote in search(moved, collection, "teapot").quotes}
    assert set(kept) <= found | set(kept[200:])
    assert moved.verify().is_clean


def test_what_was_embedded_before_a_change_is_embedded_again_when_it_is_stored(moved: Library) -> None:
    collection = filled(moved)
    bound = moved.bound_dataset(collection.dataset_id)
    changed = RecordDraft("kettle 7", "another answer", key="7")
    prepared = moved.embed(moved.plan(collection, [changed], by_key=True), bound)
    moved.change_model(collection.dataset_id, "narrow")
    assert len(moved.commit(collection, prepared).updated) == 1
    best = search(moved, collection, "kettle 7\nanother answer").quotes[0]
    assert (best.record.a, best.score) == ("another answer", pytest.approx(1.0, abs=1e-3))


def test_a_third_model_takes_the_place_of_the_former(moved: Library, tmp_path: Path) -> None:
    collection = filled(moved)
    moved.change_model(collection.dataset_id, "narrow")
    moved.discard_old_model(collection.dataset_id)
    assert moved.store.find_edition(collection.dataset_id) is None
    with pytest.raises(InvalidRequest, match="no former embedding model"):
        moved.roll_back_model(collection.dataset_id)
    moved.change_model(collection.dataset_id, "hash")
    former = moved.store.find_edition(collection.dataset_id)
    assert former
    assert former.model.name == "narrow"


def test_a_change_that_was_not_ended_is_nothing_to_go_back_to(moved: Library) -> None:
    collection = filled(moved)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ChangeCancelled):
        moved.change_model(collection.dataset_id, "narrow", cancelled=cancelled)
    with pytest.raises(InvalidRequest, match="no former embedding model"):
        moved.roll_back_model(collection.dataset_id)


def test_unknown_models_and_the_present_one(moved: Library, narrow: NarrowHash) -> None:
    collection = filled(moved)
    with pytest.raises(InvalidRequest, match="it runs: hash, narrow"):
        moved.change_model(collection.dataset_id, "x")
    assert moved.change_model(collection.dataset_id, "hash").model.name == "hash"
    assert (narrow.texts_read, moved.store.find_edition(collection.dataset_id)) == (0, None)


def test_a_former_model_that_is_not_run_any_more_is_told(
    tmp_path: Path, embedder: HashEmbedder, narrow: NarrowHash
) -> None:
    with Library.open(tmp_path, embedder, models=[narrow]) as library:
        collection = filled(library)
        library.change_model(collection.dataset_id, "narrow")
    with Library.open(tmp_path, narrow) as library, pytest.raises(ModelMismatch, match="model hash"):
        library.roll_back_model(collection.dataset_id)


class RefusingHash(NarrowHash):
    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        raise EmbedderUnavailable("the model is away")


def test_a_model_that_fails_changes_nothing(tmp_path: Path, embedder: HashEmbedder) -> None:
    with Library.open(tmp_path, embedder, models=[RefusingHash(24)]) as library:
        collection = filled(library)
        before = scored(search(library, collection))
        with pytest.raises(EmbedderUnavailable, match="away"):
            library.change_model(collection.dataset_id, "narrow")
        assert scored(search(library, collection)) == before


def test_one_change_at_a_time(moved: Library) -> None:
    collection = filled(moved)

    def change_again(_done: int, _total: int) -> None:
        with pytest.raises(InvalidRequest, match="changed already"):
            moved.discard_old_model(collection.dataset_id)

    moved.change_model(collection.dataset_id, "narrow", change_again)


def test_a_deleted_dataset_takes_its_editions_and_their_indexes_with_it(moved: Library) -> None:
    collection = filled(moved)
    search(moved, collection, mode="mixedRecall")
    moved.change_model(collection.dataset_id, "narrow")
    search(moved, collection, mode="mixedRecall")
    moved.settle()
    moved.delete_dataset(collection.dataset_id)
    left = [path.name for kind in ("indexes", "fulltext") for path in (moved.data_dir / kind).glob("*")]
    assert [name for name in left if name.startswith(collection.dataset_id)] == []


def test_a_threshold_is_of_the_model_that_it_was_calibrated_with(moved: Library) -> None:
    collection = filled(moved)
    thresholds = Calibrations(moved.store)
    threshold = Threshold(collection.dataset_id, "embedding", False, 0.9, 1.0, 1.0, "2026-01-01", "x")
    thresholds.put(threshold)
    moved.change_model(collection.dataset_id, "narrow")
    assert thresholds.find(moved.store.get_dataset(collection.dataset_id), "embedding") is None
    assert thresholds.list(collection.dataset_id) == []
    moved.roll_back_model(collection.dataset_id)
    assert thresholds.list(collection.dataset_id) == [threshold]


def test_the_index_of_a_large_dataset_is_sealed_before_it_is_searched(
    tmp_path: Path, embedder: HashEmbedder, narrow: NarrowHash
) -> None:
    folds = FoldPolicy(exact_limit=20)
    with Library.open(tmp_path, embedder, folds=folds, models=[narrow]) as library:
        collection = filled(library)
        library.change_model(collection.dataset_id, "narrow")
        status = library.index_status(collection.dataset_id)
        assert (status.has_graph, status.sealed, status.flat) == (True, status.passages, 0)


class InterruptedHash(HashEmbedder):
    """Calls ``on_query`` once, in the middle of a search."""

    on_query: Callable[[], object] = staticmethod(lambda: None)

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        on_query, self.on_query = self.on_query, lambda: None
        on_query()
        return super().embed_queries(texts)


def test_a_search_that_a_change_came_across_is_made_again(tmp_path: Path, narrow: NarrowHash) -> None:
    embedder = InterruptedHash()
    with Library.open(tmp_path, embedder, models=[narrow]) as library:
        collection = filled(library)

        def move() -> None:
            library.change_model(collection.dataset_id, "narrow")
            library.discard_old_model(collection.dataset_id)

        embedder.on_query = move
        crossed = search(library, collection, "kettle 7", mode="mixedRecall", explain=True)
        after = search(library, collection, "kettle 7", mode="mixedRecall", explain=True)
        assert crossed.model.name == "narrow"
        assert (scored(crossed), crossed.explanation) == (scored(after), after.explanation)
