"""Delimited text: line ends, quoting, blank rows, and records that are broken."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ingest.delimited
import ingest.lines
from ingest.tables import BrokenRow, Row, Table, TableOptions, open_table
from retrieval.errors import UnreadableFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


@contextmanager
def table_of(file: Path, content: bytes | str, options: TableOptions = TableOptions()) -> Iterator[Table]:  # noqa: B008
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_table(file, "shown.csv", options) as table:
        yield table


def all_of(file: Path, content: bytes | str) -> list[Row | BrokenRow]:
    with table_of(file, content) as table:
        return list(table.rows)


def rows_of(file: Path, content: bytes | str) -> list[tuple[int, tuple[str, ...]]]:
    """All rows; none of them is broken."""
    found = []
    for row in all_of(file, content):
        assert isinstance(row, Row)
        found.append((row.line, row.cells))
    return found


def refusal_of(file: Path, content: bytes | str) -> str:
    with pytest.raises(UnreadableFile) as raised:
        all_of(file, content)
    assert raised.value.message.startswith("shown.csv")
    return raised.value.message


def test_header_and_rows_with_their_lines(file: Path) -> None:
    with table_of(file, "q,a\nq1,a1\nq2,a2\n") as table:
        assert table.header == ("q", "a")
        assert [(row.line, row.cells) for row in table.rows] == [(2, ("q1", "a1")), (3, ("q2", "a2"))]


def test_a_last_line_without_an_end_is_a_row(file: Path) -> None:
    assert rows_of(file, "q,a\nq1,a1") == [(2, ("q1", "a1"))]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(file: Path, end: str) -> None:
    lines = ["q,a", "q1,a1", f'"two{end}lines",a2', "", "q3,a3", ""]
    assert rows_of(file, end.join(lines)) == [
        (2, ("q1", "a1")),
        (3, (f"two{end}lines", "a2")),
        (6, ("q3", "a3")),
    ]


def test_mixed_line_ends(file: Path) -> None:
    assert rows_of(file, "q,a\r\nq1,a1\rq2,a2\nq3,a3") == [
        (2, ("q1", "a1")),
        (3, ("q2", "a2")),
        (4, ("q3", "a3")),
    ]


def test_quoted_newlines_count_as_lines(file: Path) -> None:
    content = 'q,a\n"one\n\n\nquestion","an\nanswer"\nq2,a2\n\n\n"q3\n",a3\nq4,a4\n'
    assert rows_of(file, content) == [
        (2, ("one\n\n\nquestion", "an\nanswer")),
        (7, ("q2", "a2")),
        (10, ("q3\n", "a3")),
        (12, ("q4", "a4")),
    ]


def test_quotes_commas_and_spaces_are_kept_to_the_letter(file: Path) -> None:
    content = 'q,a\n"say ""hi"", please", spaced \nit\'s "quoted" inside,"",\n'
    assert rows_of(file, content) == [
        (2, ('say "hi", please', " spaced ")),
        (3, ('it\'s "quoted" inside', "", "")),
    ]


@pytest.mark.parametrize("blank", ["", " ", ",", " , ,\t", '""', '"","  "', '"\n"', "\u3000,\xa0"])
def test_blank_rows_are_left_out(file: Path, blank: str) -> None:
    rows = rows_of(file, f"q,a\n{blank}\nq1,a1\n{blank}\n")
    assert [cells for _, cells in rows] == [("q1", "a1")]
    assert rows[0][0] == 3 + blank.count("\n")


def test_blank_lines_before_the_header(file: Path) -> None:
    with table_of(file, "\n\n,\nq,a\nq1,a1\n") as table:
        assert table.header == ("q", "a")
        assert [row.line for row in table.rows] == [5]


@pytest.mark.parametrize(
    "mark", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1c", "\x1d", "\x1e", "\ufeff", "\u200b"]
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_unusual_separators_do_not_split_rows(file: Path, mark: str, quote: str) -> None:
    cell = f"before{mark}after"
    content = f"q,a\n{quote}{cell}{quote},{cell}\nq2,a2\n"
    assert rows_of(file, content) == [(2, (cell, cell)), (3, ("q2", "a2"))]


@pytest.mark.parametrize("quote", ["", '"'])
def test_cells_of_any_size(file: Path, quote: str) -> None:
    cell = "咖啡 coffee " * 30_000
    assert len(cell.encode()) > 300_000
    assert rows_of(file, f"q,a\n{quote}{cell}{quote},a1\nq2,{cell}\n") == [
        (2, (cell, "a1")),
        (3, ("q2", cell)),
    ]


def test_ragged_rows_are_given_as_they_are(file: Path) -> None:
    assert rows_of(file, "q,a\nonly\none,two,three,four\n") == [
        (2, ("only",)),
        (3, ("one", "two", "three", "four")),
    ]


def test_a_header_alone_has_no_rows(file: Path) -> None:
    with table_of(file, "q,a\n") as table:
        assert (table.header, list(table.rows)) == (("q", "a"), [])


def test_rows_are_read_as_they_are_asked_for(file: Path) -> None:
    content = "q,a\n" + "question,answer\n" * 200_000
    with table_of(file, content) as table:
        next(table.rows)
        assert table.share_read < 0.5
        for _ in range(100_000):
            next(table.rows)
        assert 0.4 < table.share_read < 0.8
        assert sum(1 for _ in table.rows) == 99_999
        assert table.share_read == 1.0


# Blank rows


def test_blank_rows_are_counted_and_empty_lines_are_not(file: Path) -> None:
    with table_of(file, '\n , \nq,a\n\n,\nq1,a1\n""\n\u3000\n\n') as table:
        assert table.header == ("q", "a")
        assert table.blank == 1
        assert [row.line for row in table.rows] == [6]
        assert table.blank == 4


def test_a_row_with_anything_in_it_is_not_blank(file: Path) -> None:
    assert rows_of(file, "q,a\n , x\n,\0\n\ufeff,\n") == [
        (2, (" ", " x")),
        (3, ("", "\0")),
        (4, ("\ufeff", "")),
    ]


# Records that are broken


def test_text_after_a_closing_quote_on_one_line_is_read_leniently(file: Path) -> None:
    content = 'q,a\n"closed" too early,a1\n"two ""words"""x, "a2" \nq3,a3\n'
    assert rows_of(file, content) == [
        (2, ("closed too early", "a1")),
        (3, ('two "words"x', ' "a2" ')),
        (4, ("q3", "a3")),
    ]


