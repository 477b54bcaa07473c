"""A snapshot is loaded whole and fitting, or not at all."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.library import Library
from retrieval.types import (
    Changes,
    Collection,
    Dataset,
    ModelBinding,
    PassageBlock,
    RecordDraft,
    SearchRequest,
)
from retrieval.vectors.flat import FlatIndex
from retrieval.vectors.snapshot import load_snapshot, save_snapshot
from tests.doubles import GridEmbedder
from tests.oracle import expected_quotes

MODEL = ModelBinding("some-model", 6, "0123456789abcdef")
LAST = 400
"""The watermark of the index, and the last number of the store that it belongs to."""


@pytest.fixture
def index() -> FlatIndex:
    rows = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float16)
    passages = PassageBlock(np.arange(3, 30, 3), np.array([1, 1, 2, 2, 2, 3, 3, 3, 4]), rows)
    index = FlatIndex(6)
    index.apply(Changes(passages, np.array([6]), LAST, is_last=True))
    return index


@pytest.fixture
def path(tmp_path: Path, index: FlatIndex) -> Path:
    path = tmp_path / "folder" / "that-is-made.npz"
    save_snapshot(index, MODEL, path)
    return path


def assert_same_contents(loaded: Changes | None, index: FlatIndex) -> None:
    assert loaded is not None
    told = index.contents()
    np.testing.assert_array_equal(loaded.added.ids, told.added.ids)
    np.testing.assert_array_equal(loaded.added.collection_keys, told.added.collection_keys)
    np.testing.assert_array_equal(
        loaded.added.embeddings.view(np.uint16), told.added.embeddings.view(np.uint16)
    )
    assert loaded.watermark == told.watermark == LAST
    assert len(loaded.removed) == 0


def assert_refused(path: Path, caplog: pytest.LogCaptureFixture, model: ModelBinding = MODEL) -> None:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert load_snapshot(path, model, LAST) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(path) in caplog.text


def test_what_is_saved_is_loaded(path: Path, index: FlatIndex, caplog: pytest.LogCaptureFixture) -> None:
    assert_same_contents(load_snapshot(path, MODEL, LAST), index)
    assert caplog.records == []


def test_a_loaded_snapshot_asks_for_what_came_after_it(path: Path) -> None:
    loaded = load_snapshot(path, MODEL, LAST + 50)
    assert loaded is not None
    assert not loaded.is_last


def test_saving_again_replaces_and_leaves_nothing_beside(path: Path, index: FlatIndex) -> None:
    path.with_suffix(".part").write_bytes(b"left by a kill")
    save_snapshot(index, MODEL, path)
    assert_same_contents(load_snapshot(path, MODEL, LAST), index)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_empty_index_is_loaded_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.npz"
    save_snapshot(FlatIndex(6), MODEL, path)
    loaded = load_snapshot(path, MODEL, 0)
    assert loaded is not None
    assert (len(loaded.added), loaded.added.embeddings.shape, loaded.watermark) == (0, (0, 6), 0)


def test_a_missing_file_is_nothing_to_warn_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_snapshot(tmp_path / "missing.npz", MODEL, LAST) is None
    assert caplog.records == []


def test_a_file_cut_anywhere_is_refused(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert_refused(path, caplog)


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_a_flipped_byte_is_refused_or_harmless(
    path: Path, index: FlatIndex, caplog: pytest.LogCaptureFixture, flip: int
) -> None:
    """Harmless are only the dates and such of the archive's own directory."""
    whole = path.read_bytes()
    harmless = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        caplog.clear()
        loaded = load_snapshot(path, MODEL, LAST)
        if loaded is None:
            assert str(path) in caplog.text
        else:
            assert_same_contents(loaded, index)
            harmless += 1
    assert harmless < len(whole) / 4


def test_a_flipped_byte_in_the_embeddings_is_refused(
    path: Path, index: FlatIndex, caplog: pytest.LogCaptureFixture
) -> None:
    whole = path.read_bytes()
    place = whole.index(index.contents().added.embeddings.tobytes()) + 20
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert_refused(path, caplog)


@pytest.mark.parametrize("content", [b"", b"\0" * 3000, b"PK\x05\x06" + b"\0" * 18, b"not a snapshot"])
def test_a_foreign_file_is_refused(path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    path.write_bytes(content)
    assert_refused(path, caplog)


def test_a_bare_array_is_refused(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.arange(5))
    assert_refused(path, caplog)


def test_a_folder_in_its_place_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "folder.npz").mkdir()
    assert_refused(tmp_path / "folder.npz", caplog)


