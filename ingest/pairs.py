"""The q/a pairs of a document, kept as they come: a chunk that a model has read once is not read again."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from ingest.qa_replies import QaPair
from ingest.qa_split import FailedChunk, SplitChunk, split_into_pairs
from retrieval.completion import Completion
from retrieval.errors import CompletionFailed
from retrieval.library import Library

PAIRS_FOLDER = "pairs"
"""In the data directory: what a model made of the document of each job."""

MOST_FAILURES = 5
"""Chunks in a row: then it is not the chunks that fail."""

Result = SplitChunk | FailedChunk

MakePairs = Callable[[Sequence[str]], Iterator[Result]]


class KeptPairs:
    """Asks a model for the pairs of texts, and keeps its answers in a file.

    Called again with the same texts it gives the same pairs. What failed before is tried again if the
    import begins anew, and stays failed if it goes on: it was counted with what is done.

    Args:
        prompt: the user's instructions; empty for our own.
        is_new: whether the import begins anew.
    """

    def __init__(self, path: Path, completion: Completion, prompt: str, *, is_new: bool) -> None:
        self._path = path
        self._completion = completion
        self._prompt = prompt
        self._is_new = is_new

    def __call__(self, texts: Sequence[str]) -> Iterator[Result]:
        """What became of each text, in order.

        Raises:
            CompletionFailed: MOST_FAILURES in a row have no pairs; the last reason.
            InvalidRequest: the backend is the one that only quotes.
        """
        kept = {result.position: result for result in self._read()}
        unread = (text for place, text in enumerate(texts) if place not in kept)
        failures = 0
        with (
            closing(split_into_pairs(unread, self._completion, self._prompt or None)) as fresh,
            self._open(kept.values()) as file,
        ):
            for place in range(len(texts)):
                result = kept.get(place)
                if result is None:
                    result = replace(next(fresh), position=place)
                    if isinstance(result, SplitChunk):
                        failures = 0
                    elif (failures := failures + 1) == MOST_FAILURES:
                        raise CompletionFailed(f"{failures} chunks in a row gave no pairs: {result.reason}")
                    file.write(_line(result))
                    file.flush()
                yield result

    def _read(self) -> Iterator[Result]:
        """Up to the first line that was not written to its end."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        for line in lines:
            try:
                body = json.loads(line)
            except ValueError:
                return
            if "pairs" in body:
                yield SplitChunk(body["position"], tuple(QaPair(**pair) for pair in body["pairs"]))
            elif not self._is_new:
                yield FailedChunk(**body)

    def _open(self, kept: Iterable[Result]) -> IO[str]:
        """A file that has what is kept, and nothing else."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".part")
        beside.write_text("".join(map(_line, kept)), encoding="utf-8")
        beside.replace(self._path)
        return self._path.open("a", encoding="utf-8")


def pairs_path(library: Library, job_id: str) -> Path:
    """Where the pairs of a job are, if it has any."""
    return library.data_dir / PAIRS_FOLDER / f"{job_id}.jsonl"


def _line(result: Result) -> str:
    return json.dumps(asdict(result), ensure_ascii=True) + "\n"
