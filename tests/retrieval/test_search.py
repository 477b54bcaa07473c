"""Searches of every kind: what is filtered by which score, in what order quotes come, where they may come from."""

import math
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.calibration import Calibrations, Threshold
from retrieval.completion import Completion
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.errors import InvalidRequest
from retrieval.library import Library
from retrieval.rerank import Reranker
from retrieval.rerank.endpoint import EndpointReranker
from retrieval.search import FIRST_CANDIDATES, PAGE, POOL, RERANKED
from retrieval.types import (
    Collection,
    CollectionMatch,
    Extension,
    Record,
    RecordDraft,
    SearchMode,
    SearchRequest,
    SearchResult,
)
from tests.doubles import DialEmbedder
from tests.openai_server import OpenAIServer, answer, openai_server, refusal
from tests.retrieval.searching import STEP, DialReranker, add, ask, ids_of, new_collection, questions_of
from tests.retrieval.test_rerank_cross_encoder import save_model
from tests.retrieval.test_sentence_transformers import NEEDS_TORCH

MODES: tuple[SearchMode, ...] = ("embedding", "fullTextRecall", "mixedRecall")

PLAIN = "the question was searched as it is: "


@pytest.fixture
def dial(tmp_path: Path) -> Iterator[Library]:
    """Passages and texts say their own scores."""
    with Library.open(tmp_path / "dial", DialEmbedder(), reranker=DialReranker()) as library:
        yield library


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as running:
        yield running


def opened(folder: Path, reranker: Reranker | None = None, completion: Completion | None = None) -> Library:
    return Library.open(folder, DialEmbedder(), reranker=reranker, completion=completion)


# The threshold


@pytest.mark.parametrize("mode", ["embedding", "mixedRecall"])
def test_the_threshold_is_inclusive_to_the_bit(dial: Library, mode: SearchMode) -> None:
    collection = new_collection(dial)
    scores = (1.0, 0.75 + STEP, 0.75, 0.75 - STEP, 0.0, -0.25)
    ids = add(dial, collection, *(f"kettle number {n} @{score}" for n, score in enumerate(scores)))
    below, above = (float(np.nextafter(0.75, towards)) for towards in (0, 1))
    for similarity, kept in (
        (0.0, 5),
        (STEP, 4),
        (below, 3),
        (0.75, 3),
        (above, 2),
        (0.75 + STEP, 2),
        (1.0, 1),
    ):
        result = ask(dial, collection, mode=mode, similarity=similarity)
        assert set(ids_of(result)) == set(ids[:kept])
        assert (result.similarity, result.filtered_by) == (similarity, "embedding")
        told = ask(dial, collection, mode=mode, similarity=similarity, explain=True)
        assert ids_of(told) == ids_of(result)


def test_full_text_has_no_score_to_filter_by(dial: Library) -> None:
    collection = new_collection(dial)
    ids = add(dial, collection, "kettle @0.5", "kettle too @-0.5", "pot @1.0")
    for similarity in (0.0, 1.0, None):
        result = ask(dial, collection, mode="fullTextRecall", similarity=similarity)
        assert ids_of(result) == ids[:2]
        assert result.filtered_by is None
        assert [score.type for quote in result.quotes for score in quote.scores] == ["fullText"] * 2


def test_a_hit_of_full_text_alone_is_kept_whatever_the_threshold(dial: Library) -> None:
    """The others are so many that the recall by embedding has no room for it."""
    collection = new_collection(dial)
    add(dial, collection, *(f"cup number {number} @0.5" for number in range(POOL)))
    (kettle,) = add(dial, collection, "kettle @0.25")
    result = ask(dial, collection, mode="mixedRecall", similarity=0.75)
    assert ids_of(result) == [kettle]
    assert [score.type for score in result.quotes[0].scores] == ["rrf", "fullText"]
    embedding, _ = result.quotes[0].contributions
    assert (embedding.raw, embedding.rank) == (0.25, None)


