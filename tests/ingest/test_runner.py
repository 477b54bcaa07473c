"""Jobs in the background: their order, their ends, and what is left of them for the next start."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import ingest.batches
import ingest.leftovers
from ingest.imports import run_job
from ingest.jobs import ImportReport, ImportSettings, Job, Jobs, Mode
from ingest.queueing import queue_import
from ingest.rejects import REJECTS_FOLDER, rejects_path
from ingest.runner import AT_ONCE, JobRunner
from ingest.staging import STAGED
from retrieval.errors import JobNotFound, UnreadableFile
from retrieval.library import Library
from retrieval.types import Dataset, VerifyReport
from tests.ingest.importing import NotingEmbedder, write_csv

B = 3
"""Records of a batch in these tests."""

LONG_S = 20.0
"""Nothing here takes as long, but for what waits in vain."""


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.batches, "BATCH_RECORDS", B)
    monkeypatch.setattr(ingest.batches, "QUICK_S", 0.0)


class Gate:
    """Batches with a word in their texts wait at it, until it is opened for that word."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed: set[str] = set()
        self.waiting: list[str] = []

    def close(self, *words: str) -> None:
        self._closed.update(words)

    def open(self, *words: str) -> None:
        with self._changed:
            self._closed.difference_update(words or list(self._closed))
            self._changed.notify_all()

    def wait_for(self, *words: str) -> None:
        """Until batches with all of the words wait at the same time."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(words) <= set(self.waiting), LONG_S), self.waiting

    def __call__(self, texts: Sequence[str]) -> None:
        with self._changed:
            words = [word for word in self._closed if any(word in text for text in texts)]
            self.waiting += words
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._closed.isdisjoint(words), LONG_S)
            for word in words:
                self.waiting.remove(word)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


@pytest.fixture
def embedder(gate: Gate) -> NotingEmbedder:
    return NotingEmbedder(gate)


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("coffee")


@pytest.fixture
def runner(library: Library, gate: Gate) -> Iterator[JobRunner]:
    with closing(JobRunner(library)) as made:
        yield made
        gate.open()


Queue = Callable[..., Job]


@pytest.fixture
def queue(library: Library, dataset: Dataset, tmp_path: Path) -> Queue:
    """Queue an upload of rows that begin with a word."""

    def queue(word: str, collection: str, rows: int = B, mode: Mode = "append") -> Job:
        folder = tmp_path / f"{word} {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        path = write_csv(folder / "file", [(f"{word} {n}", "") for n in range(rows)])
        chosen = ImportSettings(f"{word}.csv", collection, mode)
        return queue_import(library, dataset, path, chosen, is_upload=True)

    return queue


def is_kept(job: Job) -> bool:
    return Path(job.path).exists()


def report_of(future: "Future[ImportReport]") -> ImportReport:
    return future.result(LONG_S)


def words_of(embedder: NotingEmbedder) -> list[str]:
    return list(dict.fromkeys(text.partition(" ")[0] for text in embedder.read))


# Turns


def test_a_job_is_run(library: Library, runner: JobRunner, queue: Queue) -> None:
    job = queue("one", "all", 2 * B + 1)
    assert is_kept(job)
    report = report_of(runner.submit(job))
    assert (report.state, report.added) == ("done", 2 * B + 1)
    assert Jobs(library.store).get(job.id).report == report
    assert not Path(job.path).parent.exists()


def test_jobs_of_one_collection_run_one_after_another(
    runner: JobRunner, queue: Queue, gate: Gate, embedder: NotingEmbedder, library: Library
) -> None:
    """In the order in which they came."""
    words = [f"w{n}" for n in range(AT_ONCE + 3)]
    gate.close("w0")
    futures = [runner.submit(queue(word, "same", 2 * B)) for word in words]
    gate.wait_for("w0")
    assert [job.state for job in Jobs(library.store).list()] == ["running", *["queued"] * (len(words) - 1)]
    gate.open()
    assert [report_of(future).added for future in futures] == [2 * B] * len(words)
    assert embedder.read == [f"{word} {n}" for word in words for n in range(2 * B)]


def test_jobs_of_several_collections_run_side_by_side(runner: JobRunner, queue: Queue, gate: Gate) -> None:
    words = [f"w{n}" for n in range(AT_ONCE)]
    gate.close(*words)
    futures = [runner.submit(queue(word, f"of {word}")) for word in words]
    gate.wait_for(*words)
    gate.open()
    assert {report_of(future).state for future in futures} == {"done"}


def test_jobs_that_wait_for_each_other_are_in_nobodys_way(
    runner: JobRunner, queue: Queue, gate: Gate
) -> None:
    """However many there are of one collection, another one has its turn."""
    gate.close("slow")
    slow = [runner.submit(queue(f"slow{n}", "same")) for n in range(2 * AT_ONCE)]
    gate.wait_for("slow")
    assert report_of(runner.submit(queue("quick", "other"))).state == "done"
    assert not any(future.done() for future in slow)
    gate.open()
    assert {report_of(future).state for future in slow} == {"done"}


def test_a_collection_of_the_same_name_in_another_dataset_is_another(
    runner: JobRunner, queue: Queue, gate: Gate, library: Library, tmp_path: Path
) -> None:
    gate.close("slow")
    slow = runner.submit(queue("slow", "same"))
    gate.wait_for("slow")
    path = write_csv(tmp_path / "f.csv", [("quick", "")])
    job = queue_import(library, library.create_dataset("tea"), path, ImportSettings("f.csv", "same"))
    assert report_of(runner.submit(job)).state == "done"
    assert path.exists()
    gate.open()
    report_of(slow)


def test_a_job_is_submitted_once(
    runner: JobRunner, queue: Queue, gate: Gate, library: Library, embedder: NotingEmbedder
) -> None:
    """As long as it is not over; after that it is what became of it, whatever the caller has in hand."""
    gate.close("one", "two")
    first, waiting = queue("one", "same"), queue("two", "same")
    futures = [runner.submit(job) for job in (first, waiting, first, waiting)]
    assert futures[0] is futures[2]
    assert futures[1] is futures[3]
    gate.open()
    reports = [report_of(future) for future in futures]
    assert report_of(runner.submit(first)) == reports[0]
    assert report_of(runner.submit(Jobs(library.store).get(waiting.id))) == reports[1]
    assert len(embedder.read) == 2 * B


def test_a_job_that_is_over_can_be_queued_again(
    runner: JobRunner, queue: Queue, embedder: NotingEmbedder
) -> None:
    assert report_of(runner.submit(queue("one", "all"))).added == B
    again = queue("one", "all")
    assert is_kept(again)
    assert report_of(runner.submit(again)).unchanged == B
    assert not is_kept(again)
    assert len(embedder.read) == B


# Failures


def test_a_job_that_fails_keeps_nobody(
    runner: JobRunner, queue: Queue, gate: Gate, library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    gate.close("first")
    jobs = [queue(word, "same") for word in ("first", "gone", "last")]
    futures = [runner.submit(job) for job in jobs]
    gate.wait_for("first")
    Path(jobs[1].path).unlink()
    gate.open()
    assert report_of(futures[0]).state == "done"
    with pytest.raises(UnreadableFile, match=r"gone\.csv cannot be read"):
        report_of(futures[1])
    assert report_of(futures[2]).state == "done"
    assert [job.state for job in Jobs(library.store).list()] == ["done", "failed", "done"]
    assert not any(Path(job.path).parent.exists() for job in jobs)
    assert "the import of gone.csv failed: gone.csv cannot be read" in caplog.text
    assert "Traceback" not in caplog.text
    assert report_of(runner.submit(queue("gone", "same"))).added == B


class QueueAgain(logging.Handler):
    """Sends the same upload again at the moment when its failure is logged: the job is over, and has not left."""

    def __init__(self, runner: JobRunner, queue: Queue) -> None:
        super().__init__(logging.WARNING)
        self._runner, self._queue = runner, queue
        self.jobs: list[Job] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not self.jobs:
            self.jobs.append(self._queue("one", "same"))
            self._runner.submit(self.jobs[0])


def test_a_job_that_is_queued_again_as_it_ends_is_run(
    runner: JobRunner, queue: Queue, library: Library
) -> None:
    again = QueueAgain(runner, queue)
    logger = logging.getLogger("ingest.runner")
    logger.addHandler(again)
    try:
        job = queue("one", "same")
        Path(job.path).unlink()
        with pytest.raises(UnreadableFile):
            report_of(runner.submit(job))
    finally:
        logger.removeHandler(again)
    (second,) = again.jobs
    assert second.id == job.id
    report_of(runner.submit(queue("other", "same")))
    assert Jobs(library.store).get(job.id).state == "done"
    assert not Path(job.path).parent.exists()
    assert not Path(second.path).parent.exists()


def test_an_unthought_of_error_is_in_the_log(
    runner: JobRunner, queue: Queue, library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    (library.data_dir / REJECTS_FOLDER).write_text("")
    job = queue("one", "all")
    with pytest.raises(FileExistsError):
        report_of(runner.submit(job))
    assert Jobs(library.store).get(job.id).state == "failed"
    assert "Traceback" in caplog.text
    assert not is_kept(job)
    (library.data_dir / REJECTS_FOLDER).unlink()
    assert report_of(runner.submit(queue("one", "all"))).added == B


# Cancelled


def test_a_job_that_waits_is_cancelled_at_once(
    runner: JobRunner, queue: Queue, gate: Gate, embedder: NotingEmbedder
) -> None:
    """While the one before it still runs."""
    gate.close("first")
    first, second, third = jobs = [queue(word, "same") for word in ("first", "second", "third")]
    futures = [runner.submit(job) for job in jobs]
    gate.wait_for("first")
    assert runner.cancel(second.id).state == "cancelled"
    assert futures[1].done()
    assert report_of(futures[1]).state == "cancelled"
    assert (is_kept(first), is_kept(second), is_kept(third)) == (True, False, True)
    assert not futures[0].done()
    gate.open()
    assert [report_of(future).state for future in futures] == ["done", "cancelled", "done"]
    assert words_of(embedder) == ["first", "third"]
    assert runner.cancel(second.id).state == "cancelled"
    assert report_of(runner.submit(queue("second", "same"))).added == B


def test_a_job_that_waits_for_a_thread_is_cancelled_at_once(
    runner: JobRunner, queue: Queue, gate: Gate, embedder: NotingEmbedder
) -> None:
    words = [f"w{n}" for n in range(AT_ONCE)]
    gate.close(*words)
    futures = [runner.submit(queue(word, word)) for word in words]
    gate.wait_for(*words)
    last, after = queue("last", "last"), queue("after", "last")
    futures += [runner.submit(last), runner.submit(after)]
    assert runner.cancel(last.id).state == "cancelled"
    again = runner.submit(queue("last", "last"))
    gate.open()
    states = [report_of(future).state for future in [*futures, again]]
    assert states == [*["done"] * AT_ONCE, "cancelled", "done", "done"]
    assert words_of(embedder)[-2:] == ["after", "last"]


def test_a_job_that_runs_is_cancelled_after_the_batch_in_hand(
    runner: JobRunner, queue: Queue, gate: Gate, library: Library, embedder: NotingEmbedder
) -> None:
    gate.close("one 4")
    job = queue("one", "all", 5 * B)
    future = runner.submit(job)
    gate.wait_for("one 4")
    with ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(runner.cancel, job.id)
        assert runner._tasks[job.id].cancelled.wait(LONG_S)
        assert not cancelling.done()
        gate.open()
        cancelled = cancelling.result(LONG_S)
    assert (cancelled.state, cancelled.position, cancelled.report.added) == ("cancelled", 2 * B, 2 * B)
    assert report_of(future) == cancelled.report
    assert not is_kept(job)
    report = report_of(runner.submit(queue("one", "all", 5 * B)))
    assert (report.read, report.added) == (5 * B, 5 * B)
    assert embedder.read == [f"one {n}" for n in range(5 * B)]


def test_what_is_over_stays_as_it_is(runner: JobRunner, queue: Queue, library: Library) -> None:
    job = queue("one", "all")
    report = report_of(runner.submit(job))
    assert runner.cancel(job.id).report == report
    assert Jobs(library.store).get(job.id).state == "done"
    with pytest.raises(JobNotFound):
        runner.cancel("unknown")


def test_a_job_of_a_process_that_is_gone_is_cancelled(
    runner: JobRunner, queue: Queue, embedder: NotingEmbedder
) -> None:
    job = queue("one", "all")
    assert runner.cancel(job.id).state == "cancelled"
    assert not Path(job.path).parent.exists()
    assert report_of(runner.submit(job)).state == "cancelled"
    assert (runner.resume(), embedder.read) == (0, [])


# The next start


def test_what_is_not_over_goes_on_at_the_next_start(
    queue: Queue, gate: Gate, library: Library, dataset: Dataset, embedder: NotingEmbedder
) -> None:
    first = JobRunner(library)
    gate.close("one 4")
    jobs = [queue(word, "same", 4 * B) for word in ("one", "two", "three")]
    futures = [first.submit(job) for job in jobs]
    gate.wait_for("one 4")
    with ThreadPoolExecutor(1) as pool:
        closing_it = pool.submit(first.close)
        # Those that wait have nothing to wait for any more.
        assert [report_of(future).state for future in futures[1:]] == ["queued", "queued"]
        gate.open()
        closing_it.result(LONG_S)
    assert report_of(futures[0]).state == "queued"
    assert report_of(futures[0]).added == 2 * B
    assert [job.state for job in Jobs(library.store).list()] == ["queued"] * 3
    assert all(is_kept(job) for job in jobs)
    assert words_of(embedder) == ["one"]
    assert report_of(first.submit(jobs[0])).state == "queued"

    with closing(JobRunner(library)) as second:
        assert second.resume() == 3
        reports = [report_of(second.submit(job)) for job in jobs]
        assert [(report.state, report.read, report.added) for report in reports] == [
            ("done", 4 * B, 4 * B)
        ] * 3
        assert second.resume() == 0
    assert embedder.read == [f"{word} {n}" for word in ("one", "two", "three") for n in range(4 * B)]
    assert not any(Path(job.path).parent.exists() for job in jobs)
    assert library.verify() == VerifyReport(passages={"coffee": 12 * B})


def test_a_job_left_running_by_a_kill_goes_on(
    runner: JobRunner, queue: Queue, library: Library, embedder: NotingEmbedder
) -> None:
    job = queue("one", "all", 4 * B)

    def cut_off(report: ImportReport) -> None:
        if report.read == 2 * B:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(library, job, cut_off)
    left = Jobs(library.store).get(job.id)
    Jobs(library.store).save(replace(left, report=replace(left.report, state="running")))
    # The same upload, which a client sends again, changes nothing.
    assert queue("one", "all", 4 * B).path == job.path
    assert runner.resume() == 1
    assert report_of(runner.submit(job)).added == 4 * B
    assert embedder.read == [f"one {n}" for n in range(4 * B)]
    assert not is_kept(job)


def test_who_cancels_while_the_server_ends_is_heard(queue: Queue, gate: Gate, library: Library) -> None:
    runner = JobRunner(library)
    gate.close("one")
    job = queue("one", "all", 3 * B)
    future = runner.submit(job)
    gate.wait_for("one")
    with ThreadPoolExecutor(2) as pool:
        cancelling = pool.submit(runner.cancel, job.id)
        assert runner._tasks[job.id].cancelled.wait(LONG_S)
        assert not cancelling.done()
        closing_it = pool.submit(runner.close)
        gate.open()
        assert cancelling.result(LONG_S).state == "cancelled"
        closing_it.result(LONG_S)
    assert report_of(future).state == "cancelled"
    assert not is_kept(job)


# Forgotten


def test_jobs_of_a_dataset_are_forgotten(
    runner: JobRunner,
    queue: Queue,
    gate: Gate,
    library: Library,
    dataset: Dataset,
    embedder: NotingEmbedder,
    tmp_path: Path,
) -> None:
    """What runs is ended after the batch in hand, what waits at once, what is over goes too."""
    over = report_of(runner.submit(queue("over", "other")))
    path = write_csv(tmp_path / "tea.csv", [("tea", "")])
    tea = library.create_dataset("tea")
    other = queue_import(library, tea, path, ImportSettings("tea.csv", "same"))
    report_of(runner.submit(other))
    gate.close("one 4")
    jobs = [queue(word, "same", 5 * B, "replace") for word in ("one", "two")]
    futures = [runner.submit(job) for job in jobs]
    gate.wait_for("one 4")
    library.delete_dataset(dataset.id)
    runner.forget(dataset.id)
    assert [job.id for job in Jobs(library.store).list()] == [other.id, jobs[0].id]
    assert [future.done() for future in futures] == [False, True]
    gate.open()
    assert [report_of(future).state for future in futures] == ["cancelled", "cancelled"]
    assert embedder.read == [*(f"over {n}" for n in range(B)), "tea", *(f"one {n}" for n in range(2 * B))]
    assert [job.id for job in Jobs(library.store).list()] == [other.id]
    assert library.store.list_documents(STAGED) == []
    assert not any(rejects_path(library, id_).exists() for id_ in (over.job, *(job.id for job in jobs)))
    assert not any(is_kept(job) for job in jobs)
    assert rejects_path(library, other.id).exists()


def test_jobs_of_a_collection_are_forgotten(
    runner: JobRunner, queue: Queue, library: Library, dataset: Dataset
) -> None:
    """But not one that has still to make a collection of that name."""
    gone = report_of(runner.submit(queue("gone", "same")))
    kept = report_of(runner.submit(queue("kept", "other")))
    waiting = queue("waiting", "same")
    library.delete_collection(gone.collection_id)
    runner.forget(dataset.id, gone.collection_id)
    assert [job.id for job in Jobs(library.store).list()] == [kept.job, waiting.id]
    assert not rejects_path(library, gone.job).exists()
    assert report_of(runner.submit(waiting)).added == B


def test_old_jobs_are_gone_at_the_next_start(library: Library, queue: Queue, dataset: Dataset) -> None:
    run_job(library, queue("one", "all"))
    library.delete_dataset(dataset.id)
    library.store.delete_document(ingest.leftovers.KIND, ingest.leftovers.KIND)
    with closing(JobRunner(library)) as runner:
        assert runner.resume() == 0
    assert Jobs(library.store).list() == []


def test_closing_what_has_nothing_to_do(library: Library, queue: Queue) -> None:
    runner = JobRunner(library)
    assert runner.resume() == 0
    runner.close()
    job = queue("one", "all")
    assert report_of(runner.submit(job)).state == "queued"
    assert (Jobs(library.store).get(job.id).state, is_kept(job)) == ("queued", True)


def test_many_jobs_of_many_callers(
    runner: JobRunner, queue: Queue, library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    """Submitted, cancelled and queued again by several threads: each has an end."""
    caplog.set_level(logging.ERROR)
    made = [queue(f"w{n}", f"c{n % 3}", 2 * B) for n in range(18)]

    def play(thread: int) -> None:
        for place, job in enumerate(made):
            future = runner.submit(job)
            if (place + thread) % 5 == 0:
                assert runner.cancel(job.id).is_over
            elif (place + thread) % 3 == 0:
                report_of(future)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(play, range(4)))
    for job in made:
        report_of(runner.submit(job))
    states = [job.state for job in Jobs(library.store).list()]
    assert set(states) <= {"done", "cancelled"}
    assert not any(Path(job.path).parent.exists() for job in made)
    for n, state in enumerate(states):
        if state == "cancelled":
            assert report_of(runner.submit(queue(f"w{n}", f"c{n % 3}", 2 * B))).state == "done"
    assert library.verify() == VerifyReport(passages={"coffee": 18 * 2 * B})
    assert caplog.text == ""
