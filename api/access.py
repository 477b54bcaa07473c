"""Which of the datasets that a key opens is meant by an id or a name."""

from collections.abc import Sequence

from api.auth import require_dataset
from api.keys import Key
from retrieval.errors import DatasetNotFound
from retrieval.library import no_dataset_named
from retrieval.types import Dataset


def opened_datasets(key: Key, datasets: Sequence[Dataset]) -> list[Dataset]:
    """Those that the key opens."""
    return [dataset for dataset in datasets if key.may_use(dataset.id)]


def dataset_meant(key: Key, datasets: Sequence[Dataset], id_or_name: str) -> Dataset:
    """An id counts before a name. A key for named datasets does not learn which others there are.

    Raises:
        Forbidden: the key opens named datasets, and this is none of them.
        DatasetNotFound: there is none, with the names there are.
    """
    opened = opened_datasets(key, datasets)
    for known_by in ("id", "name"):
        for dataset in opened:
            if getattr(dataset, known_by) == id_or_name:
                return dataset
    require_dataset(key, id_or_name)
    raise DatasetNotFound(no_dataset_named(id_or_name, opened))
