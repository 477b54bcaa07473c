"""What may lie in what: the rules of folders, which both stores look at before they write."""

from collections.abc import Callable, Iterable

from retrieval.errors import InvalidRequest
from retrieval.types import Collection, Dataset


def check_dataset_parent(get: Callable[[str], Dataset], parent_id: str, moved_id: str = "") -> None:
    """Whether a dataset may lie in ``parent_id``, and the folder ``moved_id`` may go there.

    Raises:
        DatasetNotFound, InvalidRequest: it may not.
    """
    _check_way_up(get, parent_id, moved_id)


def check_collection_parent(
    get: Callable[[str], Collection], dataset_id: str, parent_id: str, moved_id: str = ""
) -> None:
    """Whether a collection of the dataset may lie in ``parent_id``, and ``moved_id`` may go there.

    Raises:
        CollectionNotFound, InvalidRequest: it may not.
    """
    if parent_id and get(parent_id).dataset_id != dataset_id:
        raise InvalidRequest(
            f"the folder {parent_id} is in another dataset: name a folder of this one", "parentId"
        )
    _check_way_up(get, parent_id, moved_id)


def _check_way_up(get: Callable[[str], Dataset | Collection], parent_id: str, moved_id: str) -> None:
    while parent_id:
        parent = get(parent_id)
        if not parent.is_folder:
            raise InvalidRequest(
                f"{parent.name!r} is no folder: name a folder as the parent, or none", "parentId"
            )
        if parent_id == moved_id:
            raise InvalidRequest(
                f"the folder {parent.name!r} cannot lie in itself: move it elsewhere", "parentId"
            )
        parent_id = parent.parent_id


def check_is_empty(folder: Dataset, others: Iterable[Dataset]) -> None:
    """Raises InvalidRequest if one of the others is in the folder."""
    inside = [other.name for other in others if other.parent_id == folder.id]
    if inside:
        raise InvalidRequest(
            f"the folder {folder.name!r} is not empty ({len(inside)} in it, {inside[0]!r} among them): "
            "delete or move what is in it first",
            "id",
        )


def check_has_collections(dataset: Dataset) -> None:
    """Raises InvalidRequest if it is a folder."""
    if dataset.is_folder:
        raise InvalidRequest(
            f"{dataset.name!r} is a folder of datasets and has no collections: name a dataset", "datasetId"
        )
