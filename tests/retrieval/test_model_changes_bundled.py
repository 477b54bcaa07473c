"""From the bundled model to a sentence-transformers model, and back."""

from pathlib import Path

import pytest

from retrieval.embedding import BUNDLED, EmbedderChoice, open_later
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library
from retrieval.types import RecordDraft, SearchRequest
from tests.retrieval.test_sentence_transformers import NEEDS_TORCH, POSITIONS, save_model

pytestmark = [pytest.mark.model, *NEEDS_TORCH]

TEXTS = [
    "how do I store coffee beans",
    "咖啡豆怎么保存",
    " ".join(f"put the beans in jar {n} for four weeks." for n in range(30)),
]


def scored(library: Library, dataset_id: str) -> list[tuple[str, float]]:
    request = SearchRequest("coffee beans in a jar", (dataset_id,), similarity=0.0, limit=20_000)
    return [(quote.record.id, quote.score) for quote in library.search(request).quotes]


def test_a_dataset_moves_to_a_model_that_reads_less_and_back(
    bundled: BundledEmbedder, tmp_path: Path
) -> None:
    folder = save_model(tmp_path, 1)
    tiny = open_later(EmbedderChoice(str(folder)), tmp_path)
    with Library.open(tmp_path / "data", bundled, models=[tiny]) as library:
        collection = library.ensure_collection(library.create_dataset("d").id, "c")
        ids = library.add_records(collection, [RecordDraft(text) for text in TEXTS]).added
        before = scored(library, collection.dataset_id)
        assert library.store.count_passages(collection.dataset_id) == 3

        moved = library.change_model(collection.dataset_id, "tiny-model")
        assert (moved.model.name, moved.model.dim) == ("tiny-model", 32)
        assert {record_id for record_id, _ in scored(library, collection.dataset_id)} <= set(ids)
        windows = library.store.passages_of(ids)[ids[2]]
        assert len(windows) > 5
        assert max(tiny.count_tokens([window.text for window in windows])) <= POSITIONS
        assert library.verify().is_clean

        assert library.roll_back_model(collection.dataset_id).model.name == BUNDLED
        assert scored(library, collection.dataset_id) == before
