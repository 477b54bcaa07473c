"""Dialects: which delimiter, and whether backslashes escape."""

import pytest

from ingest.dialects import Dialect, detect_dialect
from retrieval.errors import InvalidRequest


def dialect_of(text: str, delimiter: str | None = None, is_all: bool = True) -> Dialect:
    return detect_dialect(text.splitlines(keepends=True), delimiter, is_all)


def records_of(text: str) -> list[list[str]]:
    return list(dialect_of(text).read(text.splitlines(keepends=True), strict=True))


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize(
    "rows",
    [
        ["name", "city", "age"],
        ["question", "first, second; third | fourth\tfifth"],
        ['"a ""quoted"" cell"', '"with\nlines, and; others"'],
        ["", "", ""],
        ["12,5", "3,00", "1,1"],
    ],
)
def test_even_records_tell_the_delimiter(delimiter: str, rows: list[str]) -> None:
    cells = [cell if cell.startswith('"') else cell.replace(delimiter, " ") for cell in rows]
    text = delimiter.join(f"column {place}" for place in range(len(rows))) + "\n"
    text += (delimiter.join(cells) + "\n") * 5
    assert dialect_of(text) == Dialect(delimiter)


@pytest.mark.parametrize("text", ["", "\n", "x\n", "text\none\ntwo\n", "text\none, two\nthree: four\n"])
def test_a_comma_where_nothing_tells(text: str) -> None:
    assert dialect_of(text) == Dialect(",")


@pytest.mark.parametrize(
    "header", ["q{}a", "Q{}A{}indexes", " q {}a", "index{}content", '"q"{}"a"', "\n{}\nq{}a"]
)
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_names_in_the_header_decide(header: str, delimiter: str) -> None:
    text = header.replace("{}", delimiter) + "\n" + "one, two; three|four\tfive\n" * 9
    assert dialect_of(text) == Dialect(delimiter)


def test_titles_above_the_header_decide_nothing() -> None:
    text = "Prices of the year\nmade by hand, on Monday\n\n" + "a;b;c;d\n1,5;2;3;4\n" * 4
    assert dialect_of(text) == Dialect(";")


def test_a_record_that_is_cut_does_not_count() -> None:
    text = 'a;b\n1;2\n3;4\n5;"six, seven\neight, nine\n'
    assert dialect_of(text, is_all=False) == Dialect(";")


@pytest.mark.parametrize(
    ("given", "delimiter"),
    [
        (",", ","),
        ("tab", "\t"),
        ("TAB", "\t"),
        ("\\t", "\t"),
        ("\t", "\t"),
        ("🦆", "🦆"),
        ("^", "^"),
        ("\\", "\\"),
        (" ", " "),
    ],
)
def test_a_delimiter_that_is_given_is_taken(given: str, delimiter: str) -> None:
    assert dialect_of('a;b\n1;"2\\"3"\n', given) in (Dialect(delimiter), Dialect(delimiter, "\\"))


@pytest.mark.parametrize("given", ["", "ab", '"', "\n", "\r", "tabs", "\\n"])
def test_what_cannot_be_a_delimiter_is_named(given: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        dialect_of("a,b\n", given)
    assert repr(given) in raised.value.message
    assert raised.value.param == "delimiter"


# Backslashes


def test_backslashes_escape_quotes_where_quotes_are_broken_otherwise() -> None:
    text = 'q,a\n"say \\"hi, you\\" twice","two\n\\"lines\\""\nplain,"a ""doubled"" one"\n'
    assert dialect_of(text) == Dialect(",", "\\")
    assert records_of(text) == [
        ["q", "a"],
        ['say "hi, you" twice', 'two\n"lines"'],
        ["plain", 'a "doubled" one'],
    ]


def test_with_escapes_other_backslashes_stay() -> None:
    text = 'q,a\n"a \\"b\\" c",C:\\new\\table\n"C:\\dir\\\\",one\\, two\n\\d+,"\\u00e9"\n'
    assert records_of(text) == [
        ["q", "a"],
        ['a "b" c', "C:\\new\\table"],
        ["C:\\dir\\", "one, two"],
        ["\\d+", "\\u00e9"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        'q,a\n"C:\\dir\\","x"\n"y\\","z"\n',
        "q,a\n\\,\\\nC:\\,x\n",
        'q,a\n"""\\""",x\n',
        'q,a\n"\\""","x"\n',
        'q,a\n"broken" quote,C:\\\n',
    ],
)
def test_backslashes_are_letters_where_quotes_are_whole_without_them(text: str) -> None:
    assert dialect_of(text) == Dialect(",")


def test_the_notes_of_rejected_rows_decide_too() -> None:
    assert dialect_of("#line,#reason,q,a\n2,x,a|b|c,d|e|f\n3,x,a|b|c,d|e|f\n").delimiter == ","