def test_an_open_quote_before_good_rows_costs_its_line_only(file: Path) -> None:
    content = 'q,a\nq1,a1\nq2,"never closed\nq3,"a, 3"\nq4,a4\n'
    kinds = all_of(file, content)
    assert [(type(row), row.line) for row in kinds] == [(Row, 2), (BrokenRow, 3), (Row, 4), (Row, 5)]
    assert kinds[2:] == [Row(4, ("q3", "a, 3")), Row(5, ("q4", "a4"))]
    assert isinstance(kinds[1], BrokenRow)
    assert kinds[1].text == 'q2,"never closed'
    assert "is opened and not closed on its line" in kinds[1].reason


def test_an_open_quote_and_no_other_to_the_end_costs_its_line_only(file: Path) -> None:
    rows = all_of(file, 'q,a\n"never closed,a1\nq2,a2\n\nq3,a3\n')
    assert [row.line for row in rows] == [2, 3, 5]
    assert isinstance(rows[0], BrokenRow)
    assert rows[1:] == [Row(3, ("q2", "a2")), Row(5, ("q3", "a3"))]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('q,a\nq1,a1\n"never closed,a2\nq3,a3\nragged\n', 3),
        ('q,a\nq1,a1\nq2,"begun, and cut off in\nthe middle of, a text', 3),
        ('text\none\n"two\nthree\n', 3),
        ('"q,a\nq1,a1\n', 1),
    ],
)
def test_an_open_quote_that_rows_after_it_do_not_prove_refuses_the_file(
    file: Path, content: str, line: int
) -> None:
    content = content.replace("the middle of, a text", "the middle of it")
    assert refusal_of(file, content).startswith(f"shown.csv, line {line}: a quote is opened and never closed")


def test_an_open_quote_before_a_row_of_several_lines_costs_its_line_only(file: Path) -> None:
    rows = all_of(file, 'q,a\n"open,a1\nq2,a2\nq3,"two\nlines"\nq4,a4\nq5,"open too\nq6,"a\n6"\nq7,a7\n')
    broken = [row for row in rows if isinstance(row, BrokenRow)]
    assert [(row.line, row.text) for row in broken] == [(2, '"open,a1'), (7, 'q5,"open too')]
    assert [row for row in rows if isinstance(row, Row)] == [
        Row(3, ("q2", "a2")),
        Row(4, ("q3", "two\nlines")),
        Row(6, ("q4", "a4")),
        Row(8, ("q6", "a\n6")),
        Row(10, ("q7", "a7")),
    ]


def test_a_broken_record_of_several_lines_is_told_with_all_of_them(file: Path) -> None:
    rows = all_of(file, 'q,a\nq1,a1\n"two\nlines"x,a2\nq3,a3\n')
    assert rows[0] == Row(2, ("q1", "a1"))
    assert isinstance(rows[1], BrokenRow)
    assert (rows[1].line, rows[1].text) == (3, '"two\nlines"x,a2')
    assert "text follows a closing quote in lines 3 to 4;" in rows[1].reason
    assert rows[2:] == [Row(5, ("q3", "a3"))]


def test_what_follows_a_broken_record_is_a_row_only_if_it_looks_like_one(file: Path) -> None:
    rows = all_of(file, 'q,a\nq1,a1\n"he said\n"yes"\nand no",a2\n\nq3,a3\n"q4",\n')
    assert isinstance(rows[1], BrokenRow)
    assert (rows[1].line, rows[1].text) == (3, '"he said\n"yes"\nand no",a2')
    assert "in lines 3 to 6;" in rows[1].reason
    assert rows[2:] == [Row(7, ("q3", "a3")), Row(8, ("q4", ""))]


