"""Plans of adds: what is new, what replaces what, what goes."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.additions import Plan, Planned, Replacement, join, plan_by_key, plan_new
from retrieval.embedding.models import Models
from retrieval.errors import InvalidRequest
from retrieval.library import Library
from retrieval.store import KnownRecord
from retrieval.types import Collection, Passage, RecordDraft, SearchRequest
from tests.doubles import HashEmbedder


def known(draft: RecordDraft, record_id: str) -> KnownRecord:
    return KnownRecord(record_id, draft.key, draft.content_hash, draft.metadata)


def no_passages(_: Sequence[str]) -> dict[str, tuple[Passage, ...]]:
    raise AssertionError("nobody has to know the texts")


def test_each_new_content_is_planned_once() -> None:
    a, b = RecordDraft("a"), RecordDraft("b")
    assert plan_new([a, b, a], {b.content_hash}) == Plan(3, (Planned(a),))


def test_white_space_around_indexes_and_repeats_are_the_same_content() -> None:
    plain = RecordDraft("q", "a", ("i", "j"))
    assert RecordDraft("q", "a", (" i", "", "j", "i ", "q\na")).content_hash == plain.content_hash
    others = [
        RecordDraft("q", "a", ("j", "i")),
        RecordDraft("q", "a", ("i", "j"), key="k"),
        RecordDraft("q", "a", ("i", "j"), title="k"),
        RecordDraft("q", "a", ("i", "j", "k")),
        RecordDraft("q", "ai", ("j",)),
    ]
    assert len({draft.content_hash for draft in (plain, *others)}) == 6


def test_by_key_what_says_something_else_is_replaced() -> None:
    same, changed, new = RecordDraft("a", key="1"), RecordDraft("b2", key="2"), RecordDraft("c", key="3")
    retagged = RecordDraft("d", key="4", metadata={"tags": ["x"]})
    there = [
        known(same, "r1"),
        known(RecordDraft("b", key="2"), "r2"),
        known(RecordDraft("b0", key="2"), "r2b"),
        known(RecordDraft("d", key="4"), "r4"),
    ]
    assert plan_by_key([same, changed, new, retagged], there) == Plan(
        4, (Planned(changed, "r2"), Planned(new), Planned(retagged, "r4")), ("r2b",)
    )


@pytest.mark.parametrize(
    "drafts", [[RecordDraft("a")], [RecordDraft("a", key="k"), RecordDraft("b", key="k")]]
)
def test_by_key_each_draft_has_its_own_key(drafts: list[RecordDraft]) -> None:
    with pytest.raises(InvalidRequest, match="key"):
        plan_by_key(drafts, [])


def test_a_replacement_keeps_what_says_the_same_and_removes_the_rest() -> None:
    same, new = RecordDraft("a"), RecordDraft("n")
    changed = RecordDraft("b2", key="2")
    there = [known(same, "r1"), known(RecordDraft("b", key="2"), "r2"), known(RecordDraft("old"), "r3")]
    replacement = Replacement(there, no_passages)
    assert replacement.plan([same, changed]) == Plan(2, (Planned(changed, "r2"),))
    assert replacement.plan([new, same]) == Plan(2, (Planned(new),))
    assert replacement.gone == ("r3",)


contents = st.builds(
    RecordDraft,
    st.sampled_from("abc"),
    key=st.sampled_from(["", "1", "2"]),
    metadata=st.sampled_from([{}, {"m": 1}]),
)


@given(st.lists(contents, max_size=6), st.lists(contents, max_size=6))
def test_after_a_replacement_there_is_what_was_given(
    before: list[RecordDraft], after: list[RecordDraft]
) -> None:
    there = {draft.content_hash: known(draft, f"r{place}") for place, draft in enumerate(before)}
    replacement = Replacement(list(there.values()), no_passages)
    planned_all = [*replacement.plan(after[:2]).planned, *replacement.plan(after[2:]).planned]
    replaced = [planned.record_id for planned in planned_all if planned.record_id]
    assert len(set(replaced)) == len(replaced)
    left = {
        record.content_hash: record.metadata
        for record in there.values()
        if record.id not in {*replacement.gone, *replaced}
    }
    left |= {planned.draft.content_hash: planned.draft.metadata for planned in planned_all}
    wanted: dict[bytes, object] = {}
    for draft in after:
        wanted.setdefault(draft.content_hash, draft.metadata)
    assert left == wanted


# Carried out


@pytest.fixture
def collection(library: Library) -> Collection:
    return library.ensure_collection(library.create_dataset("d").id, "c")


def quotes(library: Library, collection: Collection, text: str) -> list[str]:
    request = SearchRequest(text, (collection.dataset_id,), limit=20_000, similarity=0.3)
    return [quote.record.text for quote in library.search(request).quotes]


def test_an_exchange_changes_what_is_found_and_keeps_the_id(library: Library, collection: Collection) -> None:
    (old,) = library.add_records(collection, [RecordDraft("kettle", "old answer", key="k")]).added
    plan = library.plan(collection, [RecordDraft("kettle", "new answer", key="k")], by_key=True)
    result = library.commit(collection, library.embed(plan, library.bound_dataset(collection.dataset_id)))
    assert (result.added, result.updated, result.unchanged) == ((), (old,), 0)
    assert quotes(library, collection, "kettle answer") == ["kettle\nnew answer"]
    again = library.plan(collection, [RecordDraft("kettle", "new answer", key="k")], by_key=True)
    assert (
        library.commit(
            collection, library.embed(again, library.bound_dataset(collection.dataset_id))
        ).unchanged
        == 1
    )
    assert library.verify().is_clean


def test_only_what_changed_is_embedded(
    library: Library, collection: Collection, embedder: HashEmbedder
) -> None:
    library.add_records(collection, [RecordDraft("q", "a", ("i", "j"), key="k")])
    before = embedder.texts_read
    library.models = Models(embedder)
    changed = RecordDraft("q", "b", ("i", "l"), key="k")
    prepared = library.embed(
        library.plan(collection, [changed], by_key=True), library.bound_dataset(collection.dataset_id)
    )
    assert embedder.texts_read - before == prepared.texts_read == 2
    library.commit(collection, prepared)
    assert quotes(library, collection, "j") == []
    assert quotes(library, collection, "l") == ["q\nb"]
    retagged = RecordDraft("q", "b", ("i", "l"), key="k", metadata={"tags": ["new"]})
    prepared = library.embed(
        library.plan(collection, [retagged], by_key=True), library.bound_dataset(collection.dataset_id)
    )
    result = library.commit(collection, prepared)
    assert (prepared.texts_read, len(result.updated)) == (0, 1)
    (record,) = library.store.list_records(collection.id)
    assert record.metadata == {"tags": ["new"]}


def test_a_text_that_comes_again_is_not_read_again(
    library: Library, collection: Collection, embedder: HashEmbedder
) -> None:
    library.add_records(
        collection, [RecordDraft("a", indexes=("same",)), RecordDraft("b", indexes=("same",))]
    )
    assert embedder.texts_read == 3
    library.add_records(collection, [RecordDraft("c", indexes=("same",))])
    assert embedder.texts_read == 4


@pytest.mark.parametrize("keys", [("", ""), ("k", ""), ("", "k")])
def test_a_replacement_reads_only_texts_that_no_record_has(
    library: Library, collection: Collection, embedder: HashEmbedder, keys: tuple[str, str]
) -> None:
    """Also the windows of a long one, and where no key says which record it was that changed."""
    sentences = [f"Sentence {number} of so many, all of one length." for number in range(100)]
    old = RecordDraft("q", " ".join(sentences), ("index", "left"), key=keys[0])
    library.add_records(collection, [RecordDraft("other"), old, RecordDraft("same")])
    changed = RecordDraft("q", " ".join([*sentences, "Changed."]), ("index", "other", "new"), key=keys[1])
    dataset = library.bound_dataset(collection.dataset_id)
    before = library.store.passages_of([one.id for one in library.store.list_records(collection.id)])
    texts = {passage.text for passages in before.values() for passage in passages}
    embedder.texts_read = 0
    library.models = Models(embedder)

    replacement = Replacement(library.store.known_records(collection.id), library.store.passages_of)
    plan = replacement.find_alike(library.cut(replacement.plan([changed, RecordDraft("same")]), dataset))
    prepared = library.embed(plan, dataset)
    windows = [passage.text for passage in prepared.embedded[0].passages]
    assert len(windows) > 4
    assert set(windows) - texts == {windows[-4], "new"}
    assert embedder.texts_read == prepared.texts_read == 2
    wanted = embedder.embed_passages(windows).astype(np.float16)
    assert np.array_equal(prepared.embedded[0].embeddings, wanted)
    result = library.commit(collection, join([prepared], replacement.gone))
    assert (len(result.added), result.removed) == (1, 2)
    assert quotes(library, collection, "left") == []
    assert library.verify().is_clean


def test_texts_are_looked_for_only_for_drafts_that_are_new_to_a_collection() -> None:
    same, changed = RecordDraft("a"), RecordDraft("b2", key="2")
    replacement = Replacement([known(same, "r1"), known(RecordDraft("b", key="2"), "r2")], no_passages)
    plan = replacement.plan([same, changed])
    assert replacement.find_alike(plan) == plan
    assert Replacement([], no_passages).find_alike(plan) == plan


def test_a_replacement_in_parts_is_one_step(library: Library, collection: Collection) -> None:
    library.add_records(collection, [RecordDraft(f"old {n}") for n in range(5)])
    wanted = [RecordDraft("old 0"), *(RecordDraft(f"new {n}") for n in range(4))]
    replacement = Replacement(library.store.known_records(collection.id), library.store.passages_of)
    halves = [
        library.embed(replacement.plan(part), library.bound_dataset(collection.dataset_id))
        for part in (wanted[:2], wanted[2:])
    ]
    result = library.commit(collection, join(halves, replacement.gone))
    assert (len(result.added), result.unchanged, result.removed) == (4, 1, 4)
    assert {record.q for record in library.store.list_records(collection.id)} == {draft.q for draft in wanted}
    assert library.verify().is_clean
    assert "old 3" not in quotes(library, collection, "old 3")


def test_searches_beside_exchanges_find_the_old_or_the_new(library: Library, collection: Collection) -> None:
    """Every record is exchanged again and again; each search finds all of one time."""

    def texts(version: int) -> list[RecordDraft]:
        return [RecordDraft(f"kettle {n}", f"version {version}", key=str(n)) for n in range(20)]

    library.add_records(collection, texts(0))
    seen: list[set[str]] = []
    counts: list[int] = []
    is_over = threading.Event()

    def search() -> None:
        while not is_over.is_set():
            found = quotes(library, collection, "kettle version")
            counts.append(len(found))
            seen.append({text.rpartition(" ")[2] for text in found})

    searching = [threading.Thread(target=search) for _ in range(3)]
    for thread in searching:
        thread.start()
    for version in range(1, 40):
        plan = library.plan(collection, texts(version), by_key=True)
        library.commit(collection, library.embed(plan, library.bound_dataset(collection.dataset_id)))
    is_over.set()
    for thread in searching:
        thread.join()
    assert set(counts) == {20}
    assert {len(versions) for versions in seen} == {1}
