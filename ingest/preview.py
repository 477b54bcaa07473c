"""What an import would do, with nothing written: the same reading and mapping, and an estimate of the cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ingest.inputs import open_input
from ingest.jobs import ImportSettings
from ingest.mapping import RowProblem
from retrieval.embedding import Embedder
from retrieval.passages import to_passages
from retrieval.types import RecordDraft

SHOWN = 5
"""First records and first problems in a preview."""

WEIGHED = 500
"""Records whose tokens are counted; the others are taken to be like them."""

TIMED = 32
"""Passages that are embedded to see how long that takes."""


@dataclass(frozen=True, slots=True)
class Preview:
    """How a file is read and what it holds.

    ``read`` = ``records`` + ``rejected``; ``blank`` rows and the header are not among them. ``tokens``
    and ``seconds`` of embedding are estimated from the first 500 records.
    """

    file: str
    kind: str
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    ignored: tuple[str, ...]
    read: int
    records: int
    rejected: int
    blank: int
    replaced: int
    tokens: int
    seconds: float
    first: tuple[RecordDraft, ...]
    problems: tuple[RowProblem, ...]


def preview_file(
    path: Path, settings: ImportSettings, embedder: Embedder, vectors: Path | None = None
) -> Preview:
    """Read a file to its end. Raises what an import of it would raise, but for vectors of another width."""
    records = rejected = 0
    weighed: list[RecordDraft] = []
    problems: list[RowProblem] = []
    with open_input(path, settings, vectors) as opened:
        source = opened.source
        for item in source.items:
            if isinstance(item.outcome, RowProblem):
                rejected += 1
                if rejected <= SHOWN:
                    problems.append(item.outcome)
            else:
                records += 1
                if records <= WEIGHED:
                    weighed.append(item.outcome)
        tokens, seconds = _weigh(weighed, records, embedder)
        return Preview(
            file=settings.file,
            kind=source.format.kind,
            encoding=source.format.encoding,
            delimiter=source.format.delimiter,
            header=source.format.header,
            ignored=source.format.ignored,
            read=records + rejected,
            records=records,
            rejected=rejected,
            blank=source.blank(),
            replaced=source.replaced(),
            tokens=tokens,
            seconds=seconds,
            first=tuple(islice(weighed, SHOWN)),
            problems=tuple(problems),
        )


def _weigh(weighed: Sequence[RecordDraft], records: int, embedder: Embedder) -> tuple[int, float]:
    """Tokens of all records and seconds of embedding them, by the first ones."""
    if not weighed:
        return 0, 0.0
    passages = [passage.text for group in to_passages(weighed, embedder) for passage in group]
    counts = embedder.count_tokens(passages)
    timed = passages[:TIMED]
    embedder.embed_passages(timed[:1])
    started = time.perf_counter()
    embedder.embed_passages(timed)
    seconds_a_token = (time.perf_counter() - started) / max(1, sum(counts[:TIMED]))
    tokens = round(sum(counts) * records / len(weighed))
    return tokens, round(tokens * seconds_a_token, 1)
