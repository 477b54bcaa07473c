"""Long texts are cut into windows of sentences that cover them and fit the model."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library
from retrieval.passages import find_windows, to_passages, whole_passages
from retrieval.types import PassageDraft, RecordDraft, SearchRequest
from tests.doubles import HashEmbedder


def words(texts: list[str]) -> list[int]:
    """A token for each word or Chinese character, and two special ones."""
    return [len(re.findall(r"[一-鿿]|[^\s一-鿿]+", text)) + 2 for text in texts]


def cut(text: str, max_tokens: int) -> list[str]:
    return [text[start:stop] for start, stop in find_windows(text, max_tokens, words)]


def test_windows_end_with_sentences_and_begin_with_the_last_of_the_one_before() -> None:
    sentences = [f"Sentence {n} is of seven words altogether. " for n in range(6)]
    windows = cut("".join(sentences), 7 * 3 + 2)
    assert windows == ["".join(sentences[0:3]), "".join(sentences[3:6])]
    short = [f"S {n}. " for n in range(12)]
    windows = cut("".join(short), 2 * 8 + 2)
    # An eighth of sixteen tokens is one sentence.
    assert windows == ["".join(short[0:8]), "".join(short[7:12])]


def test_chinese_sentences_keep_their_closing_marks() -> None:
    text = "他说：“可以退货。”我们照办了！然后呢？没有了。"
    windows = cut(text, 8 + 2)
    assert windows == ["他说：“可以退货。”", "我们照办了！", "然后呢？没有了。"]


def test_a_sentence_that_is_too_long_is_cut_at_commas_then_anywhere() -> None:
    assert cut("一二三，四五六，七八九", 5 + 2) == ["一二三，", "四五六，", "七八九"]
    assert cut("一" * 10, 3 + 2) == ["一一", "一一一", "一一", "一一一"]


def test_numbers_and_addresses_do_not_end_sentences() -> None:
    assert cut("Use version 3.14 of it now. See a.b.c for more.", 6 + 2) == [
        "Use version 3.14 of it now. ",
        "See a.b.c for more.",
    ]


def test_lines_are_windows_and_abbreviations_do_not_end_sentences() -> None:
    assert cut("A title without mark\n\n  Ask Dr. Smith about it. \nGo", 5 + 2) == [
        "A title without mark\n\n  ",
        "Ask Dr. Smith about it. \n",
        "Go",
    ]


@given(st.text("ab ,.\n。，一二", min_size=1, max_size=300), st.integers(3, 40))
def test_windows_cover_the_text_in_order_and_fit(text: str, max_tokens: int) -> None:
    windows = find_windows(text, max_tokens, words)
    covered = 0
    for start, stop in windows:
        assert start <= covered < stop
        covered = stop
    assert windows[0][0] == 0
    assert covered == len(text)
    sizes = words([text[start:stop] for start, stop in windows])
    assert all(
        size <= max_tokens or stop - start == 1 for size, (start, stop) in zip(sizes, windows, strict=True)
    )


def test_a_text_that_fits_is_one_passage() -> None:
    draft = RecordDraft("q", "a", ("i", " i ", "q\na", "  ", "j"))
    expected = (PassageDraft("q\na", True), PassageDraft("i", False), PassageDraft("j", False))
    assert to_passages([draft], HashEmbedder()) == [expected]
    assert whole_passages(draft) == expected


def test_each_window_of_a_text_says_where_it_begins() -> None:
    answer = "".join(f"Sentence {n} of the long answer. " for n in range(120))
    index = "".join(f"Index {n} goes on. " for n in range(150))
    draft = RecordDraft("q", answer, ("short", index))
    (passages,) = to_passages([draft], HashEmbedder())
    starts = [place for place, passage in enumerate(passages) if passage.start == 0]
    groups = [passages[start:stop] for start, stop in zip(starts, [*starts[1:], None], strict=True)]
    assert [group[0].is_default for group in groups] == [True, False, False]
    for group, text in zip(groups, draft.texts, strict=True):
        assert {passage.is_default for passage in group} == {group[0].is_default}
        for passage in group:
            assert text[passage.start :].startswith(passage.text)
        assert group[-1].start + len(group[-1].text) == len(text)
    assert [len(group) for group in groups] == [3, 1, 2]


def test_the_title_stands_before_each_window() -> None:
    answer = "".join(f"Sentence {n} of the long answer. " for n in range(120))
    (passages,) = to_passages([RecordDraft("q", answer, title="Guide > Returns")], HashEmbedder())
    assert len(passages) > 1
    assert all(passage.text.startswith("Guide > Returns\n") for passage in passages)
    assert max(HashEmbedder().count_tokens([passage.text for passage in passages])) <= 512
    (short,) = to_passages([RecordDraft("q", title="Guide")], HashEmbedder())
    assert short == (PassageDraft("Guide\nq", True),)
    (passages,) = to_passages([RecordDraft("q", answer, title="t" * 1100)], HashEmbedder())
    assert not passages[0].text.startswith("t")
    # However short the text is.
    assert to_passages([RecordDraft("q", title="t" * 2100)], HashEmbedder()) == [(PassageDraft("q", True),)]


def test_what_stands_late_in_a_long_answer_is_found_and_quoted_once(library: Library) -> None:
    dataset = library.create_dataset("d")
    collection = library.ensure_collection(dataset.id, "c")
    filler = "".join(f"Nothing of interest is said in sentence {n}. " for n in range(200))
    long = RecordDraft("manual", f"{filler}The warranty covers dropped kettles. ")
    library.add_records(collection, [long, RecordDraft("The warranty")])
    result = library.search(
        SearchRequest("The warranty covers dropped kettles.", (dataset.id,), limit=20_000)
    )
    assert sorted(quote.record.q for quote in result.quotes) == ["The warranty", "manual"]
    (quote,) = (quote for quote in result.quotes if quote.record.q == "manual")
    assert quote.passage_id == library.store.passages_of([quote.record.id])[quote.record.id][-1].id


@pytest.mark.model
def test_the_bundled_model_finds_what_stands_after_its_first_512_tokens(bundled: BundledEmbedder) -> None:
    filler = "咖啡豆要密封保存，放在阴凉的地方，不要放进冰箱。" * 60
    late = "另外，电热水壶摔坏了也可以凭发票免费维修一次。"
    (passages,) = to_passages([RecordDraft("使用手册", f"{filler}{late}")], bundled)
    assert len(passages) > 2
    assert max(bundled.count_tokens([passage.text for passage in passages])) <= bundled.max_tokens
    (query,) = bundled.embed_queries(["水壶摔坏了能修吗"])
    scores = bundled.embed_passages([passage.text for passage in passages]) @ query
    assert scores.argmax() == len(passages) - 1