@pytest.mark.parametrize("mode", MODES)
def test_a_reranked_search_is_filtered_by_relevance(dial: Library, mode: SearchMode) -> None:
    collection = new_collection(dial)
    relevances = (1.0, 0.5 + STEP, 0.5, 0.5 - STEP, 0.0)
    ids = add(
        dial, collection, *(f"kettle {n} @0.{n + 1} %{relevance}" for n, relevance in enumerate(relevances))
    )
    below, above = (float(np.nextafter(0.5, towards)) for towards in (0, 1))
    for similarity, kept in ((0.0, 5), (STEP, 4), (below, 3), (0.5, 3), (above, 2), (1.0, 1)):
        result = ask(dial, collection, mode=mode, similarity=similarity, rerank=True)
        assert set(ids_of(result)) == set(ids[:kept])
        assert (result.filtered_by, result.reranked_by, result.notes) == ("reRank", "dial-reranker", ())
        for quote in result.quotes:
            assert quote.score_of("reRank") == relevances[ids.index(quote.record.id)]


def test_without_a_threshold_it_is_what_was_calibrated(dial: Library) -> None:
    first, second = new_collection(dial, "first"), new_collection(dial, "second")
    for collection in (first, second):
        add(dial, collection, *(f"kettle {n} @0.{n} %0.{9 - n}" for n in range(1, 9)))
    calibrate(dial, first, "embedding", 0.5)
    calibrate(dial, second, "embedding", 0.25)
    calibrate(dial, first, "mixedRecall", 0.75)
    calibrate(dial, first, "fullTextRecall", 0.625, rerank=True)

    def applied(*collections: Collection, **fields: Any) -> float:
        result = ask(dial, *collections, similarity=None, **fields)
        scores = [quote.score_of(result.filtered_by) or 0.0 for quote in result.quotes if result.filtered_by]
        assert min(scores, default=1.0) >= result.similarity
        return result.similarity

    assert applied(first) == 0.5
    assert applied(second) == 0.25
    assert applied(first, second) == 0.25
    assert applied(first, mode="mixedRecall") == 0.75
    assert applied(second, mode="mixedRecall") == 0.0
    assert applied(first, second, mode="mixedRecall") == 0.0
    assert applied(first, rerank=True) == 0.0
    assert applied(first, mode="fullTextRecall") == 0.0
    assert applied(first, mode="fullTextRecall", rerank=True) == 0.625
    assert ask(dial, first, similarity=0.0).similarity == 0.0


def calibrate(
    library: Library, collection: Collection, mode: SearchMode, similarity: float, rerank: bool = False
) -> None:
    place = (collection.dataset_id, mode, rerank)
    Calibrations(library.store).put(Threshold(*place, similarity, 0.5, 0.5, "2026-01-31", "labels"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"embedding_weight": -0.01}, "embeddingWeight"),
        ({"embedding_weight": math.nan}, "embeddingWeight"),
        ({"rerank_weight": 1.01}, "rerankWeight"),
        ({"per_source": 0}, "perSource"),
    ],
)
def test_values_out_of_range_are_named(dial: Library, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match=param) as raised:
        dial.search(SearchRequest("kettle", ("d",), **fields))
    assert raised.value.param == param


# Orders


def test_a_text_of_no_terms_is_found_by_meaning_alone(dial: Library) -> None:
    collection = new_collection(dial)
    ids = add(dial, collection, "kettle @0.5", "pot @0.25")
    assert ids_of(ask(dial, collection, text="?!", mode="mixedRecall")) == ids
    assert ids_of(ask(dial, collection, text="?!", mode="fullTextRecall")) == []


@pytest.mark.parametrize(("weight", "first"), [(0.0, "kettle"), (1.0, "pot")])
def test_the_weight_decides_between_words_and_meaning(dial: Library, weight: float, first: str) -> None:
    collection = new_collection(dial)
    add(dial, collection, "kettle @0.25", "pot @0.75", "pan @0.5")
    for fusion in ("scores", "ranks"):
        result = ask(dial, collection, mode="mixedRecall", embedding_weight=weight, fusion=fusion)
        assert result.quotes[0].record.q.startswith(first)
        assert len(result.quotes) == 3


def test_ranks_are_joined_as_fastgpt_does(dial: Library) -> None:
    collection = new_collection(dial)
    both, meant, said = add(dial, collection, "kettle and more @0.5", "pot @0.75", "kettle @0.25")
    result = ask(dial, collection, mode="mixedRecall", fusion="ranks")
    scores = {quote.record.id: quote.score for quote in result.quotes}
    assert scores == {
        both: round(0.5 / 62 + 0.5 / 62, 6),
        meant: round(0.5 / 61, 6),
        said: round(0.5 / 63 + 0.5 / 61, 6),
    }
    assert ids_of(result) == [said, both, meant]


