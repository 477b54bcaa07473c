"""What only the store in a file can get right or wrong."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from retrieval.errors import NameTaken, RecordNotFound, StoreUnavailable
from retrieval.store.schema import MIGRATIONS
from retrieval.store.sqlite import SqliteStore
from tests.contracts.stores import MODEL, Index, embedded, rows_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "quotebase.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def execute(path: Path, sql: str) -> list[tuple[object, ...]]:
    """In a connection of its own."""
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql).fetchall()


def test_every_commit_is_synced_to_a_write_ahead_log(store: SqliteStore, path: Path) -> None:
    assert execute(path, "PRAGMA journal_mode") == [("wal",)]
    full = 2
    assert store._rows("PRAGMA synchronous") == [(full,)]
    assert store._rows("PRAGMA foreign_keys") == [(1,)]


class TestOpening:
    def test_a_newer_version_is_refused_and_left_alone(self, store: SqliteStore, path: Path) -> None:
        store.create_dataset("manuals", MODEL)
        newer = len(MIGRATIONS) + 1
        execute(path, f"PRAGMA user_version = {newer}")
        with pytest.raises(StoreUnavailable) as raised:
            SqliteStore(path)
        assert raised.value.message == (
            f"{path} is of schema version {newer} and this program knows {len(MIGRATIONS)}: "
            "open it with the newer quotebase that wrote it"
        )
        assert execute(path, "PRAGMA user_version") == [(newer,)]
        assert execute(path, "SELECT name FROM datasets") == [("manuals",)]

    def test_an_empty_file_becomes_a_store(self, tmp_path: Path) -> None:
        path = tmp_path / "empty"
        path.touch()
        with closing(SqliteStore(path)) as store:
            assert store.list_datasets() == []
        assert execute(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("not a database\n" * 1000)
        with pytest.raises(
            StoreUnavailable, match=r"cannot be used \(file is not a database\): check"
        ) as raised:
            SqliteStore(path)
        assert str(path) in raised.value.message
        assert path.read_text() == "not a database\n" * 1000

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match="unable to open"):
            SqliteStore(tmp_path)

    def test_a_file_in_the_way_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            SqliteStore(tmp_path / "file" / "quotebase.sqlite")

    def test_a_damaged_table(self, store: SqliteStore, path: Path) -> None:
        execute(path, "DROP TABLE documents")
        with pytest.raises(StoreUnavailable, match="no such table: documents"):
            store.list_documents("app")
        with pytest.raises(StoreUnavailable, match="no such table: documents"):
            store.put_document("app", "one", {})
        assert store.create_dataset("manuals", MODEL) == store.find_dataset("manuals")


FORBIDDEN = "CREATE TRIGGER t BEFORE {} ON {} WHEN {} BEGIN SELECT raise(ABORT, 'disk on fire'); END"


class TestRollback:
    def test_an_insert_that_fails_in_the_middle_leaves_nothing(self, store: SqliteStore, path: Path) -> None:
        dataset = store.create_dataset("manuals", MODEL)
        collection = store.create_collection(dataset.id, "c")
        drafts = [embedded("a", "", "i"), embedded("b", "", "i", "bad", "j"), embedded("c")]
        execute(path, FORBIDDEN.format("INSERT", "passages", "NEW.text = 'bad'"))
        with pytest.raises(StoreUnavailable, match="disk on fire"):
            store.add_records(collection, drafts)

        assert store.list_records(collection.id) == []
        assert (store.count_records(dataset.id), store.count_passages(dataset.id)) == (0, 0)
        assert store.known_hashes(collection.id, [item.draft.content_hash for item in drafts]) == set()
        assert store.last_sequence() == collection.key
        assert (store.repair(), store.remove_orphans()) == (0, 0)
        execute(path, "DROP TRIGGER t")
        assert [record.q for record in store.add_records(collection, drafts).records] == ["a", "b", "c"]

    def test_a_delete_that_fails_in_the_middle_removes_nothing(self, store: SqliteStore, path: Path) -> None:
        dataset = store.create_dataset("manuals", MODEL)
        collection = store.create_collection(dataset.id, "c")
        stored = store.add_records(collection, [embedded("a"), embedded("b"), embedded("c")])
        execute(path, FORBIDDEN.format("DELETE", "records", "OLD.q = 'b'"))
        last = store.last_sequence()
        for delete in (
            lambda: store.delete_records([record.id for record in stored.records]),
            lambda: store.delete_collection(collection.id),
        ):
            with pytest.raises(StoreUnavailable, match="disk on fire"):
                delete()
            assert store.list_records(collection.id) == list(stored.records)
            assert Index().catch_up(store, dataset.id).passages == rows_of(stored.passages)
            assert store.last_sequence() == last
        assert store.list_datasets() == [dataset]


def test_two_stores_on_one_file_see_what_the_other_wrote(path: Path) -> None:
    with closing(SqliteStore(path)) as one, closing(SqliteStore(path)) as two:
        dataset = one.create_dataset("manuals", MODEL)
        assert two.list_datasets() == [dataset]
        with pytest.raises(NameTaken):
            two.create_dataset("manuals", MODEL)
        collection = two.create_collection(dataset.id, "c")
        first = one.add_records(collection, [embedded("a"), embedded("b")])
        second = two.add_records(collection, [embedded("b"), embedded("c")])
        assert [record.q for record in second.records] == ["c"]
        assert second.passages.ids.tolist() == [4]
        assert one.list_records(collection.id) == two.list_records(collection.id)
        assert two.delete_records([first.records[0].id]) == [2]
        with pytest.raises(RecordNotFound):
            one.get_record(first.records[0].id)
        assert one.changes_after(dataset.id, 4, 10).removed.tolist() == [2]
        assert one.last_sequence() == two.last_sequence() == 5


def test_threads_that_have_ended_leave_no_connection(store: SqliteStore) -> None:
    store.create_dataset("manuals", MODEL)
    before = len(store._connections._all)
    for _ in range(20):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda _: len(store.list_datasets()), range(4))) == [1] * 4
    assert len(store._connections._all) == before


def test_a_folder_that_is_gone_does_not_come_back_empty(tmp_path: Path) -> None:
    """Nor does a thread keep to what was made anew when the folder is there again."""
    folder, away = tmp_path / "there", tmp_path / "away"
    with closing(SqliteStore(folder / "store.sqlite")) as store, ThreadPoolExecutor(1) as pool:
        dataset = store.create_dataset("manuals", MODEL)
        folder.rename(away)
        with pytest.raises(StoreUnavailable):
            pool.submit(store.list_datasets).result()
        assert not folder.exists()
        away.rename(folder)
        assert pool.submit(store.list_datasets).result() == [dataset]


def test_a_file_of_the_version_before_is_brought_up(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """Records from before they had a key, a title and metadata."""
    old = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(old)) as db, db:
        for statement in (statement for migration in MIGRATIONS[:2] for statement in migration):
            db.execute(statement)
        db.execute("PRAGMA user_version = 2")
        db.execute("INSERT INTO datasets VALUES (1, 'd', 'd', '', 'm', 4, 'f', 0, 0)")
        db.execute("INSERT INTO collections VALUES (1, 'c', 1, 'c', '[]', 0, 0, 0)")
        db.execute("INSERT INTO records VALUES (1, 'r', 1, 'q', 'a', 0, 5, x'00', 0)")
        db.execute("INSERT INTO passages VALUES (2, 1, 1, 1, 'q', 1, x'0000000000000000')")
    with closing(SqliteStore(old)) as opened:
        (record,) = opened.list_records("c")
        assert (record.q, record.a, record.key, record.title, record.metadata) == ("q", "a", "", "", {})
        assert [passage.start for passage in opened.passages_of(["r"])["r"]] == [0]
        assert [known.id for known in opened.known_records("c")] == ["r"]
        (dataset,), (collection,) = opened.list_datasets(), opened.list_collections("d")
        assert (dataset.parent_id, dataset.is_folder, dataset.avatar) == ("", False, "")
        assert (collection.parent_id, collection.kind, collection.metadata) == ("", "virtual", {})


def test_a_purge_that_fails_in_the_middle_of_a_step_is_repeated(store: SqliteStore, path: Path) -> None:
    dataset = store.create_dataset("manuals", MODEL)
    collection = store.create_collection(dataset.id, "c")
    store.add_records(collection, [embedded("a"), embedded("b"), embedded("c")])
    store.delete_dataset(dataset.id)
    execute(path, FORBIDDEN.format("DELETE", "records", "OLD.q = 'b'"))
    assert store.purge(1)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="disk on fire"):
            store.purge(2)
        assert execute(path, "SELECT count(*) FROM passages") == [(2,)]
    execute(path, "DROP TRIGGER t")
    assert [store.purge(2) for _ in range(3)] == [True, True, False]
    for table in ("datasets", "collections", "records", "passages", "removals"):
        assert execute(path, f"SELECT count(*) FROM {table}") == [(0,)]


def test_pages_are_found_in_an_index(store: SqliteStore, path: Path) -> None:
    """Without reading the rows that lie before them."""
    plan = execute(
        path,
        """EXPLAIN QUERY PLAN SELECT key FROM records INDEXED BY records_by_collection
        WHERE collection_key = 1 ORDER BY key DESC LIMIT 20 OFFSET 100""",
    )
    assert [row[3] for row in plan] == [
        "SEARCH records USING COVERING INDEX records_by_collection (collection_key=?)"
    ]
