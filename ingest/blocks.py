"""The blocks of a Markdown text, as spans that tile it, and the smaller spans that each can be broken into."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, html_block
from markdown_it.token import Token

from retrieval.sentences import sentence_ends

Kind = Literal[
    "heading", "group", "table", "lines", "prose", "paragraph", "line", "sentence", "clause", "word"
]
"""A group (list, item, quote) has blocks in it; the kinds after prose come from breaking larger ones."""

MAX_TITLE = 200
"""Characters; a longer heading, or one of several lines, is a paragraph that is underlined by accident."""

_OPAQUE_HTML = re.compile(r"<(?:(?:script|pre|style|textarea)(?![\w-])|!|\?)", re.IGNORECASE)


def _html_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Comments, scripts and the like.

    Other tags are text, as in MDX, so that fences and headings right after them are such; CommonMark
    takes all up to the next blank line for HTML.
    """
    first = state.bMarks[start_line] + state.tShift[start_line]
    is_opaque = _OPAQUE_HTML.match(state.src, first)
    return bool(is_opaque) and html_block(state, start_line, end_line, silent)


_PARSER = MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])
_PARSER.block.ruler.at("html_block", _html_block, {"alt": ["paragraph", "reference", "blockquote"]})

_INLINE_PARSER = MarkdownIt("commonmark")
_INLINE_TEXT = ("text", "text_special", "code_inline", "image")
_INLINE_MARKUP = re.compile(r"[*_`\[<&\\!]")

_LEAVES: dict[str, Kind] = {
    "heading_open": "heading",
    "table_open": "table",
    "fence": "lines",
    "code_block": "lines",
    "html_block": "lines",
    "paragraph_open": "prose",
    "hr": "prose",
}
_GROUPS = ("bullet_list_open", "ordered_list_open", "list_item_open", "blockquote_open")
_GROUP_ENDS = ("bullet_list_close", "ordered_list_close", "list_item_close", "blockquote_close")

