"""Chunks: nothing is lost, none is too large, and cuts are where a reader would make them."""

import csv
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.chunking import MAX_SIZE, MIN_SIZE, Chunk, ChunkOptions, split_text
from ingest.documents import read_document
from retrieval.errors import InvalidRequest
from retrieval.sentences import sentence_ends
from retrieval.tokens import count_tokens


def chunks_of(text: str, size: int = 512, overlap: int = 0, splitter: str = "") -> list[Chunk]:
    return list(split_text(text, ChunkOptions(size, overlap, splitter)))


def texts_of(text: str, size: int = 512, overlap: int = 0, splitter: str = "") -> list[str]:
    return [chunk.text for chunk in chunks_of(text, size, overlap, splitter)]


def without_blanks(text: str) -> str:
    return "".join(text.split())


def end_of_cover(text: str, covered: int, chunk: str) -> int | None:
    """How far the text is covered after a chunk that begins no later than where it was; frames may be off."""
    first = len(text) - len(text[covered:].lstrip())
    lines = chunk.split("\n")
    ends = []
    for head, tail in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0)):
        content = "\n".join(lines[head : len(lines) - tail])
        place = text.rfind(content, 0, first + len(content)) if content.strip() else -1
        ends += [max(covered, place + len(content))] if place >= 0 else []
    return max(ends, default=None)


def assert_covered(text: str, chunks: list[Chunk]) -> None:
    """Each chunk stands in the text, in order, and no character that is not blank is between two."""
    covered = 0
    for chunk in chunks:
        end = end_of_cover(text, covered, chunk.text)
        assert end is not None, f"{chunk.text!r} does not go on from {text[covered : covered + 50]!r}"
        covered = end
    assert not text[covered:].strip()


def assert_size(chunks: list[Chunk], size: int) -> None:
    assert max((count_tokens(chunk.text) for chunk in chunks), default=0) <= size
    assert all(chunk.text.strip() for chunk in chunks)


# Sections

FILL = "Beans keep best in a jar that is closed, dark and cool, and not in the fridge."
"""20 tokens."""


def test_fill_is_as_long_as_the_tests_below_take_it_for() -> None:
    assert count_tokens(FILL) == 20


def test_a_short_text_is_one_chunk_as_it_stands() -> None:
    text = "Roast *slowly*.\n\n- light\n- dark\n\n> Keep `cool`."
    assert chunks_of(f"\n{text}\n\n") == [Chunk(text, ())]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\u3000\r\n"])
def test_a_blank_text_has_no_chunks(text: str) -> None:
    assert chunks_of(text) == []


def test_sections_are_chunks_with_the_headings_above_them() -> None:
    text = f"{FILL}\n\n# Coffee\n\n{FILL}\n\n## Beans\n{FILL}\n\n### Old\n{FILL}\n\n## Mills\n{FILL}\n\n# Tea\n{FILL}"
    assert chunks_of(text, 64) == [
        Chunk(FILL, ()),
        Chunk(f"# Coffee\n\n{FILL}", ("Coffee",)),
        Chunk(f"## Beans\n{FILL}", ("Coffee", "Beans")),
        Chunk(f"### Old\n{FILL}", ("Coffee", "Beans", "Old")),
        Chunk(f"## Mills\n{FILL}", ("Coffee", "Mills")),
        Chunk(f"# Tea\n{FILL}", ("Tea",)),
    ]


def test_headings_go_with_what_follows_them() -> None:
    text = f"# Coffee\n\n## Beans\n\n{FILL} {FILL}\n\n# Tea\n## Green"
    assert chunks_of(text, 32) == [
        Chunk(f"# Coffee\n\n## Beans\n\n{FILL}", ("Coffee", "Beans")),
        Chunk(FILL, ("Coffee", "Beans")),
        Chunk("# Tea\n## Green", ("Tea", "Green")),
    ]


def test_a_heading_goes_with_the_first_piece_of_a_table_a_fence_and_a_list() -> None:
    for block, first in (
        ("| a |\n|---|\n" + "| cell |\n" * 20, "| a |\n|---|\n| cell |"),
        ("```\n" + "code()\n" * 20 + "```", "```\ncode()"),
        ("- item\n" * 20, "- item\n- item"),
    ):
        assert texts_of(f"# Long\n\n{block}", 24)[0].startswith(f"# Long\n\n{first}")