def test_what_says_the_same_is_quoted_once_in_every_mode(dial: Library) -> None:
    collection = new_collection(dial)
    texts = [RecordDraft("kettle" + "!" * n, "", (f"@0.{n}",)) for n in range(1, 5)]
    *_, best = add(dial, collection, *texts)
    (other,) = add(dial, collection, "another kettle @0.1")
    for mode in ("embedding", "mixedRecall"):
        assert ids_of(ask(dial, collection, mode=mode)) == [best, other]
        assert ids_of(ask(dial, collection, mode=mode, rerank=True)) == [best, other]
    assert len(ask(dial, collection, mode="fullTextRecall").quotes) == 2


# Where quotes may come from


def forbid(data_dir: Path, collection: Collection) -> None:
    """Written into the database itself: no method of a store does it."""
    with sqlite3.connect(data_dir / "quotebase.sqlite") as db:
        db.execute("UPDATE collections SET forbid = 1 WHERE id = ?", (collection.id,))
    db.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rerank", [False, True])
def test_a_filter_finds_what_is_behind_the_rest(dial: Library, mode: SearchMode, rerank: bool) -> None:
    """As if the rest were not there, which has more and better passages than are looked at."""
    rest = new_collection(dial)
    add(dial, rest, *(f"kettle {n} @0.75 %0.5" for n in range(POOL + 20)))
    tagged = dial.store.create_collection(rest.dataset_id, "tagged", ["cold", "new"])
    other = dial.store.create_collection(rest.dataset_id, "other", ["cold"])
    inside = add(dial, tagged, "some old kettle @0.5", "another of the old kettles @0.25")
    beside = add(dial, other, "some other of the very old kettles @0.125")
    for match, expected in (
        (CollectionMatch(frozenset([tagged.id])), inside),
        (CollectionMatch(all_of=("cold", "new")), inside),
        (CollectionMatch(all_of=("cold",)), [*inside, *beside]),
        (CollectionMatch(any_of=("new", "hot")), inside),
        (CollectionMatch(frozenset([tagged.id, other.id]), any_of=("cold",)), [*inside, *beside]),
        (CollectionMatch(all_of=("hot",)), []),
        (CollectionMatch(frozenset(["0" * 24])), []),
        (CollectionMatch(created_from=rest.created_at + timedelta(days=1)), []),
    ):
        result = ask(dial, rest, mode=mode, rerank=rerank, collections=match)
        assert ids_of(result) == expected
    untagged = ask(dial, rest, mode=mode, rerank=rerank, collections=CollectionMatch(all_of=(None,)))
    assert {quote.collection_name for quote in untagged.quotes} == {rest.name}


@pytest.mark.parametrize("mode", MODES)
def test_forbidden_collections_are_never_quoted(dial: Library, tmp_path: Path, mode: SearchMode) -> None:
    open_one = new_collection(dial)
    closed = dial.store.create_collection(open_one.dataset_id, "closed", ["t"])
    add(dial, closed, *(f"kettle {n} @0.9" for n in range(POOL + 1)))
    ids = add(dial, open_one, "kettle @0.5")
    forbid(tmp_path / "dial", closed)
    assert ids_of(ask(dial, open_one, mode=mode)) == ids
    both = frozenset([open_one.id, closed.id])
    assert ids_of(ask(dial, open_one, mode=mode, collections=CollectionMatch(both))) == ids
    assert ids_of(ask(dial, open_one, mode=mode, collections=CollectionMatch(all_of=("t",)))) == []


@pytest.mark.parametrize("mode", MODES)
def test_per_source_is_the_most_of_one_collection(dial: Library, mode: SearchMode) -> None:
    many = new_collection(dial)
    few = dial.store.create_collection(many.dataset_id, "few")
    best = add(dial, many, *(f"kettle {'very ' * n}@0.{9 - n}" for n in range(6)))
    worse = add(dial, few, *(f"kettle {'rather ' * (7 + n)}@0.{2 - n}" for n in range(2)))
    expected = {1: [best[0], worse[0]], 2: [*best[:2], *worse], 6: [*best, *worse]}
    for most, ids in expected.items():
        assert ids_of(ask(dial, many, mode=mode, per_source=most)) == ids
        assert ids_of(ask(dial, many, mode=mode, per_source=most, top_k=2)) == ids[:2]