_LINE_BREAK = re.compile(r"\r\n?|\n")
_FRONT_MATTER = re.compile(
    r"---[ \t]*(?:\r\n?|\n)(?=[\w\"'-]+[ \t]*:)(?s:.*?)(?:\r\n?|\n)---[ \t]*(?=[\r\n]|\Z)"
)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*([\"']?)([^\s>|].*?)\1[ \t]*$", re.MULTILINE)
_HEADING_ID = re.compile(r"\s*\{\s*#[^{}]*\}$")

_LINE = re.compile(r"\S(?:[^\r\n]*\S)?")
_LINE_END = re.compile(r"[ \t]*[\r\n]")
_WORD = re.compile(r"\S+")
_CLAUSE = re.compile(
    r"[，；：、]+[”’」』）】》〉]*|(?<![,;:])[,;:]++[\"'”’)\]]*+(?=\s)|(?<=\S)(?=[^\S\r\n]*[\r\n])"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a piece of a table or a fence needs around it.

    ``opening`` is for pieces that begin at ``start`` or later, ``closing`` for those that end at
    ``end`` or before.
    """

    opening: str
    closing: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """``text[start:end]``; blank space between two blocks is at the start of the second.

    ``body`` is where breaking it begins: after the headings that go with its first words.
    """

    kind: Kind
    start: int
    end: int
    body: int
    children: tuple["Block", ...] = ()
    frame: Frame | None = None
    title: str = ""
    level: int = 0

    @property
    def cut_frame(self) -> tuple[str, str]:
        """What has to be put before a chunk that begins with this, and after one that ends with it."""
        frame = self.frame
        if frame is None:
            return "", ""
        opening = frame.opening if self.start >= frame.start else ""
        return opening, frame.closing if frame.start < self.end <= frame.end else ""


def parse_blocks(text: str) -> tuple[Block, ...]:
    """The blocks of the outermost level, from the beginning of the text to its end."""
    lines = [0, *(match.end() for match in _LINE_BREAK.finditer(text)), len(text)]
    blocks: list[Block] = []
    front_matter = _FRONT_MATTER.match(text)
    if front_matter:
        blocks.append(Block("lines", 0, front_matter.end(), 0))
        blank = "\n" * len(_LINE_BREAK.findall(front_matter[0]))
        tokens = _PARSER.parse(blank + text[front_matter.end() :])
    else:
        tokens = _PARSER.parse(text)
    blocks += _read(text, lines, iter(tokens))
    return _tile(text, blocks, 0, len(text))


def title_of(text: str) -> str:
    """That of the front matter, or the first heading, or ``""``."""
    front_matter = _FRONT_MATTER.match(text)
    titles = _FRONT_TITLE.search(front_matter[0]) if front_matter else None
    if titles:
        return titles[2]
    return next((block.title for block in parse_blocks(text) if block.kind == "heading"), "")


def _read(text: str, lines: list[int], tokens: Iterator[Token]) -> list[Block]:
    """The blocks up to the end of the group that the tokens are in."""
    blocks: list[Block] = []
    for token in tokens:
        if token.type in _GROUP_ENDS:
            break
        if token.map is None:
            continue
        start, end = lines[token.map[0]], lines[token.map[1]]
        if token.type in _GROUPS:
            children = tuple(_read(text, lines, tokens))
            blocks.append(Block("group" if children else "prose", start, end, start, children))
        elif token.type == "heading_open":
            blocks.append(_heading(token, next(tokens), start, end))
        elif token.type in _LEAVES:
            frame = _frame(text, lines, token)
            blocks.append(Block(_LEAVES[token.type], start, end, start, frame=frame))
    return blocks


def _heading(token: Token, inline: Token, start: int, end: int) -> Block:
    title = _plain(inline.content)
    if not title or len(title) > MAX_TITLE or "\n" in inline.content:
        return Block("prose", start, end, start)
    return Block("heading", start, end, start, title=title, level=int(token.tag[1:]))


def _plain(content: str) -> str:
    """A heading without its markup, its id and its permanent link; as it stands if that leaves nothing."""
    title = _HEADING_ID.sub("", content)
    if _INLINE_MARKUP.search(title):
        inline = _INLINE_PARSER.parseInline(title)[0]
        title = "".join(part.content for part in inline.children or () if part.type in _INLINE_TEXT)
    return title.strip(" \t¶") or content.strip()


def _frame(text: str, lines: list[int], token: Token) -> Frame | None:
    if token.map is None or token.type not in ("table_open", "fence"):
        return None
    first, last = token.map
    head = lines[first + 2] if token.type == "table_open" else lines[first + 1]
    opening = text[lines[first] : head]
    start = lines[first] + len(opening.rstrip())
    if token.type == "table_open":
        return Frame(opening, "", start, lines[last])
    margin = re.sub(r"[^>\s]", " ", opening[: opening.index(token.markup)])
    closing_line = text[lines[last - 1] : lines[last]].strip(" \t\r\n>")
    if last - first > 1 and closing_line.startswith(token.markup):
        end = start + len(text[start : lines[last - 1]].rstrip())
    else:
        end = start + len(text[start : lines[last]].rstrip()) - 1
    return Frame(opening, f"\n{margin}{token.markup}", start, end)


def _tile(text: str, blocks: Iterable[Block], start: int, end: int) -> tuple[Block, ...]:
    """The blocks without gaps from ``start`` to ``end``; text that belongs to none becomes prose."""
    tiles = list(_with_gaps(text, blocks, start, end))
    starts = [start, *(a.start + len(text[a.start : b.start].rstrip()) for a, b in pairwise(tiles)), end]
    return tuple(
        replace(tile, start=first, end=last, body=first, children=_tile(text, tile.children, first, last))
        if tile.children
        else replace(tile, start=first, end=last, body=first)
        for tile, (first, last) in zip(tiles, pairwise(starts), strict=False)
    )


def _with_gaps(text: str, blocks: Iterable[Block], start: int, end: int) -> Iterator[Block]:
    for block in blocks:
        if text[start : block.start].strip():
            yield Block("prose", start, block.start, start)
        yield block
        start = block.end
    if text[start:end].strip():
        yield Block("prose", start, end, start)


def break_block(text: str, block: Block) -> list[Block]:
    """The block in smaller ones that tile it: the next best way to part it, which may be no part at all.

    Repeated, it comes down to single characters.
    """
    if block.kind == "group":
        first, *others = block.children
        return [replace(first, start=block.start), *others]
    if block.kind == "word":
        return _parts(block)
    if block.frame and block.kind in ("table", "lines"):
        # What is repeated goes with the first words after it.
        block = replace(block, body=max(block.body, min(block.frame.start, block.end)))
    kind, edges_of = _SMALLER[block.kind]
    last = min(block.end, block.frame.end) if block.frame else block.end
    edges = sorted({edge for edge in edges_of(text, block) if block.body < edge < last})
    return cut_block(block, edges, kind)


def cut_block(block: Block, edges: Iterable[int], kind: Kind) -> list[Block]:
    """The block cut at ascending positions inside it."""
    spans = pairwise([block.start, *edges, block.end])
    return [
        replace(block, kind=kind, start=start, end=end, body=max(start, min(block.body, end)))
        for start, end in spans
    ]


def _paragraph_ends(text: str, block: Block) -> Iterator[int]:
    """Line ends that are sentence ends too: texts without blank lines have their paragraphs there."""
    return (end for end in _sentence_ends(text, block) if _LINE_END.match(text, end))


def _sentence_ends(text: str, block: Block) -> Iterator[int]:
    return sentence_ends(text, block.body, block.end)


def _ends(pattern: re.Pattern[str]) -> Callable[[str, Block], Iterator[int]]:
    return lambda text, block: (match.end() for match in pattern.finditer(text, block.body, block.end))


def _parts(block: Block) -> list[Block]:
    """Eight of equal length, so that chunks of them come out nearly full."""
    if block.body > block.start:
        heading = Block("prose", block.start, block.body, block.start, frame=block.frame)
        return [heading, replace(block, start=block.body)]
    length = block.end - block.start
    edges = {block.start + length * part // 8 for part in range(1, 8)} - {block.start}
    return cut_block(block, sorted(edges), "word")


_SMALLER: dict[Kind, tuple[Kind, Callable[[str, Block], Iterator[int]]]] = {
    "table": ("line", _ends(_LINE)),
    "lines": ("line", _ends(_LINE)),
    "heading": ("paragraph", _paragraph_ends),
    "prose": ("paragraph", _paragraph_ends),
    "paragraph": ("sentence", _sentence_ends),
    "line": ("sentence", _sentence_ends),
    "sentence": ("clause", _ends(_CLAUSE)),
    "clause": ("word", _ends(_WORD)),
}
