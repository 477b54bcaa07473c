"""One full-text index: what is found in which order, whatever was added, removed, cut off, reopened or damaged."""

import math
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tantivy import Index, SchemaBuilder

from retrieval.fulltext import index as module
from retrieval.fulltext.analysis import analyse_passage
from retrieval.fulltext.files import check_files
from retrieval.fulltext.index import QUICKLY_MADE, REMOVED_SHARE, FullTextIndex, UnusableIndex
from retrieval.types import CollectionFilter, Hit, TextChanges
from tests.retrieval.texts import Rows, step


def texts(*lines: str, first_id: int = 1, key: int = 1) -> dict[int, tuple[int, str]]:
    return {first_id + place: (key, line) for place, line in enumerate(lines)}


def ids(hits: Iterable[Hit]) -> list[int]:
    return [hit.passage_id for hit in hits]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def index(folder: Path) -> FullTextIndex:
    return FullTextIndex(folder)


# Ranking


def bm25(rows: Rows, *terms: str, k1: float = 1.2, b: float = 0.75) -> dict[int, float]:
    """By the book, over the words alone."""
    documents = {passage_id: Counter(analyse_passage(text).words) for passage_id, (_, text) in rows.items()}
    count = len(documents)
    average = sum(map(Counter.total, documents.values())) / count
    scores: dict[int, float] = {}
    for term in terms:
        having = {passage_id: words for passage_id, words in documents.items() if term in words}
        idf = math.log(1 + (count - len(having) + 0.5) / (len(having) + 0.5))
        for passage_id, words in having.items():
            norm = k1 * (1 - b + b * words.total() / average)
            share = words[term] * (k1 + 1) / (words[term] + norm)
            scores[passage_id] = scores.get(passage_id, 0.0) + idf * share
    return scores


def test_scores_are_those_of_bm25(index: FullTextIndex) -> None:
    rows = texts("red fox\nin snow", "red red hen", "blue fox\nred red", "grey\nstone", "fox")
    index.apply([step(rows)])
    expected = bm25(rows, "red", "fox")
    found = index.search("The red FOX!", 10)
    assert {hit.passage_id: hit.score for hit in found} == pytest.approx(expected, abs=0.002)
    assert ids(found) == sorted(expected, key=lambda passage_id: -expected[passage_id])


def test_rare_terms_and_those_of_the_first_line_count_more(index: FullTextIndex) -> None:
    index.apply(
        [
            step(
                texts(
                    "how to pay\nby card",
                    "how to park\nby car",
                    "how to leave\nwithout paying for a card",
                    "how to eat\nby hand",
                )
            )
        ]
    )
    assert ids(index.search("pay", 4)) == [1, 3]
    assert ids(index.search("how to pay", 4))[0] == 1
    assert set(ids(index.search("how to pay", 4))) == {1, 2, 3, 4}


def test_chinese_is_found_by_words_and_by_pairs(index: FullTextIndex) -> None:
    index.apply([step(texts("咖啡机怎么清洗？\n用清水", "茶壶怎么清洗？", "魑魅魍魉是什么", "咖啡豆\n保存"))])
    assert ids(index.search("咖啡機", 4)) == [1, 4]
    assert ids(index.search("魅魍", 4)) == [3]
    assert ids(index.search("怎么清洗茶壶", 4)) == [2, 1]


def test_a_term_twice_in_the_question_counts_once(index: FullTextIndex) -> None:
    index.apply([step(texts("red fox", "blue fox", "red hen"))])
    assert index.search("red red red fox", 5) == index.search("red fox", 5)


@pytest.mark.parametrize("text", ["", " ", "?!…", "never heard of", "\u200d"])
def test_what_has_no_known_term_finds_nothing(index: FullTextIndex, text: str) -> None:
    assert index.search(text, 5) == []
    index.apply([step(texts("red fox"))])
    assert index.search(text, 5) == []
    assert index.scores(text, [1]) == {}