@pytest.mark.parametrize(
    ("top_k", "read"),
    [
        (1, [1]),
        (2, [2, PAGE]),
        (5, [5, PAGE]),
        (PAGE + 4, [PAGE, 4, 20 - PAGE - 4]),
        (None, [PAGE, 20 - PAGE]),
    ],
)
def test_no_more_records_are_read_than_are_wanted(
    dial: Library, monkeypatch: pytest.MonkeyPatch, top_k: int | None, read: list[int]
) -> None:
    """The second of 20 repeats the first."""
    counts: list[int] = []
    sources_of = dial.store.sources_of

    def noting(passage_ids: Sequence[int]) -> dict[int, tuple[Record, str]]:
        counts.append(len(passage_ids))
        return sources_of(passage_ids)

    collection = new_collection(dial)
    texts = ["same @0.9", "same! @0.9", *(f"{number} @0.{80 - number}" for number in range(18))]
    ids = add(dial, collection, *texts)
    monkeypatch.setattr(dial.store, "sources_of", noting)
    found = ask(dial, collection, mode="embedding", top_k=top_k)
    assert ids_of(found) == [ids[0], *ids[2:]][:top_k]
    assert counts == read


def test_per_source_looks_behind_a_crowd(dial: Library) -> None:
    crowd = new_collection(dial)
    few = dial.store.create_collection(crowd.dataset_id, "few")
    best = add(dial, crowd, *(f"kettle {n} @0.75" for n in range(5 * FIRST_CANDIDATES)))
    (one,) = add(dial, few, "kettle @0.5")
    assert ids_of(ask(dial, crowd, per_source=2)) == [*best[:2], one]


def test_datasets_are_joined_by_cosine_where_only_that_counts(dial: Library) -> None:
    first, second = new_collection(dial, "first"), new_collection(dial, "second")
    one, two, three = add(dial, first, "kettle @0.9", "kettle again @0.8", "kettle now @0.3")
    (four,) = add(dial, second, "kettle there @0.5")
    assert ids_of(ask(dial, second, first)) == [one, two, four, three]


def test_datasets_are_joined_by_rank_where_words_count(dial: Library) -> None:
    """Scores of full text are of one dataset; the first of each come first, whatever they are."""
    first, second = new_collection(dial, "first"), new_collection(dial, "second")
    one, two, _ = add(dial, first, "kettle @0.9", "kettle again and again @0.8", "pan @0.7")
    three, four = add(
        dial, second, "a large, rather heavy and very old kettle @0.5", "kettle" + " or pan" * 12
    )
    for weight in (0.0, 0.5):
        result = ask(
            dial, second, first, mode="mixedRecall" if weight else "fullTextRecall", embedding_weight=weight
        )
        assert ids_of(result)[0] == one
        shares = [part.normalised for quote in result.quotes for part in quote.contributions if part.value]
        assert set(shares) <= {1 / (61 + rank) for rank in range(5)}
    assert set(ids_of(ask(dial, first, second, mode="fullTextRecall"))[:2]) == {one, three}
    assert set(ids_of(ask(dial, first, second, mode="fullTextRecall"))[2:]) == {two, four}
    assert {quote.collection_name for quote in result.quotes} == {first.name, second.name}


# Other phrasings


def extended(question: str = "pot", **fields: Any) -> dict[str, Any]:
    return {"text": question, "mode": "fullTextRecall", "extension": Extension(**fields)}


def test_other_phrasings_find_what_the_question_does_not(tmp_path: Path, server: OpenAIServer) -> None:
    with opened(tmp_path, completion=EndpointCompletion("scripted", server.url, None, 5.0)) as library:
        collection = new_collection(library)
        kettle, pot = add(library, collection, "kettle @0.25", "pot @0.5")
        assert ids_of(ask(library, collection, text="pot", mode="fullTextRecall")) == [pot]
        server.script(answer('["kettle", "jug"]'))
        result = ask(library, collection, **extended())
        assert result.phrasings == ("pot", "kettle", "jug")
        assert (set(ids_of(result)), result.notes) == ({kettle, pot}, ())
        assert {(part.phrasing, round(part.weight, 6)) for part in result.quotes[0].contributions} == {
            (phrasing, round(1 / 3, 6)) for phrasing in result.phrasings
        }


