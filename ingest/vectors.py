"""Ready-made embeddings beside a table: a .npy file with a vector for each text of each row, in order.

The texts of a row are its q and a, then its index cells; a row that is refused has its vectors too.
"""

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.embedding.ready import without_direction
from retrieval.errors import InvalidRequest, ModelMismatch, UnreadableFile
from retrieval.types import Embeddings, RecordDraft

CHECKED = 1 << 14
"""Vectors looked at together before any is imported."""


class VectorFile:
    """Vectors that are taken from the beginning of the file to its end.

    Args:
        texts: how many vectors there have to be.
        dim: how wide they have to be; ``None`` if that is not known yet.

    Raises:
        UnreadableFile: it is no .npy file of rows of numbers.
        InvalidRequest: it has more or fewer vectors, or one without a direction.
        ModelMismatch: they are of another width.
    """

    def __init__(self, path: Path, name: str, texts: int, dim: int | None) -> None:
        self._vectors = _open(path, name)
        self._taken = 0
        count, width = self._vectors.shape
        if dim is not None and width != dim:
            raise ModelMismatch(
                f"{name} has vectors of {width} numbers, the dataset takes {dim}: make them with its model"
            )
        if count != texts:
            raise InvalidRequest(
                f"{name} has {count} vectors and the table {texts} texts: give one for each text of each row, in order"
            )
        for start in range(0, count, CHECKED):
            wrong = without_direction(self._vectors[start : start + CHECKED])
            if len(wrong):
                raise InvalidRequest(
                    f"vector {start + wrong[0] + 1} of {name} is zero or not finite: it has no direction"
                )

    def take(self, count: int) -> Embeddings:
        """The next ``count`` vectors."""
        start, self._taken = self._taken, self._taken + count
        return np.asarray(self._vectors[start : self._taken])


def of_passages(draft: RecordDraft, vectors: Embeddings) -> Embeddings:
    """Those of the draft's passages, of the vectors of all its texts: a text that repeats counts once."""
    texts = [draft.text, *(index.strip() for index in draft.indexes)]
    return vectors[[texts.index(text) for text in draft.texts]]


def _open(path: Path, name: str) -> npt.NDArray[Any]:
    try:
        # Reads .npy and nothing else: np.load takes archives and pickles too, and raises what they raise.
        vectors = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
        raise UnreadableFile(f"{name} cannot be read as a .npy file: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise UnreadableFile(
            f"{name} is no .npy file of rows of floating-point numbers: save it with numpy.save"
        )
    return vectors
