"""What every store has to do with folders, changes of datasets and collections, and pages of them."""

import pytest

from retrieval.errors import CollectionNotFound, DatasetNotFound, InvalidRequest, NameTaken
from retrieval.store import Store
from retrieval.types import Collection, Dataset, Page, now
from tests.contracts.stores import MODEL, Place, embedded

UNKNOWN = "0" * 24


@pytest.fixture
def dataset(store: Store) -> Dataset:
    return store.create_dataset("manuals", MODEL)


def folder(store: Store, dataset: Dataset, name: str, parent_id: str = "") -> Collection:
    return store.create_collection(dataset.id, name, parent_id=parent_id, kind="folder")


class TestFoldersOfDatasets:
    def test_are_read_as_they_were_created(self, store: Store, place: Place) -> None:
        outer = store.create_dataset("Projects", MODEL, "all of them", is_folder=True, avatar="/a.png")
        inner = store.create_dataset("2024", MODEL, parent_id=outer.id, is_folder=True)
        dataset = store.create_dataset("faq", MODEL, parent_id=inner.id, avatar="/b.png")
        assert (outer.is_folder, outer.parent_id, outer.avatar, outer.model) == (True, "", "/a.png", MODEL)
        assert (dataset.is_folder, dataset.parent_id, dataset.avatar) == (False, inner.id, "/b.png")
        again = place.open()
        assert [again.get_dataset(one.id) for one in (outer, inner, dataset)] == [outer, inner, dataset]
        assert again.list_folders() == [outer, inner]
        assert again.list_datasets() == [dataset]

    def test_are_not_among_the_datasets(self, store: Store) -> None:
        folders = [store.create_dataset("a", MODEL, is_folder=True) for _ in range(2)]
        assert store.find_dataset("a") is None
        dataset = store.create_dataset("a", MODEL)
        assert store.find_dataset("a") == dataset
        assert store.list_folders() == folders
        with pytest.raises(NameTaken):
            store.create_dataset("a", MODEL)

    def test_have_no_collections(self, store: Store) -> None:
        one = store.create_dataset("Projects", MODEL, is_folder=True)
        for wrong in (
            lambda: store.create_collection(one.id, "c"),
            lambda: store.changes_after(one.id, 0, 10),
            lambda: store.texts_after(one.id, 0, 10),
        ):
            with pytest.raises(InvalidRequest, match="'Projects' is a folder of datasets"):
                wrong()
        assert store.list_collections(one.id) == []
        assert store.page_collections(one.id, None, "", 0, 10) == Page((), 0)
        assert (store.count_records(one.id), store.count_passages(one.id)) == (0, 0)

    @pytest.mark.parametrize("is_folder", [True, False])
    def test_the_parent_has_to_be_a_folder(self, store: Store, dataset: Dataset, is_folder: bool) -> None:
        with pytest.raises(InvalidRequest, match="'manuals' is no folder") as raised:
            store.create_dataset("in it", MODEL, parent_id=dataset.id, is_folder=is_folder)
        assert raised.value.param == "parentId"
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.create_dataset("in it", MODEL, parent_id=UNKNOWN, is_folder=is_folder)
        assert (store.list_datasets(), store.list_folders()) == ([dataset], [])

    def test_only_empty_ones_are_deleted(self, store: Store) -> None:
        outer = store.create_dataset("outer", MODEL, is_folder=True)
        inner = store.create_dataset("inner", MODEL, parent_id=outer.id, is_folder=True)
        dataset = store.create_dataset("d", MODEL, parent_id=inner.id)
        for full, inside in ((outer, "inner"), (inner, "d")):
            with pytest.raises(InvalidRequest, match=rf"'{full.name}' is not empty \(1 in it, '{inside}'"):
                store.delete_dataset(full.id)
        assert store.list_folders() == [outer, inner]
        for one in (dataset, inner, outer):
            store.delete_dataset(one.id)
            with pytest.raises(DatasetNotFound, match=one.id):
                store.get_dataset(one.id)
        assert (store.list_datasets(), store.list_folders()) == ([], [])


