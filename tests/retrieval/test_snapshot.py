"""A snapshot is loaded whole and fitting, or not at all; one that cannot be written leaves the old in force."""

import json
import logging
import multiprocessing
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.library import Library
from retrieval.types import (
    Collection,
    Dataset,
    Embeddings,
    IndexDifferences,
    ModelBinding,
    RecordDraft,
    SearchRequest,
)
from retrieval.vectors.asked import Asked
from retrieval.vectors.codes import Codes
from retrieval.vectors.index import DEFAULT_FOLDS, FoldPolicy, VectorIndex
from retrieval.vectors.part import Part
from retrieval.vectors.snapshot import (
    MANIFEST,
    Manifest,
    check_snapshot,
    load_snapshot,
    read_manifest,
    remove_snapshot,
    save_snapshot,
)
from tests.doubles import GridEmbedder
from tests.oracle import expected_quotes
from tests.retrieval.passages import (
    addition,
    assert_same_block,
    block,
    clustered_rows,
    contents,
    removal,
    unit_rows,
)

DIM = 6
MODEL = ModelBinding("some-model", DIM, "0123456789abcdef")
LAST = 400
"""The watermark of the parts, and the last number of the store that they belong to."""

GONE = (6, 15, 60)


def a_part(policy: FoldPolicy = DEFAULT_FOLDS, copies: int = 0, count: int = 40) -> Part:
    """Passages 3, 6, 9 … in three collections; some of them are removed after sealing."""
    rows = clustered_rows(count, 1, DIM, clusters=5)
    rows[5 : 5 + copies] = rows[4]
    index = VectorIndex(DIM, policy)
    index.apply(addition(block(rows, first_id=3, step=3, collections=np.arange(count) % 3 + 1)))
    index.seal()
    index.apply(removal(DIM, *GONE))
    return index.sealed


WITH_GRAPH = FoldPolicy(exact_limit=8)
KINDS: dict[str, Callable[[], Part]] = {
    "scanned": a_part,
    "graph": lambda: a_part(WITH_GRAPH),
    "graph with twins": lambda: a_part(WITH_GRAPH, copies=9),
}


@pytest.fixture(params=KINDS)
def part(request: pytest.FixtureRequest) -> Part:
    return KINDS[request.param]()


@pytest.fixture
def twins() -> Part:
    return KINDS["graph with twins"]()


@pytest.fixture
def folder(tmp_path: Path, twins: Part) -> Path:
    folder = tmp_path / "indexes" / "that-is-made"
    save_snapshot(twins, LAST, MODEL, folder)
    return folder


def queries() -> Embeddings:
    return unit_rows(20, 7, DIM)


def answers(part: Part) -> list[list[tuple[int, float]]]:
    found = [part.search(query, 12, None) for query in queries()]
    return [list(zip(part.ids[one.positions].tolist(), one.scores.tolist(), strict=True)) for one in found]


def assert_loads(folder: Path, part: Part, watermark: int = LAST, is_mapped: bool = True) -> Part:
    loaded = load_snapshot(folder, MODEL, LAST, is_mapped)
    assert loaded is not None
    assert loaded[1] == watermark
    again = loaded[0]
    assert_same_block(contents(again), contents(part))
    np.testing.assert_array_equal(again.ids, part.ids)
    np.testing.assert_array_equal(again.nodes, part.nodes)
    np.testing.assert_array_equal(again.is_removed, part.is_removed)
    np.testing.assert_array_equal(again.collection_keys(), part.collection_keys())
    assert (len(again), again.removed) == (len(part), part.removed)
    assert (again.codes.has_graph, again.codes.effort) == (part.codes.has_graph, part.codes.effort)
    assert answers(again) == answers(part)
    assert check_snapshot(folder) is None
    return again


def assert_refused(folder: Path, caplog: pytest.LogCaptureFixture, model: ModelBinding = MODEL) -> None:
    for is_mapped in (True, False):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert load_snapshot(folder, model, LAST, is_mapped) is None
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert str(folder) in caplog.text


def test_what_was_asked_is_kept_beside_the_next_snapshot(folder: Path, twins: Part) -> None:
    Asked(queries(), effort=77).save(folder)
    save_snapshot(twins, LAST, MODEL, folder)
    assert_loads(folder, twins)
    assert Asked.load(folder, DIM).effort == 77
    remove_snapshot(folder)
    assert Asked.load(folder, DIM).effort == 0


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def the(folder: Path, suffix: str) -> Path:
    (path,) = folder.glob(f"*{suffix}")
    return path


