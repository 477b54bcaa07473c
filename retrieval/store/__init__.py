"""The truth: datasets, collections, records, passages with their embeddings, and documents.

:class:`Store` is the contract; :mod:`.sqlite` and :mod:`.mongo` fulfil it, and one test suite
(``tests/contracts/test_store.py``) holds both to it. Nothing outside this package knows which one
is in use.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as AnyOf
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from retrieval.errors import DatasetNotFound
from retrieval.store.editions import Editions
from retrieval.types import (
    Changes,
    Collection,
    Dataset,
    Document,
    EmbeddedDraft,
    ModelBinding,
    Page,
    Passage,
    PassageBlock,
    PassageIds,
    Record,
    StoredEmbeddings,
    TextChanges,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What an add wrote: the new records in the order of the drafts, and their passages."""

    records: tuple[Record, ...]
    passages: PassageBlock
    removed: PassageIds
    """Passages of the records that went in exchange."""


@dataclass(frozen=True, slots=True)
class KnownRecord:
    """What tells whether a row has changed since it was imported."""

    id: str
    key: str
    content_hash: bytes
    metadata: Mapping[str, object]


class Store(Editions, Protocol):
    """Durable state. Every method may be called from any thread.

    A method that changes something returns when the change would survive a power cut, and changes
    all it says or nothing. "Not found" is a typed error, never ``None``, unless a name says
    ``find``. Any method raises StoreUnavailable when the database cannot be reached or written.
    """

    # Datasets

    def create_dataset(
        self,
        name: str,
        model: ModelBinding,
        intro: str = "",
        *,
        parent_id: str = "",
        is_folder: bool = False,
        avatar: str = "",
    ) -> Dataset:
        """A dataset, or a folder of datasets. Names of folders may repeat.

        Raises:
            NameTaken: there is a dataset of that name.
            DatasetNotFound, InvalidRequest: the parent is not there, or is no folder.
        """
        ...

    def get_dataset(self, dataset_id: str) -> Dataset:
        """A dataset or a folder. Raises DatasetNotFound."""
        ...

    def find_dataset(self, name: str) -> Dataset | None:
        """No folder."""
        ...

    def list_datasets(self) -> list[Dataset]:
        """Oldest first, wherever they are; no folders."""
        ...

    def list_folders(self) -> list[Dataset]:
        """Folders of datasets, oldest first."""
        ...

    def update_dataset(
        self,
        dataset_id: str,
        *,
        name: str | None = None,
        intro: str | None = None,
        avatar: str | None = None,
        parent_id: str | None = None,
    ) -> Dataset:
        """Change what is not ``None`` of a dataset or a folder.

        Raises:
            NameTaken: there is another dataset of that name.
            DatasetNotFound, InvalidRequest: the parent is not there, is no folder, or lies in the folder itself.
        """
        ...

    def delete_dataset(self, dataset_id: str) -> None:
        """From now on nothing in it is found and its name is free; :meth:`purge` removes the rest.

        Takes the same short time whatever its size.

        Raises:
            DatasetNotFound
            InvalidRequest: it is a folder with something in it.
        """
        ...

    def purge(self, limit: int) -> bool:
        """One step of removing what deleted datasets have left behind; whether more is left.

        A step removes at most ``limit`` records with their passages, or as many removals, or collections.
        One of 0 removes nothing.
        """
        ...

    # Collections

    def create_collection(
        self,
        dataset_id: str,
        name: str,
        tags: Sequence[str] = (),
        *,
        parent_id: str = "",
        kind: str = "virtual",
        metadata: Mapping[str, object] | None = None,
    ) -> Collection:
        """Names may repeat.

        Raises:
            DatasetNotFound
            CollectionNotFound, InvalidRequest: the dataset is a folder, or the parent is not in the dataset
                or no folder.
        """
        ...

    def get_collection(self, collection_id: str) -> Collection:
        """Raises CollectionNotFound."""
        ...

    def find_collection(self, dataset_id: str, name: str) -> Collection | None:
        """The oldest of that name that is no folder."""
        ...

    def list_collections(self, dataset_id: str) -> list[Collection]:
        """Oldest first. Raises DatasetNotFound."""
        ...

    def forbidden_keys(self, dataset_id: str) -> frozenset[int]:
        """Keys of the collections that are not to be searched."""
        ...

    def update_collection(
        self,
        collection_id: str,
        *,
        name: str | None = None,
        parent_id: str | None = None,
        tags: Sequence[str] | None = None,
        forbid: bool | None = None,
        created_at: datetime | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Collection:
        """Change what is not ``None``; ``created_at`` has a time zone and is kept to the millisecond.

        Raises:
            CollectionNotFound, InvalidRequest: the parent is not in the dataset, is no folder, or lies in the
                collection itself.
        """
        ...

    def page_collections(
        self, dataset_id: str, parent_id: str | None, search: str, offset: int, limit: int
    ) -> Page[Collection]:
        """Those whose name has ``search`` in it, newest first; upper and lower case are the same.

        Args:
            parent_id: of the folder they are in, itself; empty for the top, ``None`` for anywhere.
        """
        ...

    def children_of(self, collection_id: str) -> list[str]:
        """Ids of all collections in a folder, at any depth, a folder before what is in it."""
        ...

    def delete_collection(self, collection_id: str) -> None:
        """With its records, and without what is in it if it is a folder. Raises CollectionNotFound."""
        ...

    # Records and passages

    def add_records(
        self, collection: Collection, drafts: Sequence[EmbeddedDraft], gone: Sequence[str] = ()
    ) -> Stored:
        """Store those drafts whose content the collection does not have yet, all or none.

        The records ``gone``, and those that drafts replace, are deleted in the same step, before it
        is looked at what the collection has; those that are not of the collection stay. Passage ids
        ascend in the order of the drafts and of their passages.

        Raises:
            CollectionNotFound: it was deleted in the meantime.
        """
        ...

    def known_hashes(self, collection_id: str, hashes: AnyOf[bytes]) -> set[bytes]:
        """Those of the content hashes that the collection has records for."""
        ...

    def known_records(self, collection_id: str, keys: AnyOf[str] | None = None) -> list[KnownRecord]:
        """All of the collection, or those with one of the keys, oldest first. Raises CollectionNotFound."""
        ...

    def embeddings_of(self, record_ids: Sequence[str]) -> dict[str, StoredEmbeddings]:
        """What the passages of the records were embedded as, (dim,) each, by their text; as searched."""
        ...

    def get_record(self, record_id: str) -> Record:
        """Raises RecordNotFound."""
        ...

    def find_record(self, collection_id: str, content_hash: bytes) -> Record | None:
        """The one of that content."""
        ...

    def page_records(self, collection_id: str, search: str, offset: int, limit: int) -> Page[Record]:
        """Those whose q or a has ``search`` in it, oldest first; upper and lower case are the same.

        Without ``search`` the last page takes no longer than the first; with it every record is read.
        """
        ...

    def list_records(self, collection_id: str, limit: int = 1000) -> list[Record]:
        """The first ``limit``, oldest first."""
        ...

    def record_pages(self, collection_id: str, size: int) -> Iterator[list[Record]]:
        """All records, oldest first, at most ``size`` at a time, each page read when it is asked for.

        A record that stays comes once, whatever is deleted, added or replaced between two pages; one
        that is replaced comes as it was, as it is, or both.
        """
        ...

    def records_in(self, dataset_id: str, record_ids: AnyOf[str]) -> list[str]:
        """Those of the ids that are of records of the dataset, each once."""
        ...

    def sources_of(self, passage_ids: Sequence[int]) -> dict[int, tuple[Record, str]]:
        """The record of each passage, with the name of its collection; passages that are gone are left out."""
        ...

    def passages_of(self, record_ids: Sequence[str]) -> dict[str, tuple[Passage, ...]]:
        """The passages of each record in the edition that is searched, by ascending id."""
        ...

    def delete_records(self, record_ids: Sequence[str]) -> list[int]:
        """Delete those that exist, with their passages; the ids of the passages."""
        ...

    def passage_ids_of(self, record_ids: Sequence[str]) -> list[int]:
        """In the edition that is searched, ascending."""
        ...

    def passage_ids_in(self, collection_id: str) -> list[int]:
        """Of all records of a collection in the edition that is searched, ascending."""
        ...

    def count_records(self, dataset_id: str) -> int: ...

    def count_records_in(self, collection_ids: Sequence[str]) -> dict[str, int]:
        """By collection; 0 for those without, and those that are not there."""
        ...

    def count_passages(self, dataset_id: str, edition: int | None = None) -> int:
        """Of the edition that is searched, or of another."""
        ...

    # What an index needs to catch up

    def changes_after(
        self, dataset_id: str, watermark: int, limit: int, edition: int | None = None
    ) -> Changes:
        """The next changes of a dataset after a watermark; 0 is the beginning.

        Additions and removals are numbered by one sequence. At most ``limit`` of each are in one
        step; repeat from the watermark that is returned until ``is_last``. A passage that was
        removed again may be missing among the additions. The additions are those of one edition,
        by default that which is searched; the removals may be those of others too.
        """
        ...

    def texts_after(
        self, dataset_id: str, watermark: int, limit: int, edition: int | None = None
    ) -> TextChanges:
        """As :meth:`changes_after`, with texts instead of embeddings."""
        ...

    def last_sequence(self) -> int:
        """The highest number given out so far; a watermark above it is of another store."""
        ...

    # Documents of the layers above

    def put_document(
        self, kind: str, document_id: str, body: Mapping[str, object], group: str = ""
    ) -> Document:
        """Create it, or replace its body and group; ``seq`` stays that of the creation."""
        ...

    def find_document(self, kind: str, document_id: str) -> Document | None: ...

    def list_documents(
        self, kind: str, group: str | None = None, newest: int | None = None
    ) -> list[Document]:
        """Oldest first; of one group if given, the ``newest`` n only if given."""
        ...

    def page_documents(
        self, kind: str, group: str, offset: int, limit: int, newest_first: bool = False
    ) -> Page[Document]:
        """Some of one group, in the order of ``seq``; those that are passed by are not read."""
        ...

    def delete_document(self, kind: str, document_id: str) -> bool:
        """Whether there was one."""
        ...

    def delete_documents(self, kind: str, group: str) -> int:
        """All of one group; how many there were. On MongoDB a kill may leave some: delete them again."""
        ...

    # Upkeep

    def repair(self) -> int:
        """Undo half-written adds and finish half-done deletes; how many there were.

        For the owner of the data directory only, when nothing else writes.
        """
        ...

    def remove_orphans(self) -> int:
        """Remove passages without a record and records without a passage; how many there were."""
        ...

    def close(self) -> None: ...


def open_store(data_dir: Path, mongodb_uri: str | None = None) -> Store:
    """MongoDB if a URI is given, else the file ``quotebase.sqlite`` in ``data_dir``.

    Raises:
        StoreUnavailable: it cannot be opened or reached, or is of a newer version.
    """
    if mongodb_uri:
        from retrieval.store.mongo import MongoStore

        return MongoStore(mongodb_uri)
    from retrieval.store.sqlite import SqliteStore

    return SqliteStore(data_dir / "quotebase.sqlite")


def dataset_id_of(index_name: str) -> str:
    """Of the dataset whose edition has the index of that name: see :attr:`~retrieval.types.Dataset.index_name`."""
    return index_name.partition("-")[0]


def dataset_of_index(store: Store, name: str) -> Dataset:
    """The dataset that is searched by the index of that name.

    Raises:
        DatasetNotFound: it was deleted, or has another edition.
    """
    dataset = store.get_dataset(dataset_id_of(name))
    if dataset.index_name != name:
        raise DatasetNotFound(f"dataset {dataset.name!r} is not searched by the index {name} any more")
    return dataset


Step = TypeVar("Step", Changes, TextChanges)


def drain(
    next_step: Callable[[str, int, int, int | None], Step],
    dataset: Dataset | str,
    watermark: int,
    limit: int = 20_000,
) -> Iterator[Step]:
    """All changes after a watermark, step by step, by ``changes_after`` or ``texts_after`` of a store.

    Args:
        dataset: for the edition that it says; or an id, for the one that is searched.
    """
    dataset_id, edition = (dataset, None) if isinstance(dataset, str) else (dataset.id, dataset.edition)
    while True:
        changes = next_step(dataset_id, watermark, limit, edition)
        yield changes
        if changes.is_last:
            return
        watermark = changes.watermark