@pytest.mark.parametrize(("size", "chunks"), [(36, 2), (39, 2), (40, 1)])
def test_small_sections_are_one_chunk_up_to_a_quarter_of_the_size(size: int, chunks: int) -> None:
    first, second = "## Beans\nCool.", "\n\n## Mills\nFine."
    assert count_tokens(first + second) == 10
    found = chunks_of(f"# Coffee\n{FILL}\n{FILL}\n{first}{second}", size)
    assert [chunk.titles for chunk in found[-chunks:]] == (
        [("Coffee",)] if chunks == 1 else [("Coffee", "Beans"), ("Coffee", "Mills")]
    )
    assert found[-1].text.startswith(first if chunks == 1 else second.strip())


def test_small_sections_under_different_headings_stay_apart() -> None:
    text = "# A\n## B\none\n## C\ntwo\n# D\nthree\n## E\nfour\n### F\nfive"
    assert chunks_of(text) == [
        Chunk("# A\n## B\none\n## C\ntwo", ("A",)),
        Chunk("# D\nthree\n## E\nfour\n### F\nfive", ("D",)),
    ]


def test_what_looks_like_a_heading_is_none_in_code_and_comments() -> None:
    for text in (
        f"```sh\n# install\n{FILL}\n```",
        f"    # indented\n    {FILL}",
        f"<!--\n# hidden\n{FILL}\n-->",
    ):
        assert chunks_of(text) == [Chunk(text, ())]


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("Coffee\n======", "Coffee"),
        ("## Keep `cool` and **dark** ##", "Keep cool and dark"),
        ("# [Mills](http://m/) &amp; jars {#mills}", "Mills & jars"),
        ("# C# { #c-sharp }", "C#"),
        ("# Jars ¶", "Jars"),
        ("# ![A mill](mill.png)", "A mill"),
        ("# <br>", "<br>"),
        ("###### 第六级", "第六级"),
        ("# " + "x" * 200, "x" * 200),
    ],
)
def test_titles_are_plain_text(heading: str, title: str) -> None:
    assert chunks_of(f"{heading}\n\ntext") == [Chunk(f"{heading}\n\ntext", (title,))]


@pytest.mark.parametrize(
    "heading", ["Two lines\nunderlined\n---", "# " + "x" * 201, "#", "#tag", "> # Quoted"]
)
def test_what_is_no_heading(heading: str) -> None:
    assert chunks_of(f"{heading}\n\ntext") == [Chunk(f"{heading}\n\ntext", ())]


def test_front_matter_is_text_and_no_heading() -> None:
    front_matter = "---\ntitle: Coffee\ntags: [a]\n---"
    assert chunks_of(f"{front_matter}\n# Beans\n{FILL}", 32) == [
        Chunk(front_matter, ()),
        Chunk(f"# Beans\n{FILL}", ("Beans",)),
    ]
    assert texts_of(front_matter) == texts_of(f"{front_matter}\n") == [front_matter]


# Blocks


def test_blocks_are_packed_whole() -> None:
    paragraphs = [FILL, FILL, "Short.", FILL]
    assert texts_of("\n\n".join(paragraphs), 43) == [f"{FILL}\n\n{FILL}", f"Short.\n\n{FILL}"]


def test_a_table_is_cut_between_rows_under_its_header() -> None:
    head = "| Bean | Days |\n|------|-----:|\n"
    rows = [f"| bean {number} | {number} |" for number in range(9)]
    text = head + "\n".join(rows) + "\n\nAfter."
    found = texts_of(text, 48)
    assert [chunk.count("bean") for chunk in found] == [4, 4, 1]
    assert all(chunk.startswith(head) for chunk in found)
    assert "\n".join(chunk.removeprefix(head) for chunk in found) == "\n".join(rows) + "\n\nAfter."


def test_a_header_of_more_than_half_the_size_is_not_repeated() -> None:
    def table(words: int) -> str:
        return "| " + "a " * words + "|\n|---|\n" + "| row |\n" * 20

    for words, is_repeated in ((27, True), (28, False)):
        head = "".join(table(words).splitlines(keepends=True)[:2])
        assert (count_tokens(head) <= 32) is is_repeated
        second = texts_of(table(words), 64)[1]
        assert second.startswith(head) is is_repeated
        assert second.removeprefix(head).startswith("| row |\n| row |")


