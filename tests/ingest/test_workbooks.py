"""Workbooks: what a cell shows, which sheet, and files that are none."""

import zipfile
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook
from openpyxl.styles import Font

import ingest.archives
import ingest.workbooks
from ingest.tables import Row, TableOptions, open_table
from retrieval.errors import UnreadableFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.xlsx"


def save(file: Path, *rows: list[Any], **sheets: list[list[Any]]) -> None:
    book = Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(row)
    for title, others in sheets.items():
        sheet = book.create_sheet(title)
        for row in others:
            sheet.append(row)
    book.save(file)


def rows_of(file: Path, options: TableOptions = TableOptions()) -> list[tuple[int, tuple[str, ...]]]:  # noqa: B008
    with open_table(file, "shown.xlsx", options) as table:
        assert (table.kind, table.encoding, table.delimiter) == ("xlsx", "", "")
        return [(row.line, row.cells) for row in table.rows if isinstance(row, Row)]


def refusal_of(file: Path, options: TableOptions = TableOptions()) -> str:  # noqa: B008
    with pytest.raises(UnreadableFile) as raised:
        rows_of(file, options)
    assert raised.value.message.startswith("shown.xlsx ")
    return raised.value.message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('咖啡, "豆"\nзёрна', '咖啡, "豆"\nзёрна'),
        (" spaced ", " spaced "),
        (5, "5"),
        (5.0, "5"),
        (-0.25, "-0.25"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (12345678901, "12345678901"),
        (True, "TRUE"),
        (False, "FALSE"),
        (date(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 13, 45, 6), "2024-05-01 13:45:06"),  # noqa: DTZ001
        (time(13, 45), "13:45:00"),
        ("two_x000D_lines _x0041_ _xD800_ _x", "two\rlines A _xD800_ _x"),
        ("#N/A", "#N/A"),
        ("007", "007"),
    ],
)
def test_cells_are_as_a_person_sees_them(file: Path, value: object, text: str) -> None:
    save(file, ["q", "a", "last"], ["q1", value, "z"])
    assert rows_of(file) == [(2, ("q1", text, "z"))]


def test_header_rows_and_blank_ones(file: Path) -> None:
    save(file, [], ["q", "a", None], ["q1", None, "x"], [], [" ", None], ["q2"], [None, "a3", None])
    with open_table(file, "shown.xlsx") as table:
        assert table.header == ("q", "a")
        assert table.share_read < 1.0
        assert list(table.rows) == [Row(3, ("q1", "", "x")), Row(6, ("q2",)), Row(7, ("", "a3"))]
        assert table.blank == 1
        assert table.share_read == 1.0


def test_without_a_header(file: Path) -> None:
    save(file, ["q1", "a1"], ["q2", "a2"])
    assert rows_of(file, TableOptions(has_header=False)) == [(1, ("q1", "a1")), (2, ("q2", "a2"))]


def test_formats_make_no_cells(file: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["q", "a"])
    sheet.append(["q1", "a1"])
    sheet["H2"].font = Font(bold=True)
    sheet["A9"].font = Font(bold=True)
    book.save(file)
    assert rows_of(file) == [(2, ("q1", "a1"))]


def test_sheets_by_name(file: Path) -> None:
    save(file, ["q"], ["first"], Second=[["q", "a"], ["second", "x"]], 三=[["q"], ["third"]])
    assert rows_of(file) == [(2, ("first",))]
    assert rows_of(file, TableOptions(sheet="Second")) == [(2, ("second", "x"))]
    assert rows_of(file, TableOptions(sheet="三")) == [(2, ("third",))]
    message = refusal_of(file, TableOptions(sheet="second"))
    assert message == "shown.xlsx has no sheet 'second'; its sheets are 'Sheet', 'Second', '三'"


def test_the_active_sheet_is_the_first_choice(file: Path) -> None:
    book = Workbook()
    book.create_sheet("Other").append(["q"])
    book.active = 1
    book["Other"].append(["chosen"])
    book.save(file)
    assert rows_of(file) == [(2, ("chosen",))]


def test_dimensions_that_are_wrong_are_not_believed(file: Path) -> None:
    save(file, ["q", "a", "indexes"], ["q1", "a1", "x"], ["q2", "a2", "y"])
    _rewrite(file, "xl/worksheets/sheet1.xml", b'ref="A1:C3"', b'ref="A1:A1"')
    assert rows_of(file) == [(2, ("q1", "a1", "x")), (3, ("q2", "a2", "y"))]


