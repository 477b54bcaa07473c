"""Records to passages: a text that the embedding model cannot read whole is cut into overlapping windows.

    text → sentences → windows of whole sentences → passages

Windows end where sentences do, so that each can be understood; the last sentences of one are the
first of the next, so that what spans two sentences is in one of them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from retrieval.embedding import Embedder
from retrieval.sentences import sentence_ends
from retrieval.types import Passage, PassageDraft, Record, RecordDraft

OVERLAP_SHARE = 1 / 8
"""Of a window, at most, that the next one repeats."""

SHRINK = 0.9
"""How much smaller windows are tried that came out too long: tokens of parts do not quite add up."""

CountTokens = Callable[[Sequence[str]], Sequence[int]]

_BLANK = re.compile(r"\s+")
_BREAK = re.compile(r"[\s，、,:：]+")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sentence, or a part of one, that is never cut."""

    start: int
    stop: int
    tokens: int


def to_passages(drafts: Sequence[RecordDraft], embedder: Embedder) -> list[tuple[PassageDraft, ...]]:
    """The passages of each draft: its texts in order, those too long for the model as windows."""
    texts = [_titled(draft, text) for draft in drafts for text in draft.texts]
    # Of short ones as well, which surely fit: they are tokenized here, while the batch before is embedded.
    counts = dict(zip(texts, embedder.count_tokens(texts), strict=True)) if texts else {}
    return [
        tuple(
            passage
            for place, text in enumerate(draft.texts)
            for passage in _passages(draft, text, place == 0, counts[_titled(draft, text)], embedder)
        )
        for draft in drafts
    ]


def whole_passages(draft: RecordDraft) -> tuple[PassageDraft, ...]:
    """One for each text, however long: for those whose embeddings are ready-made."""
    return tuple(PassageDraft(_titled(draft, text), place == 0) for place, text in enumerate(draft.texts))


def custom_texts(record: Record, passages: Sequence[Passage]) -> Iterator[str]:
    """The custom texts of a record, put together again from their windows."""
    title = f"{record.title}\n" if record.title else ""
    text = ""
    for passage in passages:
        if passage.is_default:
            continue
        part = passage.text.removeprefix(title)
        if passage.start == 0:
            if text:
                yield text
            text = part
        else:
            text = text[: passage.start] + part
    if text:
        yield text


def _titled(draft: RecordDraft, text: str) -> str:
    return f"{draft.title}\n{text}" if draft.title else text


def _passages(
    draft: RecordDraft, text: str, is_default: bool, tokens: int, embedder: Embedder
) -> list[PassageDraft]:
    if tokens <= embedder.max_tokens:
        return [PassageDraft(_titled(draft, text), is_default)]
    title, limit = draft.title, embedder.max_tokens
    if title:
        (of_title,) = embedder.count_tokens([f"{title}\n"])
        # A title that takes half the room says less than the text.
        title, limit = ("", limit) if of_title > limit // 2 else (title, limit - of_title)
    return [
        PassageDraft(f"{title}\n{text[start:stop]}" if title else text[start:stop], is_default, start)
        for start, stop in find_windows(text, limit, embedder.count_tokens)
    ]


def find_windows(text: str, max_tokens: int, count: CountTokens) -> list[tuple[int, int]]:
    """Where windows of at most ``max_tokens`` tokens begin and end; together they cover the text.

    Args:
        max_tokens: special tokens included; at least one character fits.
        count: tokens of each text, special tokens included.
    """
    (special,) = count([""])
    budget = max_tokens - special
    while True:
        windows = _pack(_pieces(text, budget, special, count), budget)
        counts = count([text[start:stop] for start, stop in windows])
        if max(counts) <= max_tokens or budget <= 1:
            return windows
        budget = max(1, int(budget * SHRINK))


def _pieces(text: str, budget: int, special: int, count: CountTokens) -> list[_Piece]:
    """Sentences, halved until each is within the budget."""
    waiting = _sentences(text)
    done: list[_Piece] = []
    while waiting:
        counts = count([text[start:stop] for start, stop in waiting])
        pieces = [
            _Piece(start, stop, max(1, tokens - special))
            for (start, stop), tokens in zip(waiting, counts, strict=True)
        ]
        waiting = []
        for piece in pieces:
            if piece.tokens <= budget or piece.stop - piece.start == 1:
                done.append(piece)
            else:
                waiting += _halves(text, piece)
    return sorted(done, key=lambda piece: piece.start)


def _sentences(text: str) -> list[tuple[int, int]]:
    """Sentences and lines, with the blank space after them; together they are the text."""
    ends = set(sentence_ends(text, 0, len(text)))
    for blank in _BLANK.finditer(text):
        if blank.start() in ends or "\n" in blank[0]:
            ends.discard(blank.start())
            ends.add(blank.end())
    return list(pairwise(sorted({0, *ends, len(text)})))


def _halves(text: str, piece: _Piece) -> list[tuple[int, int]]:
    """Cut near the middle, after a space or comma if there is one in the middle half."""
    middle = (piece.start + piece.stop) // 2
    quarter = (piece.stop - piece.start) // 4
    breaks = [found.end() for found in _BREAK.finditer(text, piece.start + quarter, piece.stop - quarter)]
    at = min(breaks, key=lambda end: abs(end - middle), default=middle)
    at = at if piece.start < at < piece.stop else middle
    return [(piece.start, at), (at, piece.stop)]


def _pack(pieces: Sequence[_Piece], budget: int) -> list[tuple[int, int]]:
    """As many pieces as fit, again and again, each time from the last few of the time before."""
    windows: list[tuple[int, int]] = []
    first = after = 0
    while after < len(pieces):
        room = budget - sum(piece.tokens for piece in pieces[first:after])
        while after < len(pieces) and (pieces[after].tokens <= room or after == first):
            room -= pieces[after].tokens
            after += 1
        windows.append((pieces[first].start, pieces[after - 1].stop))
        first = _next_first(pieces, first, after, budget)
    return windows


def _next_first(pieces: Sequence[_Piece], first: int, after: int, budget: int) -> int:
    """Where the window that has ``pieces[after]`` as its first new one begins."""
    if after == len(pieces):
        return after
    room = min(int(budget * OVERLAP_SHARE), budget - pieces[after].tokens)
    begin = after
    while begin - 1 > first and pieces[begin - 1].tokens <= room:
        begin -= 1
        room -= pieces[begin].tokens
    return begin
