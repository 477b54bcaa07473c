"""What a model refuses: tried again, then taken apart row by row, so that a row costs itself and not its batch."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from ingest.mapping import RowProblem
from retrieval.additions import Plan, Planned, Prepared, join
from retrieval.errors import EmbedderUnavailable
from retrieval.library import Library
from retrieval.types import Dataset, StoredEmbeddings

WAITS_S = (1.0, 2.0, 4.0)
"""Before a batch is tried again that the model refused."""


class Refusals:
    """Embeds plans without the rows that the model refuses. ``rows`` has these, by their content.

    Args:
        dataset: whose model embeds.
        known: embeddings by text that are there already, of that model.
        check: called before each attempt; what it raises ends the import.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        library: Library,
        dataset: Dataset,
        known: Mapping[str, StoredEmbeddings],
        check: Callable[[], None],
        sleep: Callable[[float], object],
    ) -> None:
        self._library = library
        self._dataset = dataset
        self._known = known
        self._check = check
        self._sleep = sleep
        self.rows: dict[bytes, RowProblem] = {}

    def embed(self, plan: Plan) -> Prepared:
        """With embeddings, but without the drafts that the model refuses.

        Raises:
            EmbedderUnavailable: it takes nothing at all.
        """
        for wait_s in (0.0, *WAITS_S):
            if wait_s:
                self._sleep(wait_s)
            self._check()
            with suppress(EmbedderUnavailable):
                return self._library.embed(plan, self._dataset, self._known)
        parts = [part for planned in plan.planned if (part := self._embed_row(planned))]
        return join(parts, plan.gone)

    def _embed_row(self, planned: Planned) -> Prepared | None:
        """``None`` if it is the row that the model refuses.

        Raises:
            EmbedderUnavailable: it is not the row.
        """
        self._check()
        for _ in range(2):
            try:
                return self._library.embed(Plan(1, (planned,)), self._dataset, self._known)
            except EmbedderUnavailable as error:
                self._probe(error)
                reason = f"the model refuses it: {error}"
        self.rows[planned.draft.content_hash] = RowProblem(0, "", reason)
        return None

    def _probe(self, refusal: EmbedderUnavailable) -> None:
        """Raises the refusal if the model does not even take a plain text."""
        try:
            self._library.models.of(self._dataset).embedder.embed_passages(["quotebase"])
        except EmbedderUnavailable:
            raise refusal from None