@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 29, 30, 31, 100])
def test_ties_go_by_ascending_id_and_the_first_of_them_make_the_cut(index: FullTextIndex, top_k: int) -> None:
    """Across segments; and the best of all has the highest id."""
    for first in (1, 11, 21):
        index.apply([step(texts(*["red fox"] * 10, first_id=first))])
    index.apply([step(texts("red", "stone", first_id=31))])
    hits = index.search("red", 200)
    assert ids(hits) == [31, *range(1, 31)]
    assert len({hit.score for hit in hits}) == 2
    assert index.search("red", top_k) == hits[:top_k]


def test_scores_are_those_of_a_search(index: FullTextIndex) -> None:
    index.apply([step(texts("red fox", "blue fox\nin snow", "grey stone", "red hen\nred red"))])
    index.apply([step(texts("a red stone fox", "茶", first_id=5))])
    everything = {hit.passage_id: hit.score for hit in index.search("red fox 茶", 10)}
    assert index.scores("red fox 茶", [1, 2, 3, 4, 5, 6, 7, 99]) == everything
    assert index.scores("red fox 茶", [5, 3, 5]) == {5: everything[5]}
    assert index.scores("red fox", []) == {}
    assert index.scores("red", [0]) == {}


# Filters


@pytest.fixture
def mixed(index: FullTextIndex) -> FullTextIndex:
    """Passages 1 to 9 in the collections 1, 2 and 3 in turn."""
    index.apply([step({one: (1 + (one - 1) % 3, f"red {'fox ' * one}") for one in range(1, 10)})])
    return index


@pytest.mark.parametrize("is_denial", [False, True])
@pytest.mark.parametrize("keys", [{1}, {1, 3}, {1, 2, 3}, {2, 99}, {99}, set(), {0}])
def test_filters(mixed: FullTextIndex, keys: set[int], is_denial: bool) -> None:
    collections = CollectionFilter(frozenset(keys), is_denial)
    expected = [
        hit for hit in mixed.search("red fox", 100) if (1 + (hit.passage_id - 1) % 3 in keys) != is_denial
    ]
    assert mixed.search("red fox", 100, collections) == expected
    for top_k in (1, 2, 4):
        assert mixed.search("red fox", top_k, collections) == expected[:top_k]


def test_nothing_but_passages_is_ever_found(mixed: FullTextIndex) -> None:
    everywhere = CollectionFilter(frozenset(), is_denial=True)
    assert 0 not in ids(mixed.search(f"red 0 basic {module.FORMAT}", 100, everywhere))
    assert sorted(mixed.passages()) == [(one, 1 + (one - 1) % 3) for one in range(1, 10)]


# Changes


def test_an_empty_index(index: FullTextIndex) -> None:
    assert (len(index), index.watermark, index.is_worn, list(index.passages())) == (0, 0, False, [])
    index.apply([])
    assert (len(index), index.watermark, list(index.passages())) == (0, 0, [])
    index.apply([step(watermark=7)])
    assert (len(index), index.watermark, list(index.passages())) == (0, 7, [])


def test_removed_passages_are_not_found(index: FullTextIndex) -> None:
    index.apply([step(texts("red fox", "red hen", "red stone"))])
    index.apply([step(removed=[2, 77], watermark=10)])
    assert (len(index), index.watermark) == (2, 10)
    assert ids(index.search("red", 5)) == [1, 3]
    assert index.search("hen", 5) == []
    assert index.scores("red hen", [2]) == {}
    assert sorted(index.passages()) == [(1, 1), (3, 1)]


def test_a_passage_can_come_and_go_in_one_step_and_in_one_commit(index: FullTextIndex) -> None:
    index.apply([step(texts("red fox", "red hen"), removed=[1], watermark=3)])
    assert sorted(index.passages()) == [(2, 1)]
    index.apply([step(texts("red stone", first_id=4)), step(removed=[2, 4], watermark=6)])
    assert (list(index.passages()), len(index), index.watermark) == ([], 0, 6)


