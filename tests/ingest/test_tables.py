"""Tables of every kind through the one door, and a collection of nasty files from other projects."""

import csv
from pathlib import Path

import pytest

from ingest.tables import BrokenRow, Row, Table, TableOptions, open_table
from retrieval.errors import InvalidRequest, UnreadableFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


def refusal_of(path: Path, name: str = "shown.csv", options: TableOptions = TableOptions()) -> str:  # noqa: B008
    with pytest.raises(UnreadableFile) as raised, open_table(path, name, options) as table:
        list(table.rows)
    return raised.value.message


def test_what_a_table_tells(file: Path) -> None:
    file.write_bytes("q;a\n问;答\n;\n\nx;y\n".encode("gb18030"))
    with open_table(file, "shown.csv") as table:
        assert (table.kind, table.encoding, table.delimiter) == ("csv", "gb18030", ";")
        assert table.header == ("q", "a")
        assert list(table.rows) == [Row(2, ("问", "答")), Row(5, ("x", "y"))]
        assert (table.blank, table.replaced, table.share_read) == (1, 0, 1.0)
        assert list(table.rows) == []


def test_options_come_before_detection(file: Path) -> None:
    file.write_bytes("q,a;b\nприём,x;y\n".encode("koi8-r"))
    with open_table(file, "shown.csv", TableOptions("koi8-r", "tab", has_header=False)) as table:
        assert (table.encoding, table.delimiter, table.header) == ("koi8-r", "\t", ())
        assert list(table.rows) == [Row(1, ("q,a;b",)), Row(2, ("приём,x;y",))]


def test_options_that_cannot_be_are_named(file: Path) -> None:
    file.write_text("q,a\n")
    for options, param in ((TableOptions("utf-99"), "encoding"), (TableOptions(delimiter="ab"), "delimiter")):
        with pytest.raises(InvalidRequest) as raised, open_table(file, "shown.csv", options):
            pytest.fail("it was opened")
        assert raised.value.param == param


def test_without_a_header_the_first_row_is_data(file: Path) -> None:
    file.write_text("\n,\nq1,a1\nq2\n")
    with open_table(file, "shown.csv", TableOptions(has_header=False)) as table:
        assert table.header == ()
        assert list(table.rows) == [Row(3, ("q1", "a1")), Row(4, ("q2",))]
        assert table.blank == 1


@pytest.mark.parametrize("name", ["f.jsonl", "f.ndjson", "F.JSONL", "a.csv.jsonl"])
def test_the_suffix_of_the_name_says_that_it_is_jsonl(file: Path, name: str) -> None:
    file.write_text('{"q": "q1"}\n')
    with open_table(file, name) as table:
        assert (table.kind, table.header) == ("jsonl", ("q",))


@pytest.mark.parametrize("name", ["f.csv", "jsonl", "f.jsonl.csv", "f.json", "f.txt", "f.tsv"])
def test_what_is_not_named_so_is_delimited(file: Path, name: str) -> None:
    file.write_text('q,a\n{"q": 1}\n')
    with open_table(file, name) as table:
        assert (table.kind, table.header) == ("csv", ("q", "a"))
        assert list(table.rows) == [Row(2, ('{"q": 1}',))]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\r\n\r\n", b" , \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", b"\xff\xfe", b'""\n']
)
@pytest.mark.parametrize("has_header", [True, False])
def test_an_empty_file_is_refused(file: Path, content: bytes, has_header: bool) -> None:
    file.write_bytes(content)
    message = refusal_of(file, options=TableOptions(has_header=has_header))
    assert message == "shown.csv is empty: a header and rows are expected"


@pytest.mark.parametrize("name", ["shown.csv", "shown.jsonl", "shown.xlsx"])
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    missing = refusal_of(tmp_path / "missing.csv", name)
    assert missing == f"{name} cannot be read: No such file or directory"
    assert refusal_of(tmp_path, name) == f"{name} cannot be read: Is a directory"