class TestUpdateDataset:
    def test_changes_what_is_given(self, store: Store, dataset: Dataset) -> None:
        other = store.create_dataset("other", MODEL, "kept", avatar="kept")
        parent = store.create_dataset("Projects", MODEL, is_folder=True)
        before = now()
        assert store.update_dataset(dataset.id, intro="new").intro == "new"
        store.update_dataset(dataset.id, name="guides", avatar="/a.png")
        changed = store.update_dataset(dataset.id, parent_id=parent.id)
        assert (changed.name, changed.intro, changed.avatar) == ("guides", "new", "/a.png")
        assert (changed.parent_id, changed.created_at) == (parent.id, dataset.created_at)
        assert before <= changed.updated_at <= now()
        assert store.get_dataset(dataset.id) == changed == store.find_dataset("guides")
        assert store.find_dataset("manuals") is None
        emptied = store.update_dataset(dataset.id, intro="", avatar="", parent_id="")
        assert (emptied.intro, emptied.avatar, emptied.parent_id) == ("", "", "")
        assert store.get_dataset(other.id) == other

    def test_names_stay_unique(self, store: Store, dataset: Dataset) -> None:
        other = store.create_dataset("other", MODEL)
        one = store.create_dataset("Projects", MODEL, is_folder=True)
        with pytest.raises(NameTaken, match="'manuals'"):
            store.update_dataset(other.id, name="manuals", intro="not written")
        assert store.get_dataset(other.id) == other
        assert store.update_dataset(dataset.id, name="manuals").name == "manuals"
        assert store.update_dataset(one.id, name="manuals").is_folder
        store.delete_dataset(dataset.id)
        assert store.update_dataset(other.id, name="manuals").name == "manuals"

    def test_unknown(self, store: Store, dataset: Dataset) -> None:
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.update_dataset(UNKNOWN, name="x")
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.update_dataset(dataset.id, parent_id=UNKNOWN)

    def test_a_folder_cannot_lie_in_itself(self, store: Store) -> None:
        a = store.create_dataset("a", MODEL, is_folder=True)
        b = store.create_dataset("b", MODEL, parent_id=a.id, is_folder=True)
        c = store.create_dataset("c", MODEL, parent_id=b.id, is_folder=True)
        for parent in (a, b, c):
            with pytest.raises(InvalidRequest, match="'a' cannot lie in itself"):
                store.update_dataset(a.id, parent_id=parent.id)
        assert store.update_dataset(c.id, parent_id=a.id).parent_id == a.id


