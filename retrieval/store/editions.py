"""Editions: all records of a dataset as passages of one embedding model.

A dataset has one edition that is searched, and at most one other beside it: one that is being made for a
new model, or the former one, which is kept so that the dataset can go back to it. Passages of both are of
the same records, and go with them. To change places is one write to the dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from retrieval.types import Dataset, ModelBinding, PassageDraft, StoredEmbeddings


@dataclass(frozen=True, slots=True)
class Edition:
    """The one beside that which is searched.

    Args:
        number: of no other edition, ever.
        is_former: it was searched once.
    """

    number: int
    model: ModelBinding
    is_former: bool


@dataclass(frozen=True, slots=True)
class Remade:
    """Passages of a record for another edition.

    Args:
        witness: a passage of the record in the edition that is searched: if it is gone, the record has
            gone or was replaced, and these are not of it any more.
        embeddings: a row for each of ``passages``.
    """

    witness: int
    passages: tuple[PassageDraft, ...]
    embeddings: StoredEmbeddings


class Editions(Protocol):
    """What a store does with them. Any method raises DatasetNotFound, StoreUnavailable."""

    def find_edition(self, dataset_id: str) -> Edition | None:
        """The one beside that which is searched."""
        ...

    def begin_edition(self, dataset_id: str, model: ModelBinding) -> Edition:
        """An empty one beside that which is searched. Raises InvalidRequest if there is one."""
        ...

    def records_in_edition(self, dataset_id: str, record_ids: Sequence[str]) -> set[str]:
        """Those of the records that have passages in the other edition."""
        ...

    def add_to_edition(self, dataset_id: str, remade: Sequence[Remade]) -> int:
        """Passages for the other edition, all or none, but for records that are gone; how many were stored."""
        ...

    def exchange_editions(self, dataset_id: str) -> Dataset:
        """From now on the other edition is searched, and the one that was is the former."""
        ...

    def discard_edition(self, dataset_id: str) -> None:
        """Delete the other edition in steps; cut off, it is still there, and not the former any more."""
        ...


def no_edition(dataset_id: str) -> str:
    """The message where there has to be one."""
    return f"dataset {dataset_id} has no other edition: begin one first"