def test_the_same_changes_again_change_nothing(index: FullTextIndex) -> None:
    first, second = (
        step(texts("red fox", "red hen")),
        step(texts("red", first_id=3), removed=[1], watermark=4),
    )
    index.apply([first, second])
    found = index.search("red", 9)
    for changes in (first, second, second, first):
        index.apply([changes])
    assert (ids(found), len(index), index.watermark) == ([3, 2], 2, 4)
    assert sorted(index.passages()) == [(2, 1), (3, 1)]


def test_a_step_that_overlaps_adds_only_what_is_new(index: FullTextIndex) -> None:
    index.apply([step(texts("red fox", "red hen"))])
    index.apply([step(texts("other", "other", "red stone"))])
    assert sorted(index.passages()) == [(1, 1), (2, 1), (3, 1)]
    assert index.search("other", 5) == []


class CutOff(BaseException):
    """Not even an Exception, as when a program is told to end."""


def test_changes_that_are_cut_off_change_nothing(index: FullTextIndex, folder: Path) -> None:
    index.apply([step(texts("red fox", "red hen"))])
    found = index.search("red", 9)

    def cut_off() -> Iterator[TextChanges]:
        yield step(texts("red stone", first_id=3), removed=[1], watermark=4)
        raise CutOff

    for _ in range(2):
        with pytest.raises(CutOff):
            index.apply(cut_off())
        assert (index.search("red", 9), len(index), index.watermark) == (found, 2, 2)
        assert sorted(FullTextIndex(folder).passages()) == [(1, 1), (2, 1)]
    index.apply([step(texts("red stone", first_id=3), removed=[1], watermark=4)])
    assert (ids(index.search("red", 9)), index.watermark) == ([2, 3], 4)


def test_a_reopened_index_is_the_same(index: FullTextIndex, folder: Path) -> None:
    index.apply([step(texts("red fox", "blue fox\nin snow", "红茶", "red hen"))])
    index.apply([step(texts("a red stone fox", first_id=5), removed=[4], watermark=8)])
    again = FullTextIndex(folder)
    assert again.search("red fox 红茶", 9) == index.search("red fox 红茶", 9) != []
    assert (again.watermark, len(again), sorted(again.passages())) == (8, 4, sorted(index.passages()))
    again.apply([step(texts("red", first_id=9))])
    assert len(FullTextIndex(folder)) == 5


def test_searches_go_on_beside_changes(index: FullTextIndex) -> None:
    """State n has the passages 10 n + 1 to 10 n + 10, and a search sees one state."""
    index.apply([step(texts(*["red fox"] * 10))])
    is_done, seen = threading.Event(), []

    def look() -> None:
        while not is_done.is_set():
            seen.append(tuple(ids(index.search("red", 50))))

    thread = threading.Thread(target=look)
    thread.start()
    for state in range(1, 15):
        rows = texts(*["red fox"] * 10, first_id=10 * state + 1)
        index.apply([step(rows, removed=range(10 * state - 9, 10 * state + 1))])
    is_done.set()
    thread.join()
    firsts = [found[0] for found in seen]
    assert seen == [tuple(range(first, first + 10)) for first in firsts]
    assert firsts == sorted(firsts)


def test_a_small_one_is_worn_by_any_removal(index: FullTextIndex, folder: Path) -> None:
    index.apply([step(texts("red", "red"))])
    assert not index.is_worn
    index.apply([step(removed=[1], watermark=3)])
    assert index.is_worn
    assert FullTextIndex(folder).is_worn


