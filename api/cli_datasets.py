"""Datasets as the commands for apps and keys name them."""

from typing import Annotated

import typer

from retrieval.errors import DatasetNotFound
from retrieval.library import no_dataset_named
from retrieval.store import Store

Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", help="Name of a dataset; may be given again.")
]


def dataset_ids_of(store: Store, names: list[str]) -> tuple[str, ...]:
    """Raises DatasetNotFound for the first name that no dataset has."""
    found = {dataset.name: dataset.id for dataset in store.list_datasets()}
    for name in names:
        if name not in found:
            raise DatasetNotFound(no_dataset_named(name, store.list_datasets()))
    return tuple(dict.fromkeys(found[name] for name in names))
