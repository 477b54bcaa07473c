"""Text to chunks: cut at headings and between blocks, and as little as possible inside them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile

import regex

from ingest.blocks import Block, Frame, break_block, cut_block, parse_blocks
from retrieval.errors import InvalidRequest
from retrieval.sentences import sentence_ends
from retrieval.tokens import count_tokens

MIN_SIZE = 16
MAX_SIZE = 20_000

SPLITTER_TIMEOUT_S = 5.0

LONG_TOKEN = 16
"""Characters for each token of a chunk; what is longer is too large without being counted.

That also keeps blank space from the counter that it would run out of stack on, a million characters.
"""

_PROSE = ("prose", "paragraph", "sentence", "clause", "word")


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How large chunks are and where they are cut.

    Args:
        size: most tokens of a chunk, 16 to 20,000, in cl100k_base.
        overlap: most tokens that a chunk repeats of the one before it in its section, at most half
            of ``size``. Only whole sentences are repeated, and only as far as the chunk has room.
        splitter: where the text is always cut, after each match: a text, or a regular expression
            between slashes. A cut before a match is a lookahead, ``/(?=Article \\d)/``.

    Raises:
        InvalidRequest: a number is out of its range, or the expression is invalid, endless or matches "".
    """

    size: int = 512
    overlap: int = 0
    splitter: str = ""

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise InvalidRequest(
                f"the chunk size {self.size} is out of range: {MIN_SIZE} to {MAX_SIZE} tokens", "chunkSize"
            )
        if not 0 <= self.overlap <= self.size // 2:
            raise InvalidRequest(
                f"the overlap {self.overlap} is out of range: 0 to {self.size // 2}, half of the chunk size",
                "chunkOverlap",
            )
        if self.splitter:
            _pattern(self.splitter)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the text as it stands; only the head of a table or a fence that is cut is repeated.

    ``titles`` are the headings it is under, outermost first, those at its own beginning included.
    """

    text: str
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    """Blocks under one heading, or under small neighbouring ones."""

    titles: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def start(self) -> int:
        return self.blocks[0].start

    @property
    def end(self) -> int:
        return self.blocks[-1].end

    def is_under(self, parent: tuple[str, ...]) -> bool:
        """Whether it is anywhere under that heading."""
        return self.titles[: len(parent)] == parent and len(self.titles) > len(parent)

    def joined(self, following: "_Section") -> "_Section":
        pairs = zip(self.titles, following.titles, strict=False)
        shared = tuple(ours for ours, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return _Section(shared, self.blocks + following.blocks)


def split_text(text: str, options: ChunkOptions = ChunkOptions()) -> Iterator[Chunk]:
    """The chunks of a Markdown or plain text, in order; together they have each of its non-blank characters.

    No chunk has more tokens than ``options.size``. A chunk keeps to one section, except that
    neighbouring sections under one heading are put together while they fill at most a quarter of it.

    Raises:
        InvalidRequest: the splitter takes too much time or memory on this text.
    """
    packing = _Packing(text, options)
    cuts = list(_cuts(text, options.splitter))
    path: list[Block] = []
    for part in _parted(text, parse_blocks(text), cuts):
        for section in packing.merge(_sections(part, path)):
            for chunk in packing.pack(section.blocks):
                yield Chunk(chunk, section.titles)


def _pattern(splitter: str) -> "regex.Pattern[str]":
    is_expression = len(splitter) > 2 and splitter[0] == splitter[-1] == "/"
    try:
        pattern = regex.compile(splitter[1:-1] if is_expression else regex.escape(splitter))
        matches_nothing = pattern.match("", timeout=SPLITTER_TIMEOUT_S) is not None
    except (regex.error, RecursionError, OverflowError) as error:
        raise InvalidRequest(
            f"the splitter {splitter} is no regular expression: {error}", "chunkSplitter"
        ) from error
    except (TimeoutError, MemoryError) as error:
        raise _too_costly(splitter) from error
    if matches_nothing:
        raise InvalidRequest(
            f"the splitter {splitter} matches the empty text, that is everywhere: let it match something",
            "chunkSplitter",
        )
    return pattern


def _cuts(text: str, splitter: str) -> Iterator[int]:
    """Where the splitter parts the text: each after a character that is not blank, in ascending order."""
    if not splitter:
        return
    last = 0
    try:
        for match in _pattern(splitter).finditer(text, timeout=SPLITTER_TIMEOUT_S):
            before = text[last : match.end()].rstrip()
            if before:
                yield last + len(before)
                last = match.end()
    except (TimeoutError, MemoryError) as error:
        raise _too_costly(splitter) from error


def _too_costly(splitter: str) -> InvalidRequest:
    return InvalidRequest(
        f"the splitter {splitter} takes too much time or memory: simplify it", "chunkSplitter"
    )


def _parted(text: str, blocks: Sequence[Block], cuts: Sequence[int]) -> Iterator[list[Block]]:
    """The blocks between each two cuts; a block that is cut comes in pieces."""
    part: list[Block] = []
    stack, waiting = list(reversed(blocks)), list(reversed(cuts))
    while stack:
        block = stack.pop()
        if waiting and waiting[-1] <= block.start:
            waiting.pop()
            stack.append(block)
            yield part
            part = []
        elif not waiting or block.end <= waiting[-1]:
            part.append(block)
        elif block.kind == "group":
            stack += reversed(break_block(text, block))
        else:
            first, rest = cut_block(block, [waiting[-1]], block.kind)
            stack += [replace(rest, kind="prose") if rest.kind == "heading" else rest, first]
    yield part


def _sections(part: Sequence[Block], path: list[Block]) -> list[_Section]:
    """Those of a part. Headings go before the first words of what follows them; ``path`` is kept up."""
    sections: list[_Section] = []
    blocks: list[Block] = []
    headings_start = None
    for block in part:
        if block.kind == "heading":
            if blocks:
                sections.append(_Section(tuple(above.title for above in path), tuple(blocks)))
                blocks = []
            headings_start = block.start if headings_start is None else headings_start
            path[:] = [*(above for above in path if above.level < block.level), block]
        else:
            blocks.append(block if headings_start is None else replace(block, start=headings_start))
            headings_start = None
    if headings_start is not None:
        blocks.append(Block("prose", headings_start, part[-1].end, headings_start))
    if blocks:
        sections.append(_Section(tuple(above.title for above in path), tuple(blocks)))
    return sections


class _Packing:
    """Puts blocks into chunks.

    Tokens are counted block by block and added up, which is nearly right; each chunk is counted as a
    whole before it is given out, and gives back what is too much.
    """

    def __init__(self, text: str, options: ChunkOptions) -> None:
        self._text = text
        self._size = options.size
        self._overlap = options.overlap
        self._frame_tokens: dict[Frame, int] = {}

    def merge(self, sections: Iterable[_Section]) -> Iterator[_Section]:
        """The sections, with small neighbours under one parent as one."""
        held: _Section | None = None
        parent: tuple[str, ...] = ()
        for section in sections:
            if held and section.is_under(parent) and self._is_small(held.start, section.end):
                held = held.joined(section)
                continue
            if held:
                yield held
            held, parent = section, section.titles[:-1]
        if held:
            yield held

    def pack(self, blocks: Sequence[Block]) -> Iterator[str]:
        """The texts of the chunks of neighbouring blocks."""
        stack = list(reversed(blocks))
        overlap: list[int] = []
        while stack:
            taken = self._fill(stack, overlap)
            chunk = self._fit(taken, overlap, stack)
            if chunk:
                yield chunk
            overlap = self._starts_of_overlap(taken) if self._overlap else []

    def _fill(self, stack: list[Block], overlap: Sequence[int]) -> list[Block]:
        """Take as many blocks as fit one chunk, at least one; those too large for any chunk are broken."""
        taken: list[Block] = []
        room = self._size - (self._tokens(overlap[0], stack[-1].start) if overlap else 0)
        while stack:
            block = stack.pop()
            tokens = self._tokens(block.start, block.end)
            if not taken:
                tokens += sum(map(count_tokens, self._frame_of(block)))
            if tokens > self._size:
                stack += reversed(break_block(self._text, block))
            elif taken and tokens > room:
                stack.append(block)
                break
            else:
                taken.append(block)
                room -= tokens
        return taken

    def _fit(self, taken: list[Block], overlap: list[int], stack: list[Block]) -> str:
        """The chunk of the blocks taken, after as many as need be are given back or broken."""
        while taken:
            chunk = self._chunk(taken, overlap)
            if count_tokens(chunk) <= self._size:
                return chunk
            if overlap:
                overlap.pop(0)
            elif len(taken) > 1:
                stack.append(taken.pop())
            else:
                stack += reversed(break_block(self._text, taken.pop()))
        return ""

    def _chunk(self, taken: Sequence[Block], overlap: Sequence[int]) -> str:
        opening, _ = self._frame_of(taken[0])
        _, closing = self._frame_of(taken[-1])
        content = _trimmed(self._text, overlap[0] if overlap else taken[0].start, taken[-1].end)
        return f"{opening}{content}{closing}" if content else ""

    def _frame_of(self, block: Block) -> tuple[str, str]:
        """What is repeated around a piece of a block: nothing, if that took more than half of a chunk."""
        frame = block.frame
        if frame is None:
            return "", ""
        if frame not in self._frame_tokens:
            self._frame_tokens[frame] = self._count(frame.opening) + self._count(frame.closing)
        return block.cut_frame if self._frame_tokens[frame] <= self._size // 2 else ("", "")

    def _starts_of_overlap(self, taken: Sequence[Block]) -> list[int]:
        """Where the sentences begin, in ascending order, that the next chunk may repeat of this one."""
        starts: list[int] = []
        room = self._overlap
        for start, end in self._sentences_backwards(taken):
            room -= self._tokens(start, end)
            if room < 0 or start <= taken[0].body:
                break
            starts.insert(0, start)
        while starts and self._tokens(starts[0], taken[-1].end) > self._overlap:
            starts.pop(0)
        return starts

    def _sentences_backwards(self, blocks: Sequence[Block]) -> Iterator[tuple[int, int]]:
        """The sentences of the blocks from the last one back to what is no prose."""
        for block in _leaves_backwards(blocks):
            if block.kind not in _PROSE or block.frame:
                return
            is_whole = block.kind in ("prose", "paragraph")
            found = sentence_ends(self._text, block.body, block.end) if is_whole else ()
            ends = sorted({*found, block.end})
            yield from reversed(list(pairwise([block.body, *ends])))

    def _is_small(self, start: int, end: int) -> bool:
        return self._count(_trimmed(self._text, start, end)) <= self._size // 4

    def _tokens(self, start: int, end: int) -> int:
        return self._count(self._text[start:end])

    def _count(self, text: str) -> int:
        """Tokens; more than ``size`` without counting if there are far too many."""
        return self._size + 1 if len(text) > self._size * LONG_TOKEN else count_tokens(text)


def _leaves_backwards(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in reversed(blocks):
        if block.kind == "group":
            yield from _leaves_backwards(block.children)
        else:
            yield block


def _trimmed(text: str, start: int, end: int) -> str:
    """Without blank space around it, except for the indentation of its first line."""
    content = text[start:end].rstrip()
    blank = content[: len(content) - len(content.lstrip())]
    line = max(blank.rfind("\n"), blank.rfind("\r")) + 1
    is_in_line = line == 0 and start > 0 and text[start - 1] not in "\r\n"
    return content[len(blank) if is_in_line else line :]