def test_a_quote_left_open_on_the_last_line(file: Path) -> None:
    rows = all_of(file, 'q,a\nq1,a1\nq2,"a2')
    assert rows[0] == Row(2, ("q1", "a1"))
    assert isinstance(rows[1], BrokenRow)
    assert (rows[1].line, rows[1].text) == (3, 'q2,"a2')


def test_a_broken_row_is_shown_shortened(file: Path) -> None:
    (row,) = all_of(file, 'q,a\nq1,"' + "long" * 3000)
    assert isinstance(row, BrokenRow)
    assert row.text == 'q1,"' + "long" * 1023


def test_a_broken_header_refuses_the_file(file: Path) -> None:
    assert refusal_of(file, '"q\nx"y,a\nq1,a1\n').startswith("shown.csv, line 1: the header cannot be read")
    assert refusal_of(file, '\n"q\n').startswith("shown.csv, line 2: the header cannot be read")
    with table_of(file, '"q\nx"y,a\nq1,a1\n', TableOptions(has_header=False)) as table:
        first, second = table.rows
    assert isinstance(first, BrokenRow)
    assert second == Row(3, ("q1", "a1"))


def test_a_cell_beyond_the_limit_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.tables.MAX_CELL", 1000)
    monkeypatch.setattr("ingest.delimited.MAX_CELL", 1000)
    assert len(rows_of(file, f'q,a\nq1,"{"x" * 999}\n"\n')[0][1][1]) == 1000
    message = refusal_of(file, f'q,a\nq1,"{"x" * 1000}\n"\n')
    assert message.startswith("shown.csv, line 2: a cell is longer than 1,000 characters")


def test_a_line_beyond_the_limit_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.lines, "MAX_CELL", 3 << 20)
    short, long = f"q,a\nq1,{'x' * (2 << 20)}\n", f"q,a\nq1,{'x' * (5 << 20)}\n"
    assert len(rows_of(file, short)) == 1
    assert refusal_of(file, long).startswith("shown.csv, line 2 is longer than")


# What was written is read


ANY_CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.text(
    '",;\t|\r\n\\a \0', max_size=8
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030", "utf-8-sig", "utf-32"])
@given(
    rows=st.lists(st.lists(ANY_CELL, min_size=1, max_size=4), max_size=6),
    delimiter=st.sampled_from([",", ";", "\t", "|", "🦆", "^", "¦"]),
    # Python's writer quotes line ends reliably only if they are in its own or if all is quoted.
    form=st.sampled_from(
        [
            ("\r\n", csv.QUOTE_MINIMAL),
            ("\r\n", csv.QUOTE_ALL),
            ("\n", csv.QUOTE_ALL),
            ("\r", csv.QUOTE_ALL),
        ]
    ),
)
def test_what_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    encoding: str,
    rows: list[list[str]],
    delimiter: str,
    form: tuple[str, int],
) -> None:
    text = io.StringIO()
    end, quoting = form
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    starts = []
    for row in [["header", "second"], *rows]:
        starts.append(1 + len(io.StringIO(text.getvalue(), newline="").readlines()))
        writer.writerow(row)
    kept = [
        Row(line, tuple(row))
        for line, row in zip(starts[1:], rows, strict=True)
        if any(cell.strip() for cell in row)
    ]
    file = tmp_path_factory.mktemp("rows") / "file.csv"
    file.write_bytes(text.getvalue().encode(encoding))
    with open_table(file, "file.csv", TableOptions(encoding=encoding, delimiter=delimiter)) as table:
        assert list(table.rows) == kept
        assert table.blank == sum(any(row) or len(row) > 1 or row == [""] for row in rows) - len(kept)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@given(rows=st.lists(st.tuples(ANY_CELL, ANY_CELL, ANY_CELL), min_size=1, max_size=6))
def test_what_a_csv_writer_writes_is_detected(
    tmp_path_factory: pytest.TempPathFactory, delimiter: str, rows: list[tuple[str, ...]]
) -> None:
    """With names in the header that settle the delimiter."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("q", "a", "indexes"), *rows])
    file = tmp_path_factory.mktemp("rows") / "file.csv"
    file.write_bytes(text.getvalue().encode("utf-16"))
    with open_table(file, "file.csv") as table:
        assert table.delimiter == delimiter
        assert [row.cells for row in table.rows if isinstance(row, Row)] == [
            row for row in rows if any(cell.strip() for cell in row)
        ]


@given(content=st.text('",\na;\\', max_size=40))
def test_no_line_is_lost(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    """However broken: every letter is in a row, in a broken row, or the file is refused."""
    file = tmp_path_factory.mktemp("rows") / "file.csv"
    file.write_text(content, newline="")
    try:
        with open_table(file, "file.csv", TableOptions(delimiter=",", has_header=False)) as table:
            rows = list(table.rows)
    except UnreadableFile:
        return
    found = "".join("".join(row.cells) if isinstance(row, Row) else row.text for row in rows)
    assert found.count("a") == content.count("a")
    assert [row.line for row in rows] == sorted({row.line for row in rows})
