"""JSON lines: keys to columns, values to texts, and lines that are broken."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.tables import BrokenRow, Row, TableOptions, open_table
from retrieval.errors import UnreadableFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.jsonl"


def table_of(file: Path, content: bytes | str) -> tuple[tuple[str, ...], list[Row | BrokenRow]]:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_table(file, "shown.jsonl") as table:
        assert (table.kind, table.encoding, table.delimiter) == ("jsonl", "utf-8", "")
        return table.header, list(table.rows)


def cells_of(file: Path, *lines: str) -> tuple[str, ...]:
    """Of the last line, the others being good."""
    row = table_of(file, "\n".join(lines))[1][-1]
    assert isinstance(row, Row)
    return row.cells


def refusal_of(file: Path, content: bytes | str) -> str:
    with pytest.raises(UnreadableFile) as raised:
        table_of(file, content)
    return raised.value.message


@pytest.mark.parametrize(
    ("first", "header", "cells"),
    [
        ('{"q": "x", "a": "y"}', ("q", "a"), ("x", "y")),
        ('{"q": "x", "indexes": ["i", "j"], "a": "y"}', ("q", "a", "indexes"), ("x", "y", "i", "j")),
        ('{"indexes": "i", "q": "x"}', ("q", "indexes"), ("x", "i")),
        ('{"indexes": null, "q": "x"}', ("q", "indexes"), ("x", "")),
        ('{"tags": ["s", "t"], "q": "x"}', ("q", "tags"), ("x", "s", "t")),
        ('{"tags": ["s", "t"], "indexes": ["i"], "q": "x"}', ("tags", "q", "indexes"), ("s\nt", "x", "i")),
        ('{"tags": ["s"], "more": ["m", "n"], "q": "x"}', ("more", "q", "tags"), ("m\nn", "x", "s")),
        ('{"q": "x", "indexes": []}', ("q", "indexes"), ("x",)),
    ],
)
def test_the_first_object_names_the_columns(
    file: Path, first: str, header: tuple[str, ...], cells: tuple[str, ...]
) -> None:
    assert table_of(file, first) == (header, [Row(1, cells)])


def test_further_objects_have_any_of_the_keys_in_any_order(file: Path) -> None:
    content = (
        '{"q": "q1", "a": "a1", "indexes": ["x", "y"]}\n'
        '\n{"indexes": ["z"], "a": "a2", "q": "q2"}\n'
        ' {"q": "q3", "indexes": null} \n'
        '{"a": "no question"}\n{"a": "", "q": " "}\n{}\n'
        '{"indexes": "one"}'
    )
    file.write_text(content)
    with open_table(file, "shown.jsonl") as table:
        assert table.header == ("q", "a", "indexes")
        assert list(table.rows) == [
            Row(1, ("q1", "a1", "x", "y")),
            Row(3, ("q2", "a2", "z")),
            Row(4, ("q3", "", "")),
            Row(5, ("", "no question", "")),
            Row(8, ("", "", "one")),
        ]
        assert table.blank == 2
        assert table.share_read == 1.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1", "1"),
        ("-0.50", "-0.50"),
        ("1e3", "1e3"),
        ("12345678901234567890", "12345678901234567890"),
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("null", ""),
        ("true", "true"),
        ("false", "false"),
        ('{"b": [1, 2.5, {"c": "é"}], "a": null}', '{"b":[1,2.5,{"c":"é"}],"a":null}'),
        ('["one", "two"]', "one\ntwo"),
        ("[]", ""),
        (
            '"two\\nlines, \\"quotes\\" \\\\ \\u2028\\u0000 \\ud83d\\ude00"',
            'two\nlines, "quotes" \\ \u2028\x00 😀',
        ),
    ],
)
def test_values_become_texts(file: Path, value: str, text: str) -> None:
    assert cells_of(file, '{"q": "q1", "a": ""}', f'{{"q": "q2", "a": {value}}}') == ("q2", text)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_objects_and_blank_ones(file: Path, end: str) -> None:
    lines = ["", '{"q": "q1"}', "  \t", "", '{"q": "q2"}']
    assert table_of(file, end.join(lines))[1] == [Row(2, ("q1",)), Row(5, ("q2",))]


def test_a_byte_order_mark_is_left_out(file: Path) -> None:
    assert table_of(file, '\ufeff{"q": "问"}') == (("q",), [Row(1, ("问",))])


BROKEN = [
    ('{"q": "x"', "broken JSON (Expecting ',' delimiter)"),
    ("q,a", "broken JSON (Expecting value)"),
    ('{"q": "x"} {"q": "y"}', "broken JSON (Extra data)"),
    ('["x", "y"]', "this is no JSON object"),
    ("null", "this is no JSON object"),
    ('{"q": NaN}', "NaN is no JSON"),
    ('{"q": "x", "q": "y"}', "the object has the key 'q' twice"),
    ('{"q": ["x", 1]}', "'q' is a list of something else than texts"),
    ('{"q": "\\ud800"}', "a text has half a surrogate pair in it, which is no Unicode text"),
    ('{"q": {"x": "\\udc00"}}', "a text has half a surrogate pair in it, which is no Unicode text"),
    ("[" * 100_000, "the JSON is nested too deeply"),
]


@pytest.mark.parametrize(
    ("line", "reason"),
    [*BROKEN, ('{"q": "x", "answer": "y"}', "the key 'answer' is none of the first object")],
)
def test_a_broken_line_is_a_broken_row(file: Path, line: str, reason: str) -> None:
    rows = table_of(file, f'{{"q": "q1"}}\n\n{line}\n{{"q": "q4"}}\n')[1]
    assert rows == [Row(1, ("q1",)), BrokenRow(3, reason, line[:4096]), Row(4, ("q4",))]


@pytest.mark.parametrize(("line", "reason"), [*BROKEN, ("{}", "the object has no keys")])
def test_a_broken_first_line_refuses_the_file(file: Path, line: str, reason: str) -> None:
    message = refusal_of(file, f'\n{line}\n{{"q": "q1"}}')
    assert message == f"shown.jsonl, line 2: {reason}; expected is a JSON object on each line"


def test_half_a_surrogate_pair_in_a_key_refuses_the_file(file: Path) -> None:
    assert "half a surrogate pair" in refusal_of(file, '{"\\ud800": "x"}')


@pytest.mark.parametrize("content", ["", "\n \r\n", "\ufeff"])
def test_an_empty_file_is_refused(file: Path, content: str) -> None:
    assert refusal_of(file, content) == "shown.jsonl is empty: a JSON object on each line is expected"


def test_other_encodings_are_refused(file: Path) -> None:
    content = '{"q": "q1"}\n{"q": "咖啡"}\n'
    assert "line 2 has the byte 0xbf" in refusal_of(file, content.encode("gb18030"))
    refusal = refusal_of(file, content.encode("utf-16"))
    assert "line 1 has the byte 0xff" in refusal
    assert "--encoding" not in refusal


def test_replaced_bytes_are_counted(file: Path) -> None:
    file.write_bytes(b'{"q": "q1"}\n{"q": "\xff"}\n')
    with open_table(file, "shown.jsonl", TableOptions(errors="replace")) as table:
        assert list(table.rows) == [Row(1, ("q1",)), Row(2, ("\ufffd",))]
        assert table.replaced == 1


TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text('ab\n\r\u2028,"{}\\')


@given(
    items=st.lists(st.tuples(TEXT, TEXT, st.lists(TEXT, max_size=3)), min_size=1), ascii_only=st.booleans()
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, str, list[str]]], ascii_only: bool
) -> None:
    file = tmp_path_factory.mktemp("jsonl") / "f.jsonl"
    lines = [
        json.dumps({"q": q, "indexes": indexes, "a": a}, ensure_ascii=ascii_only) for q, a, indexes in items
    ]
    header, rows = table_of(file, "".join(f"{line}\n" for line in lines))
    assert header == ("q", "a", "indexes")
    expected = [Row(line, (q, a, *indexes)) for line, (q, a, indexes) in enumerate(items, start=1)]
    assert rows == [row for row in expected if any(cell.strip() for cell in row.cells)]