FILES = (".codes", ".npz", ".json")


def rewrite_manifest(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change the manifest and sign it, so that what is refused is what it says."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    del manifest["crc32"]
    change(manifest)
    crc = zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "crc32": crc}))


def sign_files(folder: Path) -> None:
    """Have the manifest say of the files what they are now."""
    files = {
        path.name: {"bytes": path.stat().st_size, "crc32": zlib.crc32(path.read_bytes())}
        for path in (the(folder, ".codes"), the(folder, ".npz"))
    }
    rewrite_manifest(folder, lambda manifest: manifest.update(files=files))


# There and back


@pytest.mark.parametrize("is_mapped", [True, False])
def test_what_is_saved_is_loaded(
    tmp_path: Path, part: Part, is_mapped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    save_snapshot(part, LAST, MODEL, tmp_path / "a" / "b")
    assert part.removed == len(GONE)
    assert_loads(tmp_path / "a" / "b", part, is_mapped=is_mapped)
    assert caplog.records == []


def test_the_kinds_differ_as_they_should() -> None:
    parts = {kind: make() for kind, make in KINDS.items()}
    assert [part.codes.has_graph for part in parts.values()] == [False, True, True]
    assert [len(part.codes) for part in parts.values()] == [40, 40, 31]
    assert [len(part.nodes) for part in parts.values()] == [0, 40, 40]


@pytest.mark.parametrize("is_mapped", [True, False])
def test_what_is_loaded_can_be_removed_from(folder: Path, twins: Part, is_mapped: bool) -> None:
    loaded = assert_loads(folder, twins, is_mapped=is_mapped)
    for part in (loaded, twins):
        part.remove(np.array([9, 12, 18]))
    assert loaded.removed == twins.removed == len(GONE) + 3
    assert answers(loaded) == answers(twins)
    again = load_snapshot(folder, MODEL, LAST)
    assert again is not None
    assert again[0].removed == len(GONE)


def test_what_is_loaded_into_memory_can_be_added_to_and_what_is_mapped_cannot(
    folder: Path, twins: Part
) -> None:
    more = block(unit_rows(9, 3, DIM), first_id=500)
    mapped = assert_loads(folder, twins, is_mapped=True)
    with pytest.raises(ValueError, match="mapped"):
        mapped.append(more)
    loaded = assert_loads(folder, twins, is_mapped=False)
    loaded.append(more)
    twins.append(more)
    assert_same_block(contents(loaded), contents(twins))
    assert len(loaded.codes) == len(twins.codes) == 40


def test_an_empty_part_is_loaded_empty(tmp_path: Path) -> None:
    save_snapshot(Part(Codes(DIM)), 0, MODEL, tmp_path)
    loaded = load_snapshot(tmp_path, MODEL, 0)
    assert loaded is not None
    assert (len(loaded[0]), loaded[0].codes.dim, loaded[1]) == (0, DIM, 0)
    assert len(VectorIndex(DIM, DEFAULT_FOLDS, *loaded).search(queries(), 3)[0]) == 0


def test_the_manifest_tells_what_is_in_the_files(tmp_path: Path, part: Part) -> None:
    save_snapshot(part, LAST, MODEL, tmp_path)
    nbytes = the(tmp_path, ".codes").stat().st_size + the(tmp_path, ".npz").stat().st_size
    assert read_manifest(tmp_path) == Manifest(37, 3, part.codes.has_graph, LAST, nbytes)


def test_no_snapshot_is_nothing_to_warn_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert load_snapshot(folder, MODEL, LAST) is None
        assert check_snapshot(folder) is None
        assert read_manifest(folder) is None
    assert caplog.records == []


def test_a_removed_snapshot_is_gone_with_its_folder(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "left-over.codes").write_bytes(b"x")
    remove_snapshot(folder)
    assert not folder.exists()
    remove_snapshot(folder)
    assert load_snapshot(folder, MODEL, LAST) is None
    assert caplog.records == []


# Saving again


def test_saving_again_replaces_and_leaves_nothing_beside(folder: Path) -> None:
    before = names_in(folder)
    other = a_part(count=25)
    save_snapshot(other, LAST - 1, MODEL, folder)
    assert_loads(folder, other, LAST - 1)
    assert {Path(name).suffix for name in names_in(folder)} == set(FILES)
    assert len(names_in(folder)) == 3
    assert names_in(folder) & before == {MANIFEST}


def test_what_an_interrupted_save_left_is_removed_by_the_next(folder: Path, twins: Part) -> None:
    left = {"0123.codes", "0123.npz", "manifest.part", "4567.codes"}
    for name in left:
        (folder / name).write_bytes(b"left by a kill")
    assert_loads(folder, twins)
    assert left < names_in(folder)
    save_snapshot(twins, LAST, MODEL, folder)
    assert_loads(folder, twins)
    assert len(names_in(folder)) == 3
    assert not left & names_in(folder)


def test_until_the_manifest_is_renamed_the_old_snapshot_is_in_force(
    folder: Path, twins: Part, tmp_path: Path
) -> None:
    other = a_part(count=25)
    save_snapshot(other, LAST, MODEL, tmp_path / "other")
    for suffix in (".codes", ".npz"):
        shutil.copy(the(tmp_path / "other", suffix), folder)
    (folder / "manifest.part").write_bytes((tmp_path / "other" / MANIFEST).read_bytes())
    assert_loads(folder, twins)
    (folder / "manifest.part").replace(folder / MANIFEST)
    assert_loads(folder, other)


@pytest.mark.skipif(os.name != "posix", reason="a mapped file cannot be removed here")
def test_what_is_mapped_outlives_its_files(folder: Path, twins: Part) -> None:
    mapped = assert_loads(folder, twins)
    save_snapshot(a_part(count=25), LAST, MODEL, folder)
    assert answers(mapped) == answers(twins)
    remove_snapshot(folder)
    assert_same_block(contents(mapped), contents(twins))


# What cannot be written


def test_a_folder_that_cannot_be_made_is_an_oserror(tmp_path: Path, twins: Part) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            save_snapshot(twins, LAST, MODEL, folder)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_manifest_that_cannot_be_written_leaves_the_old_in_force(folder: Path, twins: Part) -> None:
    (folder / "manifest.part").mkdir()
    with pytest.raises(OSError, match=r"manifest\.part"):
        save_snapshot(a_part(count=25), LAST, MODEL, folder)
    assert_loads(folder, twins)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_an_oserror(folder: Path, twins: Part) -> None:
    folder.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            save_snapshot(a_part(count=25), LAST, MODEL, folder)
        assert_loads(folder, twins)
    finally:
        folder.chmod(0o700)


def save_on_disks_of(folder: Path, policy: FoldPolicy, limits: Sequence[int]) -> list[tuple[bool, int]]:
    """Save with no file longer than each limit: whether an OSError came, and the watermark then in force."""
    import resource

    outcomes = []
    for watermark, limit in enumerate(limits, start=1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            save_snapshot(a_part(policy, count=200), watermark, MODEL, folder)
            is_error = False
        except OSError:
            is_error = True
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        loaded = load_snapshot(folder, MODEL, LAST)
        outcomes.append((is_error, loaded[1] if loaded else -1))
    return outcomes


@pytest.mark.skipif(os.name != "posix", reason="no RLIMIT_FSIZE")
@pytest.mark.parametrize(("policy", "longest"), [(WITH_GRAPH, ".codes"), (DEFAULT_FOLDS, ".npz")])
def test_a_full_disk_leaves_the_old_snapshot_in_force(
    tmp_path: Path, folder: Path, twins: Part, policy: FoldPolicy, longest: str
) -> None:
    save_snapshot(a_part(policy, count=200), LAST, MODEL, tmp_path)
    lengths = {suffix: the(tmp_path, suffix).stat().st_size for suffix in FILES}
    *shorter, last = sorted(lengths.values())
    assert last == lengths[longest]
    assert last > max(shorter) + 100
    limits = [0, 1, *shorter, max(shorter) + 100, (max(shorter) + last) // 2, last - 1]
    # In a process of its own: the limit is on all that a process writes.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
        outcomes = child.submit(save_on_disks_of, folder, policy, limits).result(timeout=60)
        assert outcomes == [(True, LAST)] * len(limits)
        assert_loads(folder, twins)
        assert child.submit(save_on_disks_of, folder, policy, [last + 1000]).result(60) == [(False, 1)]
    assert_loads(folder, a_part(policy, count=200), watermark=1)
    assert len(names_in(folder)) == 3


# What is damaged


@pytest.mark.parametrize("suffix", FILES)
def test_a_file_cut_anywhere_is_refused(
    folder: Path, twins: Part, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = the(folder, suffix)
    whole = path.read_bytes()
    for length in {0, 1, 2, 10, len(whole) - 1, len(whole) - 2, *range(0, len(whole), 97)}:
        path.write_bytes(whole[:length])
        assert_refused(folder, caplog)
        assert check_snapshot(folder)
    path.write_bytes(whole)
    assert_loads(folder, twins)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize(("suffix", "step"), [(".codes", 53), (".npz", 29), (".json", 1)])
def test_a_flipped_byte_is_refused(
    folder: Path, twins: Part, suffix: str, step: int, flip: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = the(folder, suffix)
    whole = path.read_bytes()
    for place in {*range(0, len(whole), step), len(whole) - 1}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        assert_refused(folder, caplog)
        assert check_snapshot(folder)
    path.write_bytes(whole)
    assert_loads(folder, twins)


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("content", [b"", b"\0" * 3000, b"PK\x05\x06" + b"\0" * 18, b"[1]", b"{}", b"null"])
def test_a_foreign_file_is_refused(
    folder: Path, suffix: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    the(folder, suffix).write_bytes(content)
    assert_refused(folder, caplog)
    assert check_snapshot(folder)
    if suffix == ".json":
        assert read_manifest(folder) is None


@pytest.mark.parametrize("suffix", [".codes", ".npz"])
@pytest.mark.parametrize("content", [b"", b"\0" * 3000, b"PK\x05\x06" + b"\0" * 18, b"IxFI" + b"\xff" * 60])
def test_a_foreign_file_that_the_manifest_vouches_for_is_refused(
    folder: Path, suffix: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    the(folder, suffix).write_bytes(content)
    sign_files(folder)
    assert check_snapshot(folder) is None
    assert_refused(folder, caplog)


@pytest.mark.parametrize("suffix", [".codes", ".npz"])
def test_a_missing_file_is_refused(folder: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    path = the(folder, suffix)
    path.unlink()
    assert_refused(folder, caplog)
    assert path.name in caplog.text
    assert path.name in str(check_snapshot(folder))


def test_a_file_longer_than_it_was_is_refused(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with the(folder, ".codes").open("ab") as stream:
        stream.write(b"\0")
    assert_refused(folder, caplog)


def test_files_of_two_snapshots_are_refused(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_snapshot(a_part(count=25), LAST, MODEL, tmp_path / "other")
    shutil.copy(the(tmp_path / "other", ".npz"), the(folder, ".npz"))
    assert_refused(folder, caplog)
    assert check_snapshot(folder)
    sign_files(folder)
    assert_refused(folder, caplog)


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("ids", lambda old: old[:-1]),
        ("collection_keys", lambda old: old[:-1]),
        ("is_removed", lambda old: old[:-1]),
        ("is_removed", np.zeros_like),
        ("nodes", lambda old: old[:0]),
        ("nodes", lambda old: old[:5]),
        ("nodes", lambda old: old + 1),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    folder: Path,
    column: str,
    change: Callable[[np.ndarray], np.ndarray],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = the(folder, ".npz")
    with np.load(path) as archive:
        columns = dict(archive)
    np.savez(path, **columns | {column: change(columns[column])})
    sign_files(folder)
    assert_refused(folder, caplog)


def test_a_folder_in_place_of_the_manifest_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / MANIFEST).mkdir()
    assert_refused(tmp_path, caplog)
    assert check_snapshot(tmp_path)


# What does not fit


@pytest.mark.parametrize(
    "other",
    [
        replace(MODEL, fingerprint="fedcba9876543210"),
        replace(MODEL, name="another-model"),
        replace(MODEL, dim=7),
    ],
)
def test_a_snapshot_of_another_model_is_refused(
    folder: Path, caplog: pytest.LogCaptureFixture, other: ModelBinding
) -> None:
    assert_refused(folder, caplog, other)


@pytest.mark.parametrize(("last_sequence", "is_loaded"), [(LAST - 1, False), (LAST, True), (LAST + 1, True)])
def test_a_snapshot_from_beyond_the_store_is_refused(
    folder: Path, caplog: pytest.LogCaptureFixture, last_sequence: int, is_loaded: bool
) -> None:
    assert (load_snapshot(folder, MODEL, last_sequence) is not None) == is_loaded
    assert (str(folder) in caplog.text) != is_loaded


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"format": 2},
        {"count": 38},
        {"removed": 2},
        {"watermark": -1},
        {"watermark": LAST + 1},
        {"watermark": None},
        {"files": {}},
        {"files": {"../x.codes": {"bytes": 1, "crc32": 0}, "../x.npz": {"bytes": 1, "crc32": 0}}},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    folder: Path, twins: Part, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    rewrite_manifest(folder, lambda manifest: None)
    assert_loads(folder, twins)
    rewrite_manifest(folder, lambda manifest: manifest.update(change))
    assert_refused(folder, caplog)


# A library over a damaged snapshot


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def doing(how: Callable[[Path], None], suffix: str) -> Callable[[Path], None]:
    return lambda folder: how(the(folder, suffix))


DAMAGES = [
    pytest.param(doing(how, suffix), id=f"{how.__name__} {suffix}")
    for how in (Path.unlink, cut, flip, empty)
    for suffix in FILES
]


def make_of_another_model(folder: Path) -> None:
    save_snapshot(part_of_one(), 1, ModelBinding("grid", 64, "other weights"), folder)


def make_of_another_store(folder: Path) -> None:
    save_snapshot(part_of_one(), 10**6, ModelBinding("grid", 64, "grid-1"), folder)


def make_short_of_passages(folder: Path) -> None:
    """As if the store had been restored to another state: whole, fitting, and wrong."""
    save_snapshot(part_of_one(), 10, ModelBinding("grid", 64, "grid-1"), folder)


def make_short_of_one(folder: Path) -> None:
    """As right as can be, but for a passage."""
    model = ModelBinding("grid", 64, "grid-1")
    loaded = load_snapshot(folder, model, last_sequence=1000, is_mapped=False)
    assert loaded is not None
    part, watermark = loaded
    part.remove(part.ids[7:8])
    save_snapshot(part, watermark, model, folder)


def part_of_one() -> Part:
    part = Part(Codes(64))
    part.append(block(np.ones((1, 64)) / 8))
    return part


def fill(library: Library) -> tuple[Dataset, Collection, dict[str, RecordDraft]]:
    dataset = library.create_dataset("d")
    collection = library.store.create_collection(dataset.id, "c")
    drafts = [RecordDraft(f"question {number}", f"answer {number}") for number in range(40)]
    added = library.add_records(collection, drafts).added
    return dataset, collection, dict(zip(added, drafts, strict=True))


@pytest.mark.parametrize(
    "damage",
    [
        *DAMAGES,
        remove_snapshot,
        make_of_another_model,
        make_of_another_store,
        make_short_of_passages,
        make_short_of_one,
    ],
)
def test_library_answers_right_after_damage(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, collection, records = fill(library)
        library.search(SearchRequest("an index is loaded when it is first used", [dataset.id]))
    folder = tmp_path / "indexes" / dataset.id
    damage(folder)
    wrong = check_snapshot(folder)
    request = SearchRequest("what?", [dataset.id], limit=20_000)
    with Library.open(tmp_path, GridEmbedder()) as library:
        extra = RecordDraft("added after the damage")
        (record_id,) = library.add_records(collection, [extra]).added
        records[record_id] = extra
        found = [(quote.record.id, quote.score) for quote in library.search(request).quotes]
        assert found == expected_quotes(GridEmbedder(), records, request)
        assert len(found) > 10
        # What the files are does not matter to the answers; verify tells it, and throws them away.
        differences = {"d": IndexDifferences(snapshot=wrong)} if wrong else {}
        assert library.verify().differences == differences
        assert library.verify().is_clean
        again = [(quote.record.id, quote.score) for quote in library.search(request).quotes]
        assert again == found
    # What was made from the store has been saved in place of what was damaged.
    loaded = load_snapshot(folder, dataset.model, last_sequence=1000)
    assert loaded is not None
    assert len(loaded[0]) == 41


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