def test_a_rewritten_question_is_searched_with_and_reranked_with(
    tmp_path: Path, server: OpenAIServer
) -> None:
    reranker = DialReranker()
    completion = EndpointCompletion("scripted", server.url, None, 5.0)
    with opened(tmp_path, reranker, completion) as library:
        collection = new_collection(library)
        (kettle,) = add(library, collection, "kettle @0.25 %0.5")
        server.script(answer('["How large is the kettle?"]'))
        said = (("user", "Is there a kettle?"), ("assistant", "Yes."))
        fields = extended("How large is it?", background="tea", history=said, model="small")
        result = ask(library, collection, rerank=True, **fields)
        assert result.phrasings == ("How large is the kettle?", "How large is it?")
        assert ids_of(result) == [kettle]
        assert reranker.asked == [("How large is the kettle?", 1)]
    (asked,) = server.asked("chat/completions")
    assert asked.body["model"] == "small"
    shown = asked.body["messages"][-1]["content"]
    assert all(text in shown for text in ("tea", "Is there a kettle?", "Yes.", "How large is it?"))


def test_nothing_of_use_from_the_backend_is_a_plain_search(tmp_path: Path, server: OpenAIServer) -> None:
    with opened(tmp_path, completion=EndpointCompletion("scripted", server.url, None, 5.0)) as library:
        collection = new_collection(library)
        add(library, collection, "kettle @0.25", "pot @0.5")
        server.script(answer("I cannot help with that."))
        result = ask(library, collection, **extended())
        assert (result.phrasings, result.notes) == (("pot",), ())
        assert result.quotes == ask(library, collection, text="pot", mode="fullTextRecall").quotes


def test_without_other_phrasings_it_is_a_plain_search_with_a_note(
    tmp_path: Path, server: OpenAIServer
) -> None:
    failing = EndpointCompletion("scripted", server.url, None, 5.0)
    backends: list[tuple[Completion | None, str]] = [
        (None, "there is no completion backend"),
        (ExtractiveCompletion(), "QUOTEBASE_COMPLETION_BASE_URL"),
        (failing, "answered 400: "),
    ]
    for number, (backend, reason) in enumerate(backends):
        server.script(refusal(400, "no"))
        with opened(tmp_path / str(number), completion=backend) as library:
            collection = new_collection(library)
            add(library, collection, "kettle @0.25", "pot @0.5")
            for mode in MODES:
                result = ask(library, collection, **{**extended(), "mode": mode})
                assert result.phrasings == ("pot",)
                assert result.notes[0].startswith(PLAIN)
                assert reason in result.notes[0] or mode != "embedding"
                assert result.quotes == ask(library, collection, text="pot", mode=mode).quotes
                server.script(refusal(400, "no"))
        server.script_anew()


# Reranking


@pytest.mark.parametrize("mode", MODES)
def test_the_weight_decides_between_relevance_and_the_order_before(dial: Library, mode: SearchMode) -> None:
    collection = new_collection(dial)
    ids = add(dial, collection, *(f"kettle {'very ' * n}@0.{9 - n} %0.{n + 1}" for n in range(5)))
    before = ids_of(ask(dial, collection, mode=mode))
    assert before == ids
    assert ids_of(ask(dial, collection, mode=mode, rerank=True, rerank_weight=0.0)) == before
    result = ask(dial, collection, mode=mode, rerank=True, rerank_weight=1.0)
    assert ids_of(result) == ids[::-1]
    assert [score.type for score in result.quotes[0].scores][:2] == ["rrf", "reRank"]
    assert [score.index for score in result.quotes[0].scores][:2] == [0, 0]


def test_only_the_best_are_reranked(dial: Library) -> None:
    collection = new_collection(dial)
    add(dial, collection, *(f"kettle {n} @{(512 - n) * STEP} %0.5" for n in range(RERANKED)))
    beyond = add(dial, collection, *(f"kettle {n} @0.25 %1.0" for n in range(RERANKED, RERANKED + 6)))
    result = ask(dial, collection, rerank=True, explain=True)
    assert len(result.quotes) == RERANKED
    assert result.explanation
    dropped = [one for one in result.explanation.decisions if one.dropped_by]
    assert [one.quote.record.id for one in dropped] == beyond
    assert {(one.dropped_by, one.detail) for one in dropped} == {
        ("depth", f"only the best {RERANKED} are reranked")
    }