def test_a_large_one_is_worn_when_a_twentieth_was_removed(
    index: FullTextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (QUICKLY_MADE, REMOVED_SHARE) == (20_000, 0.05)
    monkeypatch.setattr(module, "QUICKLY_MADE", 10)
    index.apply([step(texts(*["red"] * 42))])
    index.apply([step(removed=[1, 2], watermark=50)])
    assert (len(index), index.is_worn) == (40, False)
    index.apply([step(removed=[2, 3, 900], watermark=60)])
    assert (len(index), index.is_worn) == (39, True)


def test_removals_of_what_never_came_in_wear_nothing(index: FullTextIndex) -> None:
    """A store tells a new index of everything that ever went."""
    index.apply([step(texts("red", "red", first_id=100), removed=range(1, 90), watermark=200)])
    assert not index.is_worn


def test_commits_leave_nothing_in_the_statistics(index: FullTextIndex, tmp_path: Path) -> None:
    at_once = FullTextIndex(tmp_path / "at once")
    at_once.apply([step(texts(*["red fox", "red hen\nin snow"] * 20))])
    for first, text in enumerate(["red fox", "red hen\nin snow"] * 20, start=1):
        index.apply([step(texts(text, first_id=first))])
    assert index.search("fox in the snow", 40) == at_once.search("fox in the snow", 40) != []


# What cannot be used


def assert_unusable(folder: Path, match: str) -> None:
    with pytest.raises(UnusableIndex, match=match) as raised:
        FullTextIndex(folder)
    assert str(folder) in raised.value.message


@pytest.fixture
def filled(index: FullTextIndex, folder: Path) -> Path:
    """The folder of an index of several segments, with removed passages."""
    for first in (1, 6, 11):
        index.apply([step(texts(*["red fox\nin snow"] * 5, first_id=first))])
    index.apply([step(removed=[2, 7], watermark=20)])
    return folder


def test_another_format_is_refused(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORMAT", "another")
    assert_unusable(filled, "is of the format")


def test_an_index_of_something_else_is_refused(folder: Path) -> None:
    folder.mkdir()
    foreign = SchemaBuilder().add_text_field("title").build()
    writer = Index(foreign, str(folder)).writer(15_000_000, 1)
    writer.commit()
    assert_unusable(folder, "cannot be used")


def test_a_file_in_the_place_of_the_folder_is_no_index(folder: Path) -> None:
    folder.write_text("not a folder")
    with pytest.raises((UnusableIndex, OSError)):
        FullTextIndex(folder)


def segment_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if len(file.name.split(".")[0]) == 32]


FOOTER = 96
"""Bytes at the end of a file that are about it, at most."""


def damaged_copies(folder: Path, where: Path) -> Iterator[tuple[str, Path]]:
    """Copies with one file of the index gone, empty, cut, or wrong in one bit."""
    for number, file in enumerate([*segment_files(folder), folder / "meta.json"]):
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[number * 7919 % max(1, len(content) - FOOTER)] ^= 1 << number % 8
        for how, damaged in {
            "gone": None,
            "empty": b"",
            "cut": content[: len(content) // 2],
            "flipped": bytes(flipped),
        }.items():
            if file.name == "meta.json" and how in ("gone", "flipped"):
                # Without its list an index is empty; a flipped letter of it may mean nothing.
                continue
            copy = where / f"{number} {how}"
            shutil.copytree(folder, copy)
            if damaged is None:
                (copy / file.name).unlink()
            else:
                (copy / file.name).write_bytes(damaged)
            yield f"{file.suffix} {how}", copy


def test_any_damage_is_found_when_it_is_opened(filled: Path, tmp_path: Path) -> None:
    assert check_files(filled) is None
    kinds = set()
    for kind, copy in damaged_copies(filled, tmp_path / "copies"):
        kinds.add(kind)
        assert_unusable(copy, "full-text index")
        assert check_files(copy) is not None or kind == ".del gone"
    suffixes = {"fast", "fieldnorm", "idx", "pos", "store", "term", "del"}
    assert {f".{suffix} flipped" for suffix in suffixes} <= kinds


def test_what_a_crash_left_beside_is_no_damage(filled: Path) -> None:
    """Files of a segment that was not committed, and marks on removed passages that were not."""
    segments = segment_files(filled)
    (filled / f"{'0' * 32}.term").write_bytes(b"half a fil")
    (filled / f"{segments[0].stem.split('.')[0]}.99999.del").write_bytes(b"half a fil")
    assert check_files(filled) is None
    index = FullTextIndex(filled)
    index.apply([step(texts("red", first_id=21), removed=[1], watermark=30)])
    assert len(index) == 13


def test_nothing_is_no_damage(tmp_path: Path) -> None:
    assert check_files(tmp_path / "nowhere") is None
    assert check_files(tmp_path) is None


def test_one_whose_last_commit_was_not_noted_is_refused(filled: Path) -> None:
    """The process ended between the two."""
    before = (filled / "state.json").read_bytes()
    FullTextIndex(filled).apply([step(texts("red", first_id=21), watermark=21)])
    (filled / "state.json").write_bytes(before)
    assert_unusable(filled, "does not say how far it is")


def test_a_damaged_note_is_refused(filled: Path) -> None:
    note = filled / "state.json"
    note.write_text(note.read_text().replace('"watermark": 20', '"watermark": 21'))
    assert_unusable(filled, "state.json is damaged")


def test_one_without_its_note_is_refused(filled: Path) -> None:
    (filled / "state.json").unlink()
    assert_unusable(filled, "does not say how far it is")


# Properties

WORDS = st.sampled_from(["red", "fox", "hen", "snow", "红茶", "咖啡机", "AB-12/x", "C++", "é"])
PHRASES = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> FullTextIndex:
    index = FullTextIndex(tmp_path_factory.mktemp("shared") / "index")
    index.apply([step(texts("red fox", "AB-12/x\nC++ in snow", "咖啡机 红茶 hen", "é e\nNOT (red OR fox)"))])
    return index


@given(text=st.text(max_size=50) | st.text('"()+-*:[]{}^~\\/!?&| ANDORTred', max_size=50))
def test_any_question_is_only_words(shared: FullTextIndex, text: str) -> None:
    found = shared.search(text, 10)
    assert found == sorted(found, key=lambda hit: (-hit.score, hit.passage_id))
    assert all(hit.score > 0 for hit in found)
    assert shared.scores(text, [1, 2, 3, 4]) == {hit.passage_id: hit.score for hit in found}


changes_of = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(1, 3), PHRASES), max_size=4),
        st.sets(st.integers(0, 30), max_size=3),
        st.booleans(),
    ),
    max_size=6,
)