@pytest.mark.parametrize(
    "other",
    [
        replace(MODEL, fingerprint="fedcba9876543210"),
        replace(MODEL, name="another-model"),
        replace(MODEL, dim=7),
    ],
)
def test_a_snapshot_of_another_model_is_refused(
    path: Path, caplog: pytest.LogCaptureFixture, other: ModelBinding
) -> None:
    assert_refused(path, caplog, other)


@pytest.mark.parametrize(("last_sequence", "is_loaded"), [(LAST - 1, False), (LAST, True), (LAST + 1, True)])
def test_a_snapshot_from_beyond_the_store_is_refused(
    path: Path, caplog: pytest.LogCaptureFixture, last_sequence: int, is_loaded: bool
) -> None:
    assert (load_snapshot(path, MODEL, last_sequence) is not None) == is_loaded
    assert (str(path) in caplog.text) != is_loaded


@pytest.mark.parametrize("change", [{"format": 2}, {"count": 9}, {"watermark": -1}, {"watermark": LAST + 1}])
def test_a_manifest_that_does_not_fit_is_refused(
    path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    with np.load(path) as archive:
        members = dict(archive)
    manifest = json.loads(members["manifest"].tobytes()) | change
    members["manifest"] = np.frombuffer(json.dumps(manifest).encode(), dtype=np.uint8)
    np.savez(path, **members)
    assert_refused(path, caplog)


# A library over a damaged snapshot


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_of_another_model(path: Path) -> None:
    save_snapshot(index_of_one(), ModelBinding("grid", 64, "other weights"), path)


def make_of_another_store(path: Path) -> None:
    save_snapshot(index_of_one(watermark=10**6), ModelBinding("grid", 64, "grid-1"), path)


def make_short_of_a_passage(path: Path) -> None:
    """As if the store had been restored to another state: whole, fitting, and wrong."""
    save_snapshot(index_of_one(watermark=10), ModelBinding("grid", 64, "grid-1"), path)


def index_of_one(watermark: int = 1) -> FlatIndex:
    index = FlatIndex(64)
    passages = PassageBlock(np.array([1]), np.array([1]), np.ones((1, 64), dtype=np.float16) / 8)
    index.apply(Changes(passages, np.empty(0, dtype=np.int64), watermark, is_last=True))
    return index


def fill(library: Library) -> tuple[Dataset, Collection, dict[str, RecordDraft]]:
    dataset = library.create_dataset("d")
    collection = library.store.create_collection(dataset.id, "c")
    drafts = [RecordDraft(f"question {number}", f"answer {number}") for number in range(40)]
    added = library.add_records(collection, drafts).added
    return dataset, collection, dict(zip(added, drafts, strict=True))


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, cut, flip, empty, make_of_another_model, make_of_another_store, make_short_of_a_passage],
)
def test_library_answers_right_after_damage(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, collection, records = fill(library)
        library.search(SearchRequest("an index is loaded when it is first used", [dataset.id]))
    (path,) = (tmp_path / "indexes").iterdir()
    damage(path)
    request = SearchRequest("what?", [dataset.id], limit=20_000)
    with Library.open(tmp_path, GridEmbedder()) as library:
        extra = RecordDraft("added after the damage")
        (record_id,) = library.add_records(collection, [extra]).added
        records[record_id] = extra
        found = [(quote.record.id, quote.score) for quote in library.search(request).quotes]
        assert found == expected_quotes(GridEmbedder(), records, request)
        assert len(found) > 10
        assert library.verify().is_clean
    # What was made from the store has been saved in place of the damaged file.
    loaded = load_snapshot(path, dataset.model, last_sequence=1000)
    assert loaded is not None
    assert len(loaded.added) == 41


def test_library_closes_where_no_snapshot_can_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "indexes").write_text("a file where the folder belongs")
    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, _, records = fill(library)
        library.search(SearchRequest("what?", [dataset.id]))
    assert str(tmp_path / "indexes") in caplog.text
    request = SearchRequest("what?", [dataset.id], limit=20_000)
    with Library.open(tmp_path, GridEmbedder()) as library:
        found = [(quote.record.id, quote.score) for quote in library.search(request).quotes]
    assert found == expected_quotes(GridEmbedder(), records, request)
