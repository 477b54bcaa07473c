"""A table of 10,000 products whose codes share their parts: a code as the question finds its own row first."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from retrieval.embedding import Embedder
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library
from retrieval.types import Collection, RecordDraft, SearchMode
from tests.doubles import HashEmbedder
from tests.retrieval.searching import add, ask, new_collection, questions_of

ROWS = 10_000
SAMPLE = 200

LETTERS = ("AB", "AC", "BA", "KX", "X", "ABX", "ZT", "QR")
ENDS = ("x", "4x", "4", "y", "xl", "0", "zh", "b2")
ENGLISH = ("kettle", "jug", "valve", "steel", "brass", "small", "grey", "lid", "spare", "for", "of 4 l")
CHINESE = ("不锈钢", "水壶", "阀门", "黄铜", "小号", "灰色", "盖子", "备件", "4升", "适用于")


def products() -> list[RecordDraft]:
    """Rows of a code and a short description; every eighth names the code of another row."""
    chance = random.Random(1204)
    numbers = [str(number) for number in (*range(120, 212), *range(1200, 1290))]
    every = [f"{letters}-{number}/{end}" for letters in LETTERS for number in numbers for end in ENDS]
    codes = chance.sample(every, ROWS)
    return [RecordDraft(code, description(chance, codes, place)) for place, code in enumerate(codes)]


def description(chance: random.Random, codes: Sequence[str], place: int) -> str:
    is_chinese = place % 2 == 0
    words = chance.choices(CHINESE if is_chinese else ENGLISH, k=chance.randint(1, 6))
    others = [chance.choice(codes)] if place % 8 < 2 else []
    return ("" if is_chinese else " ").join([*words, *others])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Library, Collection, list[str]]]:
    """With an embedder that gives similar texts similar vectors."""
    yield from filled(tmp_path_factory.mktemp("table"), HashEmbedder(dim=256), products())


def filled(
    folder: Path, embedder: Embedder, rows: Sequence[RecordDraft]
) -> Iterator[tuple[Library, Collection, list[str]]]:
    with Library.open(folder, embedder) as library:
        collection = new_collection(library)
        for start in range(0, len(rows), 2000):
            add(library, collection, *rows[start : start + 2000])
        yield library, collection, [row.q for row in rows]


def misplaced(
    library: Library, collection: Collection, codes: Sequence[str], mode: SearchMode, weight: float = 0.5
) -> dict[str, list[str]]:
    """The codes that do not find their own row first, with what they find."""
    found = {}
    for code in codes:
        result = ask(library, collection, text=code, mode=mode, embedding_weight=weight, top_k=2)
        found[code] = questions_of(result)
    return {code: firsts for code, firsts in found.items() if firsts[:1] != [code]}


@pytest.mark.slow
def test_every_code_finds_its_row_by_full_text(table: tuple[Library, Collection, list[str]]) -> None:
    library, collection, codes = table
    assert len({code.lower() for code in codes}) == ROWS
    assert misplaced(library, collection, codes, "fullTextRecall") == {}


def test_codes_find_their_rows_with_equal_weights(table: tuple[Library, Collection, list[str]]) -> None:
    library, collection, codes = table
    assert misplaced(library, collection, codes[5 :: ROWS // 200], "mixedRecall") == {}


def test_codes_find_their_rows_where_words_weigh_more(table: tuple[Library, Collection, list[str]]) -> None:
    library, collection, codes = table
    assert misplaced(library, collection, codes[::23], "mixedRecall", weight=LIGHT) == {}


@pytest.mark.parametrize("question", ["what is {}?", "{} 多少钱", " {}。", "price of {}, please", "“{}”"])
def test_a_code_in_a_sentence_finds_its_row(
    table: tuple[Library, Collection, list[str]], question: str
) -> None:
    library, collection, codes = table
    for code in codes[:: ROWS // 37]:
        for written in (code, code.lower(), code.translate(WIDE)):
            assert first_of(library, collection, question.format(written), "fullTextRecall", 0.5) == code
            assert first_of(library, collection, question.format(written), "mixedRecall", LIGHT) == code


def first_of(library: Library, collection: Collection, text: str, mode: SearchMode, weight: float) -> str:
    result = ask(library, collection, text=text, mode=mode, embedding_weight=weight, top_k=1)
    return result.quotes[0].record.q


LIGHT = 0.3
"""A weight of the embedding."""

WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
"""As input methods for Chinese write letters and digits."""


@pytest.mark.model
@pytest.mark.slow
def test_codes_find_their_rows_beside_the_bundled_model(tmp_path: Path, bundled: BundledEmbedder) -> None:
    rows = products()[:1000]
    for library, collection, codes in filled(tmp_path, bundled, rows):
        sample = codes[:: len(rows) // SAMPLE]
        assert misplaced(library, collection, sample, "mixedRecall", weight=LIGHT) == {}