@pytest.mark.parametrize(
    ("opening", "margin", "closing"),
    [
        ("```py", "", "```"),
        ("~~~~ text", "", "~~~~"),
        ("- ```js", "  ", "  ```"),
        ("> ```", "> ", "> ```"),
        ("   ```", "   ", "   ```"),
    ],
)
def test_pieces_of_a_fence_are_fences(opening: str, margin: str, closing: str) -> None:
    lines = [f"{margin}call({number})" for number in range(20)]
    found = texts_of("\n".join([opening, *lines, closing]), 48)
    assert len(found) > 2
    for chunk in found:
        assert chunk.split("\n")[0].strip() == opening.strip()
        assert chunk.split("\n")[-1].split() == closing.split()
    assert [line for chunk in found for line in chunk.split("\n")[1:-1]] == lines


def test_an_open_fence_goes_to_the_end() -> None:
    found = texts_of("```\n" + "\n\n".join(f"# {number}" for number in range(20)), 24)
    assert all(chunk.startswith("```\n# ") for chunk in found)
    assert [chunk.endswith("\n```") for chunk in found] == [True] * (len(found) - 1) + [False]


def test_a_list_is_cut_between_items_and_a_long_item_between_its_own() -> None:
    inner = "\n".join(f"  - inner item number {number}" for number in range(8))
    text = f"- {FILL}\n- {FILL}\n- outer\n{inner}\n- last"
    found = texts_of(text, 40)
    assert found[:2] == [f"- {FILL}", f"- {FILL}\n- outer\n  - inner item number 0"]
    assert found[2].startswith("  - inner item number 1\n  - inner item number 2\n")
    assert "\n".join(found) == text


def test_a_cut_line_keeps_its_indentation() -> None:
    text = "```\n" + "if x:\n    return the_first_of(everything)\n" * 6 + "```"
    assert {line for chunk in texts_of(text, 24) for line in chunk.split("\n")} == {
        "```",
        "if x:",
        "    return the_first_of(everything)",
    }


def test_mdx_components_are_text_and_what_follows_them_is_markdown() -> None:
    text = f"import {{ Tabs }} from 'x'\n\n<Tabs>\n<Tab id={{1}}>\n```sh\n{FILL}\n{FILL}\n```\n</Tab>\n# Next\n</Tabs>"
    assert chunks_of(text, 40) == [
        Chunk("import { Tabs } from 'x'\n\n<Tabs>\n<Tab id={1}>", ()),
        Chunk(f"```sh\n{FILL}\n```", ()),
        Chunk(f"```sh\n{FILL}\n```\n</Tab>", ()),
        Chunk("# Next\n</Tabs>", ("Next",)),
    ]


def test_link_definitions_are_text() -> None:
    text = "See [one].\n\n[one]: http://x/1\n[two]: http://x/2\n\n```\ncode\n```\n[three]: http://x/3"
    assert texts_of(text) == [text]
    assert without_blanks("".join(texts_of(text, 16))).count("http://x/") == 3


# Sentences and less


def test_paragraphs_are_cut_between_sentences() -> None:
    text = "豆子要密封保存，放在阴凉的地方。不要放进冰箱！为什么？因为会受潮。"
    assert texts_of(text, 32) == ["豆子要密封保存，放在阴凉的地方。不要放进冰箱！为什么？", "因为会受潮。"]


def test_lines_that_end_with_a_sentence_are_paragraphs() -> None:
    lines = [
        "\u3000\u3000甲说：“早。”乙说：“你早。”",
        "\u3000\u3000丙走了。丁也走了。",
        "\u3000\u3000戊来了。",
    ]
    assert texts_of("\n".join(lines), 32) == [lines[0], "\n".join(lines[1:])]


def test_a_long_sentence_is_cut_at_clauses_then_words_then_characters() -> None:
    assert texts_of("alpha beta gamma delta, " * 6, 16) == [" ".join(["alpha beta gamma delta,"] * 3)] * 2
    words = " ".join(["coffee"] * 40)
    assert texts_of(words, 16) == [" ".join(["coffee"] * 16)] * 2 + [" ".join(["coffee"] * 8)]
    letters = texts_of("咖" * 100, 16)
    assert "".join(letters) == "咖" * 100
    assert len(letters) <= 24


def test_emoji_come_whole() -> None:
    assert set("".join(texts_of("😀" * 50, 16))) == {"😀"}


# Overlap


def sentences(text: str) -> list[str]:
    ends = [end for end in sentence_ends(text, 0, len(text)) if end < len(text)]
    return [text[start:end].strip() for start, end in pairwise([0, *ends, len(text)])]