@pytest.mark.parametrize("error", [BrokenPipeError("nobody reads on"), KeyError("x"), ValueError("y")])
@pytest.mark.parametrize("name", ["shown.csv", "shown.jsonl"])
def test_an_error_of_the_caller_is_not_one_of_the_file(file: Path, name: str, error: Exception) -> None:
    file.write_text('{"q":"a"}\n')
    with pytest.raises(type(error)) as raised, open_table(file, name):
        raise error
    assert raised.value is error


# Files that made other programs stumble

REFUSED = {
    "csvkit__empty.csv": "is empty",  # one line end
    "duckdb__fuzzing_22.csv": "is a binary file",
    "duckdb__unterminated.csv": "line 1: a quote is opened and never closed",  # in what would be the header
    # 0xff, which UTF-8 does not have, and nothing else beyond ASCII that could tell another encoding.
    "duckdb__invalid_utf_quoted_nl.csv": "line 12 has the byte 0xff",
    "duckdb__nightmare.csv": "line 38 has the byte 0xff",
}

RECORDS = {
    # In each, a quote is opened in the line before the last, and the manifest's reader makes both
    # lines one record. The last line of the second file has an open quote, too.
    "papaparse__malformed.tsv": 10,
    "commons__csv-141.csv": 4,
}

BROKEN_LINES = {"papaparse__malformed.tsv": [9], "commons__csv-141.csv": [3, 4]}

WORKBOOKS = {
    "csvkit__test.xlsx": (
        ("text", "date", "integer", "boolean", "float", "datetime", "empty_column"),
        Row(2, ("Chicago Reader", "1971-01-01", "40", "TRUE", "1", "1971-01-01 04:14:00")),
        5,
    ),
    "tabulator__merged-cells.xlsx": (("data",), None, 0),
    "tabulator__multiline-headers.xlsx": (
        ("Region", "Caloric contribution", "Cumulative impact of changes on cost of food basket"),
        Row(4, ("", "", "from previous quarter", "from baseline (%)")),
        3,
    ),
}


def read_all(table: Table) -> tuple[list[Row | BrokenRow], int]:
    """The rows, and how many records there were with the header and blank ones."""
    rows = list(table.rows)
    return rows, 1 + table.blank + len(rows)


def test_nasty_files(shared_data: Path) -> None:
    folder = shared_data / "csv_fixtures"
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as source:
        manifest = {item["file"]: item for item in csv.DictReader(source)}
    assert len(manifest) == 69
    assert REFUSED.keys() | RECORDS.keys() | BROKEN_LINES.keys() | WORKBOOKS.keys() <= manifest.keys()
    for name, item in manifest.items():
        if name in REFUSED:
            assert REFUSED[name] in refusal_of(folder / name, name), name
        elif name in WORKBOOKS:
            check_workbook(folder / name)
        else:
            check_delimited(folder / name, item)


def check_workbook(path: Path) -> None:
    with open_table(path, path.name) as table:
        rows, _ = read_all(table)
        assert (table.header, next(iter(rows), None), len(rows)) == WORKBOOKS[path.name]


def check_delimited(path: Path, item: dict[str, str]) -> None:
    name, raw = path.name, path.read_bytes()
    delimiter = "\t" if item["delimiter"] == "tab" else item["delimiter"]
    given = None if delimiter in ",;|\t" else delimiter
    with open_table(path, name, TableOptions(delimiter=given)) as table:
        rows, records = read_all(table)
        assert raw.decode(table.encoding) == raw.decode(item["encoding"]), name
        assert table.delimiter == delimiter, name
        assert records == RECORDS.get(name, int(item["expected_records"])), name
        assert [row.line for row in rows if isinstance(row, BrokenRow)] == BROKEN_LINES.get(name, []), name


@pytest.mark.parametrize(
    ("name", "lines"),
    [("duckdb__nightmare.csv", 47), ("duckdb__invalid_utf_quoted_nl.csv", 20)],
)
def test_nasty_files_with_bytes_replaced(shared_data: Path, name: str, lines: int) -> None:
    options = TableOptions(errors="replace")
    with open_table(shared_data / "csv_fixtures" / name, name, options) as table:
        rows, _ = read_all(table)
        assert all(isinstance(row, Row) for row in rows)
        assert (len(rows), table.encoding, table.replaced) == (lines, "utf-8", 2)
