"""Which column is what, what an index cell holds, and what is wrong with a row."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mapping import (
    NOTES,
    ColumnChoice,
    Columns,
    RowProblem,
    draft_all,
    find_columns,
    split_cell,
    texts_of,
    to_draft,
)
from ingest.rows import BrokenRow, Row
from retrieval.errors import InvalidRequest, MissingColumn
from retrieval.types import RecordDraft


def draft_of(header: str, *cells: str, choice: ColumnChoice | None = None) -> RecordDraft | RowProblem:
    """What a row becomes under a header, written with commas; ``""`` is none."""
    columns = find_columns(header.split(",") if header else (), choice or ColumnChoice())
    return to_draft(Row(7, cells), columns, 0)


# Headers


@pytest.mark.parametrize(
    ("header", "cells", "draft"),
    [
        ("q,a", ("Q", "A"), RecordDraft("Q", "A")),
        ("Q,A", ("Q", "A"), RecordDraft("Q", "A")),
        (" q ,\ta", ("Q", "A"), RecordDraft("Q", "A")),
        ("a,q", ("A", "Q"), RecordDraft("Q", "A")),
        ("q,a,indexes", ("Q", "A", "x"), RecordDraft("Q", "A", ("x",))),
        ("indexes,A,key,Q,Tags", ("x", "A", "k", "Q", "t"), RecordDraft("Q", "A", ("x",), key="k")),
        ("q,a,Index,INDEXES", ("Q", "A", "x", "y"), RecordDraft("Q", "A", ("x", "y"))),
        ("q,a,indexes", ("Q", "A", "x", "y", "z"), RecordDraft("Q", "A", ("x", "y", "z"))),
        ("q,a,indexes,,", ("Q", "A", "x", "y", "z", "é"), RecordDraft("Q", "A", ("x", "y", "z", "é"))),
        ("q,a,,", ("Q", "A", "x", "y"), RecordDraft("Q", "A", ("x", "y"))),
        ("q,,a", ("Q", "x", "A"), RecordDraft("Q", "A", ("x",))),
        ("index,content", ("Q", "A"), RecordDraft("Q", "A")),
        ("Content,INDEX", ("A", "Q"), RecordDraft("Q", "A")),
        ("index,content,", ("Q", "A", "x"), RecordDraft("Q", "A", ("x",))),
        ("index,content,,", ("Q", "A", "x", "y", "z"), RecordDraft("Q", "A", ("x", "y", "z"))),
        ("index,content,indexes,key", ("Q", "A", "x", "k"), RecordDraft("Q", "A", ("x",), key="k")),
        ("#line,#reason,q,a", ("12", "q is empty", "Q", "A"), RecordDraft("Q", "A")),
        ("#line,#reason,index,content", ("12", "bad", "Q", "A"), RecordDraft("Q", "A")),
        ("", ("Q", "A"), RecordDraft("Q", "A")),
        ("", ("Q", "A", "x", "y"), RecordDraft("Q", "A", ("x", "y"))),
        ("", ("Q",), RecordDraft("Q")),
    ],
)
def test_columns_are_known_by_their_names(header: str, cells: tuple[str, ...], draft: RecordDraft) -> None:
    made = draft_of(header, *cells)
    assert isinstance(made, RecordDraft)
    assert (made.q, made.a, made.indexes, made.key) == (draft.q, draft.a, draft.indexes, draft.key)
    assert made.metadata == ({"tags": ["t"]} if "Tags" in header else {})


ROLES = {"q": "Q", "a": "A", "indexes": "one", "key": "K", "tags": "T"}


@given(
    order=st.permutations(list(ROLES)),
    left_out=st.sets(st.sampled_from(["indexes", "key", "tags"])),
    spelling=st.sampled_from([str.upper, str.lower, str.title, lambda name: f" {name}\t"]),
)
def test_any_order_and_any_case(order: list[str], left_out: set[str], spelling: object) -> None:
    assert callable(spelling)
    names = [name for name in order if name not in left_out]
    made = to_draft(
        Row(2, tuple(ROLES[name] for name in names)), find_columns([spelling(name) for name in names]), 0
    )
    assert isinstance(made, RecordDraft)
    assert (made.q, made.a) == ("Q", "A")
    assert made.indexes == (() if "indexes" in left_out else ("one",))
    assert made.key == ("" if "key" in left_out else "K")
    assert made.metadata == ({} if "tags" in left_out else {"tags": ["T"]})


@pytest.mark.parametrize(
    "header",
    [
        "question,answer",
        "q",
        "a",
        "q,source",
        "q,a,source",
        "q,a,indexes,author",
        "q,content",
        "index,a",
        "index",
        "content",
        "q,a,index,content",
        "id,q,a",
        "q;a",
        "q\ta",
        "#line,#reason",
        "#lines,q,a",
        ",",
        "How is it kept?,Dry.",
    ],
)
def test_other_headers_are_refused_with_the_columns_there_are(header: str) -> None:
    with pytest.raises(MissingColumn) as raised:
        find_columns(header.split(","))
    message = raised.value.message
    assert ", ".join(repr(name) for name in header.split(",")) in message
    for form in ("q,a,indexes", "index,content", "--q", "--meta"):
        assert form in message


@pytest.mark.parametrize(
    "header",
    ["q,a,q", "a,q,A", "q,a,key,Key", "tags,q,a,tags", "index,content,index", "index,content,content"],
)
def test_a_name_that_two_columns_have_is_refused(header: str) -> None:
    with pytest.raises(MissingColumn, match=r"2 columns are named .*rename them"):
        find_columns(header.split(","))


def test_nothing_is_ignored_unasked() -> None:
    assert find_columns(["q", "a", "indexes", "", "key", "tags", *NOTES]).ignored == ()


# Choices


@pytest.mark.parametrize(
    ("header", "choice", "cells", "draft", "ignored"),
    [
        (
            "id,question,answer,author",
            ColumnChoice(q="question", a="answer"),
            ("7", "Q", "A", "me"),
            RecordDraft("Q", "A"),
            ("id", "author"),
        ),
        (
            "id,Question,answer,author",
            ColumnChoice(q=" QUESTION", a="3", key="1"),
            ("7", "Q", "A", "me"),
            RecordDraft("Q", "A", key="7"),
            ("author",),
        ),
        (
            "q,a,hint,more,source",
            ColumnChoice(indexes=("hint", "4")),
            ("Q", "A", "x", "y", "web"),
            RecordDraft("Q", "A", ("x", "y")),
            ("source",),
        ),
        ("q,a,source", ColumnChoice(a="source"), ("Q", "A", "S"), RecordDraft("Q", "S"), ("a",)),
        ("a,b", ColumnChoice(q="a"), ("Q", "B"), RecordDraft("Q"), ("b",)),
        ("q,index", ColumnChoice(a="index"), ("Q", "A"), RecordDraft("Q", "A"), ()),
        ("key,text", ColumnChoice(q="key", a="text"), ("Q", "A"), RecordDraft("Q", "A"), ()),
        (
            "q,a,indexes,source",
            ColumnChoice(a="a"),
            ("Q", "A", "x", "s"),
            RecordDraft("Q", "A", ("x",)),
            ("source",),
        ),
        ("text,text", ColumnChoice(q="2", a="1"), ("A", "Q"), RecordDraft("Q", "A"), ()),
        ("a,a,q", ColumnChoice(a="2"), ("no", "A", "Q"), RecordDraft("Q", "A"), ("a",)),
        ("2,1", ColumnChoice(q="1", a="2"), ("A", "Q"), RecordDraft("Q", "A"), ()),
        ("", ColumnChoice(q="2"), ("no", "Q", "no"), RecordDraft("Q"), ()),
        ("", ColumnChoice(q="3", a="1", indexes=("2",)), ("A", "x", "Q"), RecordDraft("Q", "A", ("x",)), ()),
        ("", ColumnChoice(q="1", a="9"), ("Q", "no"), RecordDraft("Q"), ()),
        (
            "#line,#reason,id,text",
            ColumnChoice(q="2", key="1"),
            ("12", "q is empty", "7", "Q"),
            RecordDraft("Q", key="7"),
            (),
        ),
    ],
)
def test_columns_that_were_chosen(
    header: str, choice: ColumnChoice, cells: tuple[str, ...], draft: RecordDraft, ignored: tuple[str, ...]
) -> None:
    assert draft_of(header, *cells, choice=choice) == draft
    assert find_columns(header.split(",") if header else (), choice).ignored == ignored


def test_cells_beyond_the_header_are_texts_only_after_a_column_of_them() -> None:
    choice = ColumnChoice(indexes=("more",))
    assert draft_of("q,a,more", "Q", "A", "x", "y", choice=choice) == RecordDraft("Q", "A", ("x", "y"))
    problem = draft_of("more,q,a", "x", "Q", "A", "y", choice=choice)
    assert isinstance(problem, RowProblem)
    assert problem.column == "cell 4"


@pytest.mark.parametrize(
    ("header", "choice", "said"),
    [
        ("q,a", ColumnChoice(key="id"), r"no column 'id' for key: the header has 'q', 'a'"),
        ("q,a", ColumnChoice(q="0"), r"no column '0' for q"),
        ("q,a", ColumnChoice(q="3"), r"no column '3' for q"),
        ("q,a", ColumnChoice(q="²"), r"no column '²' for q"),
        ("q,a", ColumnChoice(q="1" * 5000), r"no column '1+' for q"),
        ("#line,#reason,q,a", ColumnChoice(q="3"), r"no column '3' for q"),
        ("q,a", ColumnChoice(indexes=("a", "b")), r"no column 'b' for index"),
        ("q,a", ColumnChoice(metadata=("source",)), r"no column 'source' for meta"),
        ("", ColumnChoice(q="question"), r"no column 'question' for q: the header has none"),
        ("text,a", ColumnChoice(a="a"), r"no column is q: the header has 'text', 'a'; name one by --q"),
        ("x,X", ColumnChoice(q="x"), r"2 columns are named 'x'"),
    ],
)
def test_a_chosen_column_that_is_not_there(header: str, choice: ColumnChoice, said: str) -> None:
    with pytest.raises(MissingColumn, match=said):
        find_columns(header.split(",") if header else (), choice)


@pytest.mark.parametrize(
    "choice",
    [
        ColumnChoice(q="x", a="x"),
        ColumnChoice(q="x", key="1"),
        ColumnChoice(q="y", indexes=("x", "x")),
        ColumnChoice(q="x", indexes=("x",)),
    ],
)
def test_a_column_has_one_role(choice: ColumnChoice) -> None:
    with pytest.raises(InvalidRequest, match="column 'x' is chosen for two roles"):
        find_columns(["x", "y"], choice)


# Key, tags, metadata


def test_tags_are_cut_and_metadata_keeps_its_names() -> None:
    choice = ColumnChoice(tags="labels", metadata=("source", "LABELS", "empty"))
    made = draft_of(
        "q,a,labels,Source,empty", "Q", "A", " hot , cold；；warm|x\n", " web ", "", choice=choice
    )
    assert isinstance(made, RecordDraft)
    assert made.metadata == {
        "Source": " web ",
        "labels": " hot , cold；；warm|x\n",
        "tags": ["hot", "cold", "warm", "x"],
    }


def test_metadata_of_a_table_without_header_is_named_by_position() -> None:
    made = draft_of("", "Q", "A", "web", choice=ColumnChoice(q="1", a="2", metadata=("3",)))
    assert isinstance(made, RecordDraft)
    assert made.metadata == {"3": "web"}


def test_a_column_chosen_for_something_else_has_no_role_by_its_name() -> None:
    made = draft_of("q,a,key,tags", "Q", "A", "k", "t", choice=ColumnChoice(metadata=("key", "tags")))
    assert isinstance(made, RecordDraft)
    assert (made.key, made.metadata) == ("", {"key": "k", "tags": "t"})


@pytest.mark.parametrize("key", ["", " ", "\t\n"])
def test_a_row_without_a_key_is_a_problem_where_there_is_a_column(key: str) -> None:
    assert draft_of("q,a,key", "Q", "A", key) == RowProblem(7, "key", "the key is empty")
    assert draft_of("key,q,a", key, "Q") == RowProblem(7, "key", "the key is empty")


def test_white_space_around_a_key_does_not_count() -> None:
    made = draft_of("q,a,key", "Q", "A", " k 1\n")
    assert isinstance(made, RecordDraft)
    assert made.key == "k 1"


def outcomes(*keys: str) -> list[str | RowProblem]:
    """Keys of drafts, or problems, of rows from line 2 on; a key ``!`` has no q, ``?`` is broken."""
    rows: list[Row | BrokenRow] = [
        BrokenRow(line, "broken", "text")
        if key == "?"
        else Row(line, ("" if key == "!" else f"q{line}", key))
        for line, key in enumerate(keys, start=2)
    ]
    made = draft_all(iter(rows), find_columns(["q", "key"], ColumnChoice(q="q")))
    return [one.key if isinstance(one, RecordDraft) else one for one in made]


def test_the_second_row_of_a_key_names_the_first() -> None:
    assert outcomes("k", "other", "k ", "k") == [
        "k",
        "other",
        RowProblem(4, "key", "the key 'k' is that of line 2 already"),
        RowProblem(5, "key", "the key 'k' is that of line 2 already"),
    ]


def test_only_rows_that_become_records_have_their_keys() -> None:
    rejected = [RowProblem(2, "q", "q is empty"), RowProblem(3, "", "broken")]
    assert outcomes("!", "?", "!", "k") == [*rejected, RowProblem(4, "q", "q is empty"), "k"]


def test_places_count_all_rows() -> None:
    rows: list[Row | BrokenRow] = [
        Row(2, ("q1",)),
        BrokenRow(3, "broken", ""),
        Row(4, ("",)),
        Row(9, ("q2",)),
    ]
    made = list(draft_all(iter(rows), find_columns(["q", "a"])))
    assert made == [
        RecordDraft("q1", chunk_index=0),
        RowProblem(3, "", "broken"),
        RowProblem(4, "q", "q is empty"),
        RecordDraft("q2", chunk_index=3),
    ]


# Rows


@pytest.mark.parametrize(
    ("cells", "draft"),
    [
        (("q",), RecordDraft("q")),
        (("q", ""), RecordDraft("q")),
        (("q", " "), RecordDraft("q", " ")),
        ((" q\n", "\ta "), RecordDraft(" q\n", "\ta ")),
        (("q\0", "\0"), RecordDraft("q\0", "\0")),
        (("1. q 2. r", "- a\n- b"), RecordDraft("1. q 2. r", "- a\n- b")),
        (("q", "a", " x ", "", "y\n", " "), RecordDraft("q", "a", ("x", "y"))),
        (("q", "", "x", "x"), RecordDraft("q", "", ("x", "x"))),
    ],
)
def test_q_and_a_are_taken_to_the_letter(cells: tuple[str, ...], draft: RecordDraft) -> None:
    assert draft_of("q,a,indexes", *cells) == draft


@pytest.mark.parametrize("q", ["", " ", "\n\t", "\u3000\xa0", "\x1f"])
@pytest.mark.parametrize("rest", [(), ("a",), ("a", "i")])
def test_a_row_without_q_is_a_problem_of_its_line(q: str, rest: tuple[str, ...]) -> None:
    assert draft_of("q,a,indexes", q, *rest) == RowProblem(7, "q", "q is empty")


def test_a_row_that_ends_before_q_has_none() -> None:
    assert draft_of("a,q", "A") == RowProblem(7, "q", "q is empty")


def test_a_broken_row_is_a_problem() -> None:
    broken = BrokenRow(7, "the quoting is broken", 'x"y')
    assert to_draft(broken, Columns(0, 1), 0) == RowProblem(7, "", "the quoting is broken")


def test_a_comma_without_quotes_is_told_and_not_made_an_index_text() -> None:
    assert draft_of("q,a", "q", "first", " second", "third") == RowProblem(
        7, "cell 3", "the row has 4 cells, the header 2: put cells with delimiters in quotes"
    )
    assert draft_of("q,a", "q", "a", "", " ") == RecordDraft("q", "a")
    problem = draft_of("q,a,indexes,key", "q", "a", "i", "k", "more")
    assert isinstance(problem, RowProblem)
    assert problem.column == "cell 5"


# Index cells


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("", ()),
        (" \n ", ()),
        ("one", ("one",)),
        (" one, two; three ", ("one, two; three",)),
        ("1. one", ("1. one",)),
        ("1. one 2. two", ("one", "two")),
        ("1.one 2.two 3.three", ("one", "two", "three")),
        ("1) one; 2) two;", ("one", "two")),
        ("1、一；2、二；3、三", ("一", "二", "三")),
        ("1）一。2）二", ("一。", "二")),
        ("１．一\n２．二", ("一", "二")),
        ("1. one\n   more\n2. two", ("one\n   more", "two")),
        ("1. one 3. three 2. two", ("one 3. three", "two")),
        ("1. has 2 parts 2. has none", ("has 2 parts", "has none")),
        ("1. costs 2.5 2. is free", ("costs 2.5", "is free")),
        ("1. version 2.0", ("1. version 2.0",)),
        ("1、2023 年；2、2024 年", ("2023 年", "2024 年")),
        ("1.5 mg or 2.5 mg", ("1.5 mg or 2.5 mg",)),
        ("2. two 3. three", ("2. two 3. three",)),
        ("0. zero 1. one", ("0. zero 1. one",)),
        ("see 1. one 2. two", ("see 1. one 2. two",)),
        ("1. 2. two", ("two",)),
        ("1. 2. ", ("1. 2.",)),
        (" ".join(f"{n}. t{n}" for n in range(1, 13)), tuple(f"t{n}" for n in range(1, 13))),
        ("- one\n- two", ("one", "two")),
        ("* one\r\n\r\n• two\n· three", ("one", "two", "three")),
        ("- one\ntwo", ("- one", "two")),
        ("- one", ("- one",)),
        ("-5 °C\n-7 °C", ("-5 °C", "-7 °C")),
        ("one\n\n two \r\nthree\r", ("one", "two", "three")),
    ],
)
def test_what_a_cell_alone_is_split_into(cell: str, texts: tuple[str, ...]) -> None:
    assert split_cell(cell) == texts
    assert draft_of("q,a,indexes", "Q", "A", cell) == RecordDraft("Q", "A", texts)


def letters_of(text: str) -> list[str]:
    return [letter for letter in text if letter.isalpha()]


@given(st.text("ab1２. )、；;\n-•\t\u2028", max_size=40))
def test_splitting_loses_no_letter(cell: str) -> None:
    texts = split_cell(cell)
    assert letters_of(cell) == letters_of("".join(texts))
    assert all(text and text == text.strip() for text in texts)


COUNTED = st.lists(
    st.text("abc ?", min_size=1, max_size=8).filter(lambda t: t.strip()), min_size=2, max_size=12
)


@given(COUNTED)
def test_numbers_bullets_and_lines_say_the_same(texts: list[str]) -> None:
    expected = tuple(text.strip() for text in texts)
    assert split_cell(" ".join(f"{n}. {text}" for n, text in enumerate(texts, 1))) == expected
    assert split_cell("\n".join(f"- {text}" for text in texts)) == expected
    assert split_cell("\n".join(texts)) == expected


LIST = "1. one 2. two"


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        ((LIST,), ("one", "two")),
        ((LIST, ""), (LIST,)),
        (("", LIST), (LIST,)),
        ((LIST, "x"), (LIST, "x")),
        (("one\ntwo", " "), ("one\ntwo",)),
    ],
)
def test_a_cell_with_others_beside_it_is_one_text(cells: Sequence[str], texts: tuple[str, ...]) -> None:
    for header in (["q", "a", "indexes"], ["q", "a", "indexes", ""], ["q", "a", "", ""], []):
        assert texts_of(Row(2, ("Q", "A", *cells)), find_columns(header)) == texts


def test_with_two_columns_a_cell_alone_in_its_row_is_split() -> None:
    """Workbooks leave out what is empty at the end of a row."""
    assert texts_of(Row(2, ("Q", "A", LIST)), find_columns(["q", "a", "index", "index"])) == ("one", "two")


@pytest.mark.parametrize("cell", [LIST, "- one\n- two", "one\ntwo"])
def test_what_says_by_itself_what_its_texts_are_is_never_split(cell: str) -> None:
    columns = find_columns(["q", "a", "indexes"], splits=False)
    assert texts_of(Row(2, ("Q", "A", cell)), columns) == (cell,)
    columns = find_columns(["q", "a", "x"], ColumnChoice(indexes=("x",)), splits=False)
    assert texts_of(Row(2, ("Q", "A", cell)), columns) == (cell,)


def test_equal_index_texts_are_one_passage() -> None:
    draft = draft_of("q,a,indexes", "q", "a", "i", "q\na", "i")
    assert isinstance(draft, RecordDraft)
    assert draft.texts == ("q\na", "i")