def test_the_overlap_is_whole_sentences_of_the_chunk_before() -> None:
    text = " ".join(f"Sentence {number} is here." for number in range(12))
    for overlap, repeated in ((4, 0), (5, 0), (6, 1), (11, 1), (12, 2), (16, 2)):
        found = chunks_of(text, 32, overlap)
        assert_size(found, 32)
        for before, after in pairwise(found):
            shared = [part for part in sentences(before.text) if part in sentences(after.text)]
            assert shared == sentences(before.text)[len(sentences(before.text)) - repeated :]
            assert after.text.startswith(" ".join(shared))


def test_the_overlap_gives_way_to_what_fits_only_without_it() -> None:
    text = f"{FILL} It is so.\n\n{FILL} {FILL[:-1]} at all."
    assert count_tokens(f"{FILL} {FILL[:-1]} at all.") == 42
    for size, second in ((46, "It is so.\n\n"), (45, "")):
        assert texts_of(text, size, 8)[1].startswith(f"{second}{FILL}")


def test_there_is_no_overlap_over_headings_tables_code_or_cuts() -> None:
    for middle, splitter in (("# Title\n", ""), ("| a |\n|---|\n| b |\n\n", ""), ("", "One.")):
        text = f"{FILL} One.\n\n{middle}{FILL} {FILL}"
        found = texts_of(text, 40, 16, splitter)
        assert "".join(found).count("One.") == 1, middle
    table = "| a |\n|---|\n" + "| cell. Cell. |\n" * 20
    assert "".join(texts_of(table, 32, 16)).count("cell") == 20


# The splitter


def test_the_text_is_always_cut_after_the_splitter() -> None:
    assert texts_of("a --- b\n---\n\nc", splitter="---") == ["a ---", "b\n---", "c"]
    assert texts_of("a1b22c", splitter=r"/\d+/") == ["a1", "b22", "c"]
    assert texts_of("a.b.c", splitter=".") == ["a.", "b.", "c"]
    assert texts_of("a/b", splitter="/") == ["a/", "b"]


def test_a_lookahead_cuts_before() -> None:
    text = "前言\n第一章 春\n花开。\n第二章 夏\n蝉鸣。"
    assert texts_of(text, splitter=r"/(?=第.章)/") == ["前言", "第一章 春\n花开。", "第二章 夏\n蝉鸣。"]


def test_blank_splitters_make_no_blank_chunks() -> None:
    assert texts_of("\n\na\n\n\n\n\nb\n\n", splitter="\n\n") == ["a", "b"]


def test_headings_hold_beyond_the_splitter() -> None:
    text = "# Coffee\n\none ### two\n\n## Beans\n\nthree ### four"
    assert chunks_of(text, splitter=" ###") == [
        Chunk("# Coffee\n\none ###", ("Coffee",)),
        Chunk("two\n\n## Beans\n\nthree ###", ("Coffee",)),
        Chunk("four", ("Coffee", "Beans")),
    ]


def test_a_table_and_a_fence_that_are_cut_by_the_splitter_stay_what_they_are() -> None:
    table = "| a |\n|---|\n| 1 |\n| 2! |\n| 3 |"
    assert texts_of(table, splitter="2! |") == ["| a |\n|---|\n| 1 |\n| 2! |", "| a |\n|---|\n| 3 |"]
    assert texts_of("```\none\n--\ntwo\n```", splitter="--") == ["```\none\n--\n```", "```\ntwo\n```"]


