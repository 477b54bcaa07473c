"""How labels name records."""

import pytest

from retrieval.errors import InvalidRequest
from retrieval.labels import Digest, Labels, Listed, Met, meet
from retrieval.types import Record
from tests.retrieval.results import record

QUERIES = {"1": "first query", "2": "second query"}


def met(qrels: dict[str, dict[str, int]], *records: Record, by_question: bool = False) -> Met:
    queries = {query_id: QUERIES[query_id] for query_id in qrels}
    return meet(Labels(queries, qrels, by_question), (Listed(one, ()) for one in records))


@pytest.mark.parametrize(
    ("one", "name", "names"),
    [
        (record("q", "a", id_="0123456789abcdef01234567"), "0123456789abcdef01234567", "record id"),
        (record("q", "a", key="K-7"), "K-7", "key"),
        (record("q", "a", row=7), "7", "row number"),
    ],
)
def test_labels_name_records_by(one: Record, name: str, names: str) -> None:
    labels = met({"1": {name: 2}}, one, record("other", row=9))
    assert (labels.names, labels.qrels, labels.unmet) == (names, {"1": {"qa": 2}}, ())


def test_labels_name_records_by_their_content() -> None:
    """Two documents may have the same, and a record its own way with punctuation, q and a."""
    contents = {"doc 1": "Whome", "doc 2": "Whome", "doc 3": "Whereno", "doc 4": "x"}
    labels = Labels(
        {"1": "first", "2": "second"}, {"1": {"doc 1": 1}, "2": {"doc 2": 1, "doc 3": 1}}, contents=contents
    )
    found = meet(labels, [Listed(record("Who? me!"), ())])
    assert (found.names, found.unmet) == ("content", ("doc 3",))
    assert found.qrels == {"1": {"Whome": 1}, "2": {"Whome": 1, "unmet doc 3": 1}}


def test_labels_name_records_by_their_question() -> None:
    labels = met({"1": {"Who?": 1}}, record(" Who? ", "me"), record("Who", "you"), by_question=True)
    assert (labels.names, labels.qrels) == ("question", {"1": {"Whome": 1}})


def test_all_records_of_a_question_are_relevant() -> None:
    labels = met({"1": {"Who?": 1}}, record("Who?", "me"), record("Who?", "you"), by_question=True)
    assert labels.qrels == {"1": {"Whome": 1, "Whoyou": 1}}


def test_names_are_what_most_of_them_can_be() -> None:
    """Rows 1 and 2 are there, of the keys only 2."""
    records = record("one", row=1), record("two", row=2, key="other"), record("three", row=3, key="2")
    labels = met({"1": {"1": 1, "2": 1}}, *records)
    assert (labels.names, labels.qrels) == ("row number", {"1": {"one": 1, "two": 1}})


def test_keys_go_before_row_numbers() -> None:
    labels = met({"1": {"2": 1}}, record("by key", key="2", row=1), record("by row", key="x", row=2))
    assert (labels.names, labels.qrels) == ("key", {"1": {"bykey": 1}})


def test_names_without_a_record_are_told_and_stay_to_be_found() -> None:
    labels = met({"1": {"5": 1, "7": 1}, "2": {"8": 1}}, record("five", row=5))
    assert labels.unmet == ("7", "8")
    assert labels.qrels == {"1": {"five": 1, "unmet 7": 1}, "2": {"unmet 8": 1}}


def test_labels_of_another_dataset_are_an_error() -> None:
    with pytest.raises(InvalidRequest, match="name no record of the dataset, such as 'x'"):
        met({"1": {"x": 1}}, record("q"))


def test_labels_that_name_nothing_are_an_error() -> None:
    with pytest.raises(InvalidRequest, match="name no record of the dataset: "):
        met({"1": {}}, record("q"))


def test_row_numbers_of_several_collections_are_an_error() -> None:
    rows = record("q", row=1, collection="c"), record("other", row=1, collection="d")
    with pytest.raises(InvalidRequest, match="row 1 is there in several collections"):
        met({"1": {"1": 1}}, *rows)
    assert met({"1": {"1": 1}}, *rows, record("other", key="1", collection="e")).names == "key"


def test_records_that_say_the_same_are_one() -> None:
    """A search shows only one of them."""
    same = record("Who?", "Me.", row=1), record("Who", "Me", row=2)
    assert met({"1": {"1": 1, "2": 0}}, *same).qrels == {"1": {"WhoMe": 1}}


def test_queries_without_a_relevant_record_are_those_that_nothing_answers() -> None:
    labels = met({"1": {"1": 1}, "2": {"1": 0}}, record("q"))
    assert (labels.qrels, labels.unanswerable) == ({"1": {"q": 1}}, {"2"})
    assert met({"1": {"1": 1}, "2": {}}, record("q")).unanswerable == {"2"}


@pytest.mark.parametrize(
    "listed",
    [
        Listed(record("First query?", "an answer"), ()),
        Listed(record("First", "query"), ()),
        Listed(record("x"), ("other", "First: query!")),
    ],
)
def test_a_query_that_is_in_the_dataset_is_leaked(listed: Listed) -> None:
    labels = Labels({"1": "First, query", "2": "second"}, {"1": {"1": 1}, "2": {"1": 1}})
    assert meet(labels, [listed]).leaked == {"1"}


def digest(*records: Listed) -> str:
    made = Digest()
    assert list(made.over(records)) == list(records)
    return str(made)


def test_a_digest_is_of_all_texts_in_any_order() -> None:
    one, other = Listed(record("one", "a"), ("x",)), Listed(record("other"), ())
    assert digest(one, other) == digest(other, one)
    changed = [
        Listed(record("one", "b"), ("x",)),
        Listed(record("one", "a"), ("y",)),
        Listed(record("one", "a", key="k"), ("x",)),
        Listed(record("One", "a"), ("x",)),
    ]
    assert len({digest(one), digest(other), digest(one, other), digest(), *map(digest, changed)}) == 8


def test_a_query_that_is_in_a_passage_only_in_part_is_not_leaked() -> None:
    assert met({"1": {"1": 1}}, record("a first query", "and more")).leaked == frozenset()
