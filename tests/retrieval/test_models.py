"""Several embedding models in one library: each dataset with its own, and searches over both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.embedding import BUNDLED, Embedder, EmbedderChoice, open_later
from retrieval.embedding.lazy import LazyEmbedder
from retrieval.embedding.models import Models
from retrieval.errors import EmbedderUnavailable, InvalidRequest, ModelMismatch
from retrieval.library import Library
from retrieval.types import Collection, Dataset, RecordDraft, SearchRequest
from tests.doubles import DialEmbedder, HashEmbedder


class OtherHash(HashEmbedder):
    name = "other"
    fingerprint = "other-1"


@pytest.fixture
def other() -> OtherHash:
    return OtherHash(32)


@pytest.fixture
def two(tmp_path: Path, embedder: HashEmbedder, other: OtherHash) -> Iterator[Library]:
    """A library that runs ``hash`` and ``other``."""
    with Library.open(tmp_path / "two", embedder, models=[other]) as library:
        yield library


def filled(library: Library, name: str, model: str, *texts: str) -> Collection:
    collection = library.ensure_collection(library.create_dataset(name, model=model).id, "c")
    library.add_records(collection, [RecordDraft(text) for text in texts])
    return collection


def scores(library: Library, text: str, *collections: Collection, **fields: object) -> dict[str, float]:
    ids = tuple(collection.dataset_id for collection in collections)
    request = SearchRequest(text, ids, limit=20_000, **fields)  # type: ignore[arg-type]
    return {quote.record.q: quote.score_of("embedding") or 0.0 for quote in library.search(request).quotes}


def test_each_dataset_is_embedded_and_searched_by_its_own_model(
    two: Library, embedder: HashEmbedder, other: OtherHash
) -> None:
    first = filled(two, "a", "", "kettle")
    second = filled(two, "b", "other", "kettle", "kettles")
    assert [two.store.get_dataset(one.dataset_id).model.dim for one in (first, second)] == [64, 32]
    assert (embedder.texts_read, other.texts_read) == (1, 2)
    expected = float(other.embed_queries(["kettle"])[0] @ other.embed_queries(["kettles"])[0])
    assert scores(two, "kettle", second) == pytest.approx({"kettle": 1.0, "kettles": expected}, abs=1e-3)
    assert two.search(SearchRequest("kettle", (second.dataset_id,))).model.name == "other"


def test_datasets_of_different_models_are_joined_by_ranks(two: Library) -> None:
    first = filled(two, "a", "", "the kettle", "quite another thing")
    second = filled(two, "b", "other", "kettle", "unlike everything")
    request = SearchRequest("kettle", (first.dataset_id, second.dataset_id), limit=20_000, similarity=0.0)
    quotes = two.search(request).quotes
    assert {quote.record.q for quote in quotes[:2]} == {"kettle", "the kettle"}
    assert [quote.scores[0].value for quote in quotes[:2]] == [round(1 / 61, 6)] * 2
    alone = scores(two, "kettle", first) | scores(two, "kettle", second)
    assert {quote.record.q: quote.score_of("embedding") for quote in quotes} == pytest.approx(alone)


@pytest.mark.parametrize("mode", ["embedding", "fullTextRecall", "mixedRecall"])
def test_every_mode_searches_in_both(two: Library, mode: str) -> None:
    both = [filled(two, "a", "", "green kettle"), filled(two, "b", "other", "black kettle")]
    assert scores(two, "kettle", *both, mode=mode, explain=True).keys() == {"green kettle", "black kettle"}


def test_ready_made_embeddings_have_the_width_of_the_datasets_model(two: Library, other: OtherHash) -> None:
    collection = filled(two, "b", "other")
    two.add_records(collection, [RecordDraft("x")], other.embed_passages(["x"]))
    assert scores(two, "x", collection) == pytest.approx({"x": 1.0}, abs=1e-3)


def test_what_another_model_has_embedded_is_embedded_again_when_it_is_stored(two: Library) -> None:
    first, second = filled(two, "a", ""), filled(two, "b", "other")
    plan = two.plan(second, [RecordDraft("x")])
    prepared = two.embed(plan, two.bound_dataset(first.dataset_id))
    assert len(two.commit(second, prepared).added) == 1
    assert scores(two, "x", second) == pytest.approx({"x": 1.0}, abs=1e-3)


def test_an_unknown_model_is_refused_by_name(two: Library) -> None:
    with pytest.raises(InvalidRequest, match=r"'x' \(it runs: hash, other\)"):
        two.create_dataset("d", model="x")


def test_a_dataset_of_no_model_of_the_process_is_refused(two: Library) -> None:
    bound = two.store.create_dataset("d", Models(DialEmbedder()).primary.binding)
    with pytest.raises(ModelMismatch, match=r"model dial \(2 .*this process runs hash \(64 .*\), other: set"):
        two.search(SearchRequest("x", (bound.id,)))


def test_of_two_models_of_a_name_the_dataset_has_that_of_its_weights(two: Library) -> None:
    narrow, wide = OtherHash(8), OtherHash(16)
    models = Models(HashEmbedder(), [narrow, wide])
    dataset = two.store.create_dataset("d", Models(wide).primary.binding)
    assert models.of(dataset).embedder is wide
    assert models.names == ("hash", "other")


def test_a_further_model_is_opened_once_and_for_its_own_datasets_only(two: Library, other: OtherHash) -> None:
    opened: list[str] = []

    def open_other() -> Embedder:
        opened.append("other")
        return other

    models = Models(HashEmbedder(), [LazyEmbedder("other", open_other)])
    assert models.of(two.create_dataset("a")) is models.primary
    assert (models.names, opened) == (("hash", "other"), [])
    bound: Dataset = two.create_dataset("b", model="other")
    found = models.of(bound).embedder
    assert (found.dim, found.max_tokens, found.count_tokens(["12345678"])) == (32, 512, [2])
    assert (found.embed_queries(["x"]) == other.embed_queries(["x"])).all()
    assert opened == ["other"]


def test_a_further_model_is_known_by_its_name_before_it_is_there(tmp_path: Path) -> None:
    assert [
        EmbedderChoice(BUNDLED).name,
        EmbedderChoice("org/bge-m3").name,
        EmbedderChoice("org/bge-m3", "http://localhost/v1").name,
    ] == [BUNDLED, "bge-m3", "org/bge-m3"]
    missing = open_later(EmbedderChoice(str(tmp_path / "gone")), tmp_path)
    assert missing.name == "gone"
    with pytest.raises(EmbedderUnavailable):
        _ = missing.dim