def _rewrite(file: Path, part: str, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert old in parts[part]
    parts[part] = parts[part].replace(old, new)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_a_workbook_is_known_by_its_first_bytes(file: Path) -> None:
    save(file, ["q"], ["q1"])
    for name in ("upload", "f.csv", "f.XLSX", "f.xlsm"):
        with open_table(file, name) as table:
            assert [row.line for row in table.rows] == [2]


def test_an_empty_sheet_is_refused(file: Path) -> None:
    save(file)
    assert "is empty" in refusal_of(file)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"readme.txt": b"q,a"}, "is a zip archive, no workbook: unpack it"),
        ({"word/document.xml": b"<w/>", "[Content_Types].xml": b""}, "is a zip archive, no workbook"),
        (
            {"content.xml": b"<x/>", "mimetype": b"opendocument"},
            "is an OpenDocument file (.ods): save it as XLSX",
        ),
        ({"xl/workbook.bin": b""}, "is a binary Excel workbook (.xlsb): save it as XLSX"),
        ({"xl/workbook.xml": b"<broken"}, "is a damaged workbook"),
    ],
)
def test_other_archives_are_refused(file: Path, parts: dict[str, bytes], words: str) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert words in refusal_of(file)


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (OLE + bytes(600), "is an old Excel workbook (.xls): save it as XLSX or CSV"),
        (
            OLE + bytes((1 << 20) - 20) + "EncryptedPackage".encode("utf-16-le") + bytes(99),
            "protected with a password",
        ),
        (b"q,a\nq1,a1\n", "is no XLSX workbook: save it as XLSX, or name a CSV file .csv"),
        (b"", "is no XLSX workbook"),
        (b"PK\x03\x04 and no more", "is a damaged workbook"),
    ],
)
def test_what_is_no_workbook_is_refused(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    assert words in refusal_of(file)


def test_a_workbook_that_is_cut_or_damaged_is_refused(file: Path) -> None:
    save(file, ["q", "a"], *([f"question {place}", "answer"] for place in range(200)))
    whole = file.read_bytes()
    for size in range(100, len(whole), 97):
        file.write_bytes(whole[:size])
        refusal_of(file)
    refused = 0
    for place in range(0, len(whole), 61):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            rows_of(file)
        except UnreadableFile:
            refused += 1
    assert refused > 20


def test_a_part_that_unpacks_to_too_much_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.archives, "ALWAYS_FINE", 1 << 16)
    save(file, ["q"], ["q1"])
    assert rows_of(file) == [(2, ("q1",))]
    _rewrite(file, "xl/worksheets/sheet1.xml", b"</sheetData>", b" " * (1 << 20) + b"</sheetData>")
    message = refusal_of(file)
    assert "in xl/worksheets/sheet1.xml, over 200 times what it takes" in message


def test_a_row_number_beyond_all_sheets_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.workbooks, "MAX_ROWS", 3)
    save(file, ["q"], ["q1"], ["q2"])
    assert len(rows_of(file)) == 2
    _rewrite(file, "xl/worksheets/sheet1.xml", b'<row r="3">', b'<row r="999999999">')
    assert "more than 3 rows" in refusal_of(file)


def test_entities_do_not_grow(file: Path) -> None:
    save(file, ["q"], ["q1"])
    entities = b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 1000 + b'">'
    entities += b"".join(
        b'<!ENTITY %c "%s">' % (98 + place, b"&%c;" % (97 + place) * 100) for place in range(6)
    )
    with zipfile.ZipFile(file) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml")
    _rewrite(file, "xl/worksheets/sheet1.xml", sheet, entities + b"]>" + sheet.replace(b">q1<", b">&g;<"))
    message = refusal_of(file)
    assert "a document type declaration in xl/worksheets/sheet1.xml" in message


# Warnings


def add_to_sheet(file: Path, xml: str) -> None:
    """Behind all that is in the first sheet."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace(b"</worksheet>", xml.encode() + b"</worksheet>")
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_what_a_workbook_has_beside_its_text_is_no_news(file: Path, recwarn: pytest.WarningsRecorder) -> None:
    save(file, ["q", "a"], ["x", "y"])
    add_to_sheet(file, '<extLst><ext uri="{78C0D931-6437-407D-A8EE-F0AAD7539E65}"/><ext uri="{0}"/></extLst>')
    assert rows_of(file) == [(2, ("x", "y"))]
    assert rows_of(file) == [(2, ("x", "y"))]
    assert recwarn.list == []


def test_a_date_that_is_lost_is_told(file: Path) -> None:
    book = Workbook()
    assert book.active is not None
    book.active.append(["q", "a"])
    book.active.append(["when", 10**10])
    book.active["B2"].number_format = "yyyy-mm-dd"
    book.save(file)
    with pytest.warns(UserWarning, match="B2 is marked as a date"):
        assert rows_of(file) == [(2, ("when", "#VALUE!"))]
