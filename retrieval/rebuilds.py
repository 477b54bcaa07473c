"""Changes of embedding models in the background of a server: one after the other, gone on with after a restart.

    queued → running → done | failed | cancelled

What is asked for is kept in the store, so that a process that ends in the middle leaves it to the next one.
"""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from retrieval.errors import DatasetNotFound, InvalidRequest, QuotebaseError
from retrieval.library import Library
from retrieval.model_changes import ChangeCancelled
from retrieval.types import Document

logger = logging.getLogger(__name__)

KIND = "rebuild"
"""Of the documents in the store; one a dataset, that of its last rebuild."""

State = Literal["none", "queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class RebuildState:
    """How far the last change of a dataset's embedding model is.

    Args:
        state: ``none`` if there was none.
        model, fingerprint: of the one that is moved to.
        is_roll_back: to the former model.
        done: passages looked at, of ``total``.
        error: what it failed for.
    """

    dataset_id: str
    state: State = "none"
    model: str = ""
    is_roll_back: bool = False
    fingerprint: str = ""
    done: int = 0
    total: int = 0
    error: str = ""

    @property
    def is_over(self) -> bool:
        return self.state not in ("queued", "running")

    @property
    def left(self) -> int:
        """Passages that are still to be looked at; 0 when it is over."""
        return 0 if self.is_over else max(0, self.total - self.done)


def rebuild_state(library: Library, dataset_id: str) -> RebuildState:
    """Raises DatasetNotFound."""
    dataset = library.store.get_dataset(dataset_id)
    document = library.store.find_document(KIND, dataset.id)
    return _from_document(document) if document else RebuildState(dataset.id)


@dataclass(eq=False, slots=True)
class _Task:
    outcome: "Future[RebuildState]"
    cancelled: threading.Event
    is_interrupted: bool = False


class Rebuilds:
    """Those of a library. Safe to use from several threads."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._pool = ThreadPoolExecutor(1, "rebuild")
        self._lock = threading.Lock()
        self._tasks: dict[str, _Task] = {}
        self._is_closing = False

    def resume(self) -> int:
        """Go on with all that are not over; how many there are. Those of deleted datasets are removed."""
        store = self._library.store
        datasets = {dataset.id for dataset in store.list_datasets()}
        states = [_from_document(document) for document in store.list_documents(KIND)]
        for state in states:
            if state.dataset_id not in datasets:
                store.delete_document(KIND, state.dataset_id)
        waiting = [state for state in states if state.dataset_id in datasets and not state.is_over]
        for state in waiting:
            with self._lock:
                self._enqueue(state)
        return len(waiting)

    def submit(self, dataset_id: str, model: str) -> "Future[RebuildState]":
        """Move a dataset to a model of this process.

        Raises:
            InvalidRequest: there is no model of that name, or the dataset is being moved already.
            DatasetNotFound
        """
        chosen = self._library.models.named(model).binding
        return self._begin(RebuildState(dataset_id, "queued", model, fingerprint=chosen.fingerprint))

    def roll_back(self, dataset_id: str) -> "Future[RebuildState]":
        """Move a dataset back to its former model.

        Raises:
            InvalidRequest: it has none, or it is being moved already.
            DatasetNotFound
            ModelMismatch: this process does not run that model.
        """
        former = self._library.former_model(dataset_id).binding
        return self._begin(RebuildState(dataset_id, "queued", former.name, True, former.fingerprint))

    def cancel(self, dataset_id: str) -> None:
        """End it after the batch in hand; the next attempt goes on from there. Nothing if none runs."""
        with self._lock:
            task = self._tasks.get(dataset_id)
        if task:
            task.cancelled.set()

    def close(self) -> None:
        """Interrupt what is running, so that it goes on at the next start."""
        with self._lock:
            self._is_closing = True
            for task in self._tasks.values():
                task.is_interrupted = not task.cancelled.is_set()
                task.cancelled.set()
        self._pool.shutdown()

    def _begin(self, state: RebuildState) -> "Future[RebuildState]":
        dataset = self._library.store.get_dataset(state.dataset_id)
        with self._lock:
            if dataset.id in self._tasks:
                raise InvalidRequest(
                    f"dataset {dataset.name!r} is being moved to another embedding model already: wait for that to end",
                    "datasetId",
                )
            total = self._library.store.count_passages(dataset.id)
            return self._enqueue(self._save(replace(state, total=total)))

    def _enqueue(self, state: RebuildState) -> "Future[RebuildState]":
        task = _Task(Future(), threading.Event(), is_interrupted=self._is_closing)
        self._tasks[state.dataset_id] = task
        if self._is_closing:
            task.outcome.set_result(state)
        else:
            self._pool.submit(self._run, state, task)
        return task.outcome

    def _save(self, state: RebuildState) -> RebuildState:
        self._library.store.put_document(KIND, state.dataset_id, asdict(state), group=state.dataset_id)
        return state

    # In the thread of the pool

    def _run(self, state: RebuildState, task: _Task) -> None:
        try:
            ended = self._move(state, task)
        except Exception as error:
            logger.exception("the rebuild of dataset %s failed", state.dataset_id)
            self._leave(state)
            task.outcome.set_exception(error)
        else:
            self._leave(state)
            task.outcome.set_result(ended)

    def _leave(self, state: RebuildState) -> None:
        with self._lock:
            del self._tasks[state.dataset_id]

    def _move(self, state: RebuildState, task: _Task) -> RebuildState:
        now = replace(state, state="running")

        def note(done: int, total: int) -> None:
            nonlocal now
            now = self._save(replace(now, done=done, total=total))

        library, given = self._library, (note, task.cancelled)
        try:
            present = library.store.get_dataset(state.dataset_id).model
            if state.is_roll_back and present.fingerprint != state.fingerprint:
                library.roll_back_model(state.dataset_id, *given)
            # One that had come to its end without a note of it does not go back again.
            elif not state.is_roll_back:
                library.change_model(state.dataset_id, state.model, *given)
        except ChangeCancelled:
            return self._save(replace(now, state="queued" if task.is_interrupted else "cancelled"))
        except DatasetNotFound:
            library.store.delete_document(KIND, state.dataset_id)
            return replace(now, state="cancelled")
        except QuotebaseError as error:
            logger.warning("dataset %s was not moved to %s: %s", state.dataset_id, state.model, error)
            return self._save(replace(now, state="failed", error=error.message))
        return self._save(replace(now, state="done"))


def _from_document(document: Document) -> RebuildState:
    body: Mapping[str, Any] = document.body
    return RebuildState(**body)