class TestCollections:
    def test_are_read_as_they_were_created(self, store: Store, place: Place, dataset: Dataset) -> None:
        plain = store.create_collection(dataset.id, "c")
        assert (plain.parent_id, plain.kind, plain.metadata, plain.is_folder) == ("", "virtual", {}, False)
        outer = folder(store, dataset, "folder")
        metadata = {"rawLink": "https://x.org/é", "n": [1, {"a.b": None}], "$set": 2**60}
        link = store.create_collection(
            dataset.id, "page", ["t"], parent_id=outer.id, kind="link", metadata=metadata
        )
        assert (link.parent_id, link.kind, link.metadata, link.tags) == (outer.id, "link", metadata, ("t",))
        again = place.open()
        assert outer.is_folder
        assert again.list_collections(dataset.id) == [plain, outer, link]
        assert again.get_collection(link.id) == link

    def test_the_parent_has_to_be_a_folder_of_the_dataset(self, store: Store, dataset: Dataset) -> None:
        plain = store.create_collection(dataset.id, "plain")
        elsewhere = folder(store, store.create_dataset("other", MODEL), "elsewhere")
        with pytest.raises(InvalidRequest, match="'plain' is no folder"):
            store.create_collection(dataset.id, "c", parent_id=plain.id)
        with pytest.raises(InvalidRequest, match="in another dataset"):
            store.create_collection(dataset.id, "c", parent_id=elsewhere.id)
        with pytest.raises(CollectionNotFound, match=UNKNOWN):
            store.create_collection(dataset.id, "c", parent_id=UNKNOWN)
        assert store.list_collections(dataset.id) == [plain]

    def test_a_folder_is_not_found_by_name(self, store: Store, dataset: Dataset) -> None:
        folder(store, dataset, "c")
        assert store.find_collection(dataset.id, "c") is None
        plain = store.create_collection(dataset.id, "c", kind="file")
        assert store.find_collection(dataset.id, "c") == plain

    def test_update_changes_what_is_given(self, store: Store, dataset: Dataset) -> None:
        other = store.create_collection(dataset.id, "other", ["kept"], metadata={"kept": 1})
        one = store.create_collection(dataset.id, "c", ["t"], kind="file", metadata={"a": 1, "b": 2})
        parent = folder(store, dataset, "folder")
        long_ago = now().replace(year=2001)
        before = now()
        assert store.update_collection(one.id, name="d").name == "d"
        assert store.update_collection(one.id, tags=["x", "y"], forbid=True).tags == ("x", "y")
        store.update_collection(one.id, metadata={"c": 3})
        changed = store.update_collection(one.id, parent_id=parent.id, created_at=long_ago)
        assert (changed.name, changed.forbid, changed.metadata) == ("d", True, {"c": 3})
        assert (changed.parent_id, changed.created_at, changed.kind) == (parent.id, long_ago, "file")
        assert (changed.id, changed.key, changed.dataset_id) == (one.id, one.key, dataset.id)
        assert before <= changed.updated_at <= now()
        assert store.get_collection(one.id) == changed
        assert store.forbidden_keys(dataset.id) == {one.key}
        emptied = store.update_collection(one.id, parent_id="", tags=[], forbid=False, metadata={})
        assert (emptied.parent_id, emptied.tags, emptied.forbid, emptied.metadata) == ("", (), False, {})
        assert store.forbidden_keys(dataset.id) == set()
        assert store.get_collection(other.id) == other

    def test_update_of_what_is_not_there(self, store: Store, dataset: Dataset) -> None:
        one = store.create_collection(dataset.id, "c")
        with pytest.raises(CollectionNotFound, match=UNKNOWN):
            store.update_collection(UNKNOWN, name="x")
        with pytest.raises(CollectionNotFound, match=UNKNOWN):
            store.update_collection(one.id, parent_id=UNKNOWN)
        assert store.get_collection(one.id) == one

    def test_a_folder_cannot_lie_in_itself(self, store: Store, dataset: Dataset) -> None:
        a = folder(store, dataset, "a")
        b = folder(store, dataset, "b", a.id)
        for parent in (a, b):
            with pytest.raises(InvalidRequest, match="'a' cannot lie in itself"):
                store.update_collection(a.id, parent_id=parent.id)
        assert store.get_collection(a.id) == a

    def test_children_are_all_that_is_below(self, store: Store, dataset: Dataset) -> None:
        inner = folder(store, dataset, "moved in later")
        outer, beside = folder(store, dataset, "outer"), folder(store, dataset, "beside")
        deep = store.create_collection(dataset.id, "deep", parent_id=inner.id)
        flat = store.create_collection(dataset.id, "flat", parent_id=outer.id)
        store.create_collection(dataset.id, "x", parent_id=beside.id)
        store.update_collection(inner.id, parent_id=outer.id)
        assert store.children_of(outer.id) == [inner.id, flat.id, deep.id]
        assert store.children_of(inner.id) == [deep.id]
        assert store.children_of(deep.id) == []
        with pytest.raises(CollectionNotFound, match=UNKNOWN):
            store.children_of(UNKNOWN)