def test_reranking_by_an_endpoint(tmp_path: Path, server: OpenAIServer) -> None:
    with opened(tmp_path, EndpointReranker(f"{server.url}/rerank", "scripted", "")) as library:
        collection = new_collection(library)
        one, two, three = add(library, collection, "kettle @0.75", "kettle too @0.5", "another kettle @0.25")
        server.script(lambda handler, body: handler.send_json({"results": ranked(body["documents"])}))
        result = ask(library, collection, mode="mixedRecall", rerank=True, rerank_weight=1.0, similarity=0.14)
        assert ids_of(result) == [three, two]
        assert [quote.score_of("reRank") for quote in result.quotes] == [0.2, 0.15]
        assert (result.reranked_by, result.filtered_by) == ("scripted", "reRank")
        server.script(refusal(503, "overloaded"), refusal(503, "overloaded"))
        failed = ask(library, collection, mode="mixedRecall", rerank=True, similarity=0.5)
        plain = ask(library, collection, mode="mixedRecall", similarity=0.5)
        assert failed.quotes == plain.quotes
        assert ids_of(plain) == [one, two]
        assert (failed.reranked_by, failed.filtered_by) == ("", "embedding")
        (note,) = failed.notes
        assert note.startswith("nothing was reranked: the rerank endpoint failed: ")
        assert "overloaded" in note


def ranked(documents: list[str]) -> list[dict[str, Any]]:
    """The longer the better."""
    return [
        {"index": place, "relevance_score": len(document) / 100} for place, document in enumerate(documents)
    ]


@pytest.mark.parametrize("mode", MODES)
def test_without_a_reranker_it_is_the_order_before_with_a_note(tmp_path: Path, mode: SearchMode) -> None:
    with opened(tmp_path) as library:
        collection = new_collection(library)
        add(library, collection, "kettle @0.5", "kettle too @0.75", "pot @0.875")
        result = ask(library, collection, mode=mode, rerank=True, similarity=0.6)
        assert result.quotes == ask(library, collection, mode=mode, similarity=0.6).quotes
        assert (result.reranked_by, result.filtered_by) == (
            "",
            None if mode == "fullTextRecall" else "embedding",
        )
        (note,) = result.notes
        assert note == "nothing was reranked: set QUOTEBASE_RERANK_MODEL or QUOTEBASE_RERANK_URL"


class TestCrossEncoder:
    """Reranking by a model in this process."""

    pytestmark = NEEDS_TORCH

    def test_reranking_by_a_cross_encoder(self, tmp_path: Path) -> None:
        from retrieval.rerank.cross_encoder import CrossEncoderReranker

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reranker = CrossEncoderReranker(str(save_model(tmp_path / "tiny-reranker")))
        with opened(tmp_path / "data", reranker) as library:
            collection = new_collection(library)
            texts = [
                f"coffee in a jar {word} @0.{n + 1}" for n, word in enumerate(("four", "weeks", "how", "do"))
            ]
            add(library, collection, *texts)
            fields: dict[str, Any] = {"text": "how do I store coffee", "mode": "mixedRecall", "rerank": True}
            result = ask(library, collection, **fields, rerank_weight=1.0)
            relevances = dict(zip(texts, reranker.score(fields["text"], texts), strict=True))
            assert len(set(relevances.values())) == 4
            assert questions_of(result) == sorted(texts, key=lambda text: -relevances[text])
            found = {quote.record.q: quote.score_of("reRank") for quote in result.quotes}
            assert found == pytest.approx(relevances, abs=1e-5)
            middle = sorted(relevances.values())[2] - 1e-4
            assert len(ask(library, collection, **fields, similarity=middle).quotes) == 2
            assert result.reranked_by == "tiny-reranker"


def test_an_empty_dataset_has_nothing_in_any_mode(dial: Library) -> None:
    collection = new_collection(dial)
    for mode in MODES:
        for rerank in (False, True):
            result: SearchResult = ask(dial, collection, mode=mode, rerank=rerank, explain=True)
            assert result.quotes == ()
            assert result.explanation
            assert result.explanation.decisions == ()