@pytest.mark.parametrize(
    ("splitter", "words"),
    [
        ("/(/", "no regular expression"),
        ("/a*/", "everywhere"),
        ("/x|/", "everywhere"),
        ("/(?!x)/", "everywhere"),
    ],
)
def test_splitters_that_cannot_be(splitter: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as raised:
        ChunkOptions(splitter=splitter)
    assert raised.value.param == "chunkSplitter"


@pytest.mark.slow
@pytest.mark.parametrize("splitter", [r"/(?:a|a|b|aa)+$(?<=c)/", "/(?R)/"])
def test_a_splitter_that_never_ends(splitter: str) -> None:
    with pytest.raises(InvalidRequest, match="too much time or memory"):
        chunks_of("a" * 50 + "b" * 50, splitter=splitter)


@pytest.mark.parametrize(
    ("size", "overlap", "wrong"),
    [
        (MIN_SIZE - 1, 0, "chunkSize"),
        (MIN_SIZE, 0, None),
        (MAX_SIZE, 0, None),
        (MAX_SIZE + 1, 0, "chunkSize"),
        (101, 50, None),
        (101, 51, "chunkOverlap"),
        (101, -1, "chunkOverlap"),
    ],
)
def test_numbers_are_in_their_ranges(size: int, overlap: int, wrong: str | None) -> None:
    if wrong is None:
        assert ChunkOptions(size, overlap).size == size
    else:
        with pytest.raises(InvalidRequest, match="out of range") as raised:
            ChunkOptions(size, overlap)
        assert raised.value.param == wrong


# Anything

FRAGMENTS = st.sampled_from(
    [
        *(
            "# ",
            "## 标题\n",
            "Title\n===\n",
            "---\n",
            "title: x\n",
            "\n",
            "\n\n",
            "\r\n",
            "\r",
            " ",
            "    ",
            "\t",
        ),
        *("- ", "1. ", "> ", "```\n", "~~~ py\n", "| a | b |\n|---|---|\n", "| 1 | 2 |\n", "|", "[a]: b\n"),
        *(
            "<div>\n",
            "<!--",
            "-->",
            "<Tab x={1}>\n",
            "`",
            "**",
            "\\",
            "\x0b",
            "\u2028",
            "\u3000",
            "\0",
            "\ufeff",
        ),
        *(
            "咖啡豆要密封。",
            "“你好！”",
            "她问：",
            "……",
            "；",
            "Beans are good. ",
            "Dr. Ok, ",
            "e.g. ",
            "😀",
            "é",
        ),
        *("x" * 60, "咖" * 40, "word " * 30, "a\n" * 20),
    ]
)
TEXTS = st.lists(st.one_of(FRAGMENTS, st.text(max_size=8)), max_size=40).map("".join)
SIZES = st.sampled_from([16, 17, 32, 64, 512])


@given(
    text=TEXTS,
    size=SIZES,
    share=st.sampled_from([0, 0.2, 0.5]),
    splitter=st.sampled_from(["", "。", "/\\n+|x/"]),
)
@example("```\na\n```\n[a]: b\n", 16, 0, "")
@example("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 20, 32, 0.5, "")
def test_every_character_is_in_a_chunk_and_no_chunk_is_too_large(
    text: str, size: int, share: float, splitter: str
) -> None:
    found = chunks_of(text, size, int(size * share), splitter)
    assert_size(found, size)
    assert_covered(text, found)


@given(text=TEXTS, size=SIZES)
def test_without_frames_and_overlap_nothing_is_there_twice(text: str, size: int) -> None:
    text = re.sub("[`~|]", "", text)
    assert without_blanks("".join(texts_of(text, size))) == without_blanks(text)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        " " * 1_000_000 + "x" + "\n" * 1_000_000 + "y",
        "." * 1_000_000,
        "咖啡，" * 300_000,
        f"{FILL} " * 12_000,
        "| a | b |\n|---|---|\n" + "| cell | cell |\n" * 10_000,
        "".join(f"{'  ' * level}- item\n" for level in range(1_000)),
        "| a" + " " * 1_000_000 + "|\n|---|\n" + "| cell |\n" * 10_000,
        "# Heading\n" * 50_000,
        "```\n" + "code()\n" * 100_000,
        "<!-- " + "# no heading\n" * 50_000,
        f"# {'word ' * 100_000}",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_large_texts_take_seconds(text: str) -> None:
    started = time.perf_counter()
    found = chunks_of(text, 512, 64)
    assert time.perf_counter() - started < 20
    assert_size(found, 512)


def test_real_documents(shared_data: Path) -> None:
    folder = shared_data / "docs"
    with (folder / "manifest.csv").open(encoding="utf-8") as manifest:
        names = [row["file"] for row in csv.DictReader(manifest)]
    assert len(names) == 39
    for name in names:
        text = read_document(folder / name, name).text
        for size, overlap in ((512, 0), (128, 0), (128, 40), (16, 0)):
            found = chunks_of(text, size, overlap)
            assert_size(found, size)
            assert_covered(text, found)
            # No fence is left open, unless pieces of it are too small for its lines.
            assert size < 128 or all(len(re.findall("(?m)^ *```", chunk.text)) % 2 == 0 for chunk in found), (
                name
            )