class TestPagesOfCollections:
    def names(self, page: Page[Collection]) -> list[str]:
        return [one.name for one in page.items]

    def test_newest_first(self, store: Store, dataset: Dataset) -> None:
        made = [store.create_collection(dataset.id, f"c{n}") for n in range(7)]
        newest = made[::-1]
        for offset in range(9):
            for limit in (0, 1, 3, 10):
                page = store.page_collections(dataset.id, "", "", offset, limit)
                assert page == Page(tuple(newest[offset : offset + limit]), 7)

    def test_of_a_folder(self, store: Store, dataset: Dataset) -> None:
        outer = folder(store, dataset, "outer")
        inner = folder(store, dataset, "inner", outer.id)
        store.create_collection(dataset.id, "a", parent_id=outer.id)
        store.create_collection(dataset.id, "b", parent_id=inner.id)
        store.create_collection(dataset.id, "top")
        store.create_collection(store.create_dataset("other", MODEL).id, "elsewhere")
        expected = {
            "": ["top", "outer"],
            outer.id: ["a", "inner"],
            inner.id: ["b"],
            None: ["top", "b", "a", "inner", "outer"],
            UNKNOWN: [],
        }
        for parent_id, names in expected.items():
            page = store.page_collections(dataset.id, parent_id, "", 0, 10)
            assert (self.names(page), page.total) == (names, len(names))
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.page_collections(UNKNOWN, "", "", 0, 10)

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("report", ["my_REPORT", "Report 50%"]),
            ("50%", ["Report 50%"]),
            ("%", ["Report 50%"]),
            ("_", ["my_REPORT"]),
            (".", ["a.b*c"]),
            ("B*C", ["a.b*c"]),
            ("ЁЛКА É", ["ёлка é"]),
            ("中", ["中文"]),
            ("\\", ["back\\slash"]),
            ("2024-01-0", ["2024-01-01"]),
            ("nowhere", []),
        ],
    )
    def test_search(self, store: Store, dataset: Dataset, search: str, found: list[str]) -> None:
        outer = folder(store, dataset, "outer")
        names = ("Report 50%", "my_REPORT", "a.b*c", "ёлка é", "中文", "back\\slash", "2024-01-01")
        for name in names:
            store.create_collection(dataset.id, name, parent_id=outer.id)
        for parent_id in (outer.id, None):
            page = store.page_collections(dataset.id, parent_id, search, 0, 10)
            assert (self.names(page), page.total) == (found, len(found))
            rest = store.page_collections(dataset.id, parent_id, search, 1, 10)
            assert (self.names(rest), rest.total) == (found[1:], len(found))
        assert store.page_collections(dataset.id, "", search, 0, 10).total == 0

    def test_counts_of_records(self, store: Store, dataset: Dataset) -> None:
        a, b, c = (store.create_collection(dataset.id, name) for name in "abc")
        store.add_records(a, [embedded("1"), embedded("2", "", "i", "j")])
        store.add_records(c, [embedded("1")])
        assert store.count_records_in([c.id, UNKNOWN, b.id, a.id]) == {c.id: 1, UNKNOWN: 0, b.id: 0, a.id: 2}
        assert store.count_records_in([]) == {}


class TestPagesOfRecords:
    def test_oldest_first_from_either_end(self, store: Store, dataset: Dataset) -> None:
        one, other = (store.create_collection(dataset.id, name) for name in "ab")
        records = []
        for number in range(11):
            drafts = [embedded(f"q{number}", "a", "i", chunk_index=11 - number)]
            records += store.add_records(one, drafts).records
            store.add_records(other, drafts)
        gone = records.pop(4)
        store.delete_records([gone.id])
        for offset in range(12):
            for limit in (0, 1, 3, 20):
                page = store.page_records(one.id, "", offset, limit)
                assert page == Page(tuple(records[offset : offset + limit]), 10)

    def test_unknown(self, store: Store) -> None:
        with pytest.raises(CollectionNotFound, match=UNKNOWN):
            store.page_records(UNKNOWN, "", 0, 10)

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("PRINTER", ["the Printer", "q", "printer_2"]),
            ("printer%", []),
            ("r_2", ["printer_2"]),
            ("é", ["É"]),
            ("b\0c", ["a\0B\0C"]),
            ("打印", ["打印机"]),
            (".*", []),
            ("line two", ["line one\nLine two"]),
        ],
    )
    def test_search_in_q_and_a(self, store: Store, dataset: Dataset, search: str, found: list[str]) -> None:
        collection = store.create_collection(dataset.id, "c")
        answers = {"q": "ask the printer"}
        questions = ("the Printer", "É", "q", "a\0B\0C", "打印机", "printer_2", "line one\nLine two")
        store.add_records(collection, [embedded(q, answers.get(q, "")) for q in questions])
        for offset in range(4):
            page = store.page_records(collection.id, search, offset, 2)
            assert [record.q for record in page.items] == found[offset : offset + 2]
            assert page.total == len(found)

    def test_a_record_is_found_by_its_content(self, store: Store, dataset: Dataset) -> None:
        one, other = (store.create_collection(dataset.id, name) for name in "ab")
        item = embedded("q", "a", "i")
        (record,) = store.add_records(one, [item]).records
        assert store.find_record(one.id, item.draft.content_hash) == record
        assert store.find_record(one.id, embedded("q", "a").draft.content_hash) is None
        assert store.find_record(other.id, item.draft.content_hash) is None
