"""Which column is what, and what is wrong with a row."""

import pytest

from ingest.mapping import Columns, RowProblem, find_columns, to_draft
from ingest.tables import Row
from retrieval.errors import MissingColumn
from retrieval.types import RecordDraft

COLUMNS = Columns(q=0, a=1, indexes=2, has_indexes=True)
NO_INDEXES = Columns(q=0, a=1, indexes=2, has_indexes=False)


@pytest.mark.parametrize("header", [("q", "a"), ("Q", "A"), (" q ", "\ta"), ("index", "content")])
def test_headers_without_index_texts(header: tuple[str, ...]) -> None:
    assert find_columns(header) == NO_INDEXES


@pytest.mark.parametrize(
    "header",
    [
        ("q", "a", "indexes"),
        ("q", "a", "Index"),
        ("q", "a", "indexes", "indexes", "index"),
        ("q", "a", "indexes", "", ""),
        ("q", "a", "", "indexes"),
        ("q", "a", "", ""),
        ("Index", "CONTENT", ""),
    ],
)
def test_headers_that_are_understood(header: tuple[str, ...]) -> None:
    assert find_columns(header) == COLUMNS


@pytest.mark.parametrize(
    "header",
    [
        ("question", "answer"),
        ("a", "q"),
        ("q",),
        ("a",),
        ("",),
        ("q", "", "a"),
        ("q", "a", "source"),
        ("q", "a", "indexes", "tags"),
        ("index", "content", "indexes"),
        ("content", "index"),
        ("index",),
        ("id", "q", "a"),
        ("q;a",),
        ("q\ta",),
        ("咖啡豆怎么保存？", "密封"),
    ],
)
def test_other_headers_are_refused_with_the_columns_there_are(header: tuple[str, ...]) -> None:
    with pytest.raises(MissingColumn) as raised:
        find_columns(header)
    message = raised.value.message
    for name in header:
        assert repr(name) in message
    assert "q,a" in message
    assert "index,content" in message


@pytest.mark.parametrize(
    ("cells", "draft"),
    [
        (("q", "a"), RecordDraft("q", "a")),
        (("q",), RecordDraft("q")),
        (("q", ""), RecordDraft("q")),
        ((" q\n", "\ta "), RecordDraft(" q\n", "\ta ")),
        (("q", "a", "i1"), RecordDraft("q", "a", ("i1",))),
        (("q", "a", " i1 ", "", "i2\n", " "), RecordDraft("q", "a", ("i1", "i2"))),
        (("q", "", "i1", "i1"), RecordDraft("q", "", ("i1", "i1"))),
        (("q", " "), RecordDraft("q", " ")),
    ],
)
def test_rows_become_records(cells: tuple[str, ...], draft: RecordDraft) -> None:
    assert to_draft(Row(7, cells), COLUMNS, 0) == draft


def test_a_record_knows_its_place() -> None:
    draft = to_draft(Row(7, ("q", "a")), COLUMNS, 41)
    assert isinstance(draft, RecordDraft)
    assert draft.chunk_index == 41


@pytest.mark.parametrize("q", ["", " ", "\n\t", "\u3000\xa0"])
@pytest.mark.parametrize("rest", [(), ("a",), ("a", "i")])
def test_a_row_without_q_is_a_problem_of_its_line(q: str, rest: tuple[str, ...]) -> None:
    assert to_draft(Row(7, (q, *rest)), COLUMNS, 0) == RowProblem(7, "q", "q is empty")


def test_equal_index_texts_are_one_passage() -> None:
    draft = to_draft(Row(2, ("q", "a", "i", "q\na", "i")), COLUMNS, 0)
    assert isinstance(draft, RecordDraft)
    assert draft.texts == ("q\na", "i")


def test_a_comma_without_quotes_is_told_and_not_made_an_index_text() -> None:
    problem = to_draft(Row(7, ("q", "first", " second")), NO_INDEXES, 0)
    assert isinstance(problem, RowProblem)
    assert (problem.line, problem.column) == (7, "cell 3")
    assert "3 cells, the header 2" in problem.reason
    assert to_draft(Row(8, ("q", "a", "", " ")), NO_INDEXES, 0) == RecordDraft("q", "a")