@given(history=changes_of, question=PHRASES, keys=st.frozensets(st.integers(1, 4)), is_denial=st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_it_has_what_a_dict_has(
    tmp_path_factory: pytest.TempPathFactory,
    history: Sequence[tuple[list[tuple[int, str]], set[int], bool]],
    question: str,
    keys: frozenset[int],
    is_denial: bool,
) -> None:
    folder = tmp_path_factory.mktemp("model")
    index, model, last = FullTextIndex(folder), dict[int, tuple[int, str]](), 0
    for rows, places, is_reopened in history:
        added = {last + 1 + place: row for place, row in enumerate(rows)}
        model |= added
        gone = {sorted(model)[place] for place in places if place < len(model)}
        last += len(rows) + len(gone)
        index.apply([step(added, gone, last)])
        model = {passage_id: row for passage_id, row in model.items() if passage_id not in gone}
        if is_reopened:
            index = FullTextIndex(folder)
        assert (len(index), index.watermark) == (len(model), last)
        assert dict(index.passages()) == {passage_id: key for passage_id, (key, _) in model.items()}
    asked = set(analyse_passage(question).distinct)
    collections = CollectionFilter(keys, is_denial)
    expected = {
        passage_id
        for passage_id, (key, text) in model.items()
        if asked & set(analyse_passage(text).distinct) and (key in keys) != is_denial
    }
    assert set(ids(index.search(question, 100, collections))) == expected
