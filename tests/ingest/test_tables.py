"""Bytes to rows: encodings, line ends, quoting, and files that are none."""

import codecs
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.tables import SAMPLE_BYTES, Table, open_table
from retrieval.errors import UnreadableFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


@contextmanager
def table_of(file: Path, content: bytes | str) -> Iterator[Table]:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_table(file, "shown.csv") as table:
        yield table


def rows_of(file: Path, content: bytes | str) -> list[tuple[int, tuple[str, ...]]]:
    with table_of(file, content) as table:
        return [(row.line, row.cells) for row in table.rows]


def refusal_of(file: Path, content: bytes | str) -> str:
    with pytest.raises(UnreadableFile) as raised:
        rows_of(file, content)
    assert raised.value.message.startswith("shown.csv")
    return raised.value.message


# Rows


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
        assert table.share_read < 0.05
        for _ in range(100_000):
            next(table.rows)
        assert 0.45 < table.share_read < 0.55
        assert sum(1 for _ in table.rows) == 99_999
        assert table.share_read == 1.0


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(st.lists(cells, min_size=1, max_size=4), max_size=6))
def test_what_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    written = [["q", "a"], *rows]
    content = "".join(",".join(map(quoted, row)) + "\n" for row in written)
    kept, line = [], 1
    for row in written:
        if any(cell.strip() for cell in row):
            kept.append((line, tuple(row)))
        text = ",".join(row).replace("\r\n", "\n").replace("\r", "\n")
        line += 1 + text.count("\n")
    found = rows_of(tmp_path_factory.mktemp("rows") / "file.csv", content)
    assert found == kept[1:]


# Encodings


@pytest.mark.parametrize(
    ("encoding", "told"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("gb18030", "gb18030"), ("gbk", "gb18030")],
)
def test_encodings(file: Path, encoding: str, told: str) -> None:
    content = "q,a\n咖啡豆怎么保存？,“密封”，避光。\n问题二,答案二\n"
    with table_of(file, content.encode(encoding)) as table:
        assert table.encoding == told
        assert table.header == ("q", "a")
        assert [(row.line, row.cells) for row in table.rows] == [
            (2, ("咖啡豆怎么保存？", "“密封”，避光。")),
            (3, ("问题二", "答案二")),
        ]


def test_gb18030_has_all_of_unicode(file: Path) -> None:
    content = "q,a\n𠮷野家😀,繁體字 Ünïcödé\n"
    assert rows_of(file, content.encode("gb18030")) == [(2, ("𠮷野家😀", "繁體字 Ünïcödé"))]


def test_ascii_is_utf_8(file: Path) -> None:
    with table_of(file, b"q,a\nx,y\n") as table:
        assert table.encoding == "utf-8"


def test_a_quoted_header_after_a_byte_order_mark(file: Path) -> None:
    with table_of(file, '\ufeff"q","a"\nx,y\n') as table:
        assert table.header == ("q", "a")


def test_the_whole_file_decides_the_encoding(file: Path) -> None:
    """Chinese in GB18030 after more ASCII than is looked at first; also across its border."""
    ascii_rows = "question,answer\n" * (SAMPLE_BYTES // 16)
    content = f"q,a\n{ascii_rows}咖啡,豆\n"
    with table_of(file, content.encode("gb18030")) as table:
        assert table.encoding == "gb18030"
        assert list(table.rows)[-1].cells == ("咖啡", "豆")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_characters_across_the_border_of_two_reads(file: Path, encoding: str, shift: int) -> None:
    cell = "x" * shift + "😀咖" * (SAMPLE_BYTES // 4)
    with table_of(file, f"q,a\n{cell},a\n".encode(encoding)) as table:
        assert table.encoding == encoding
        assert next(table.rows).cells == (cell, "a")


@pytest.mark.parametrize(
    ("before", "line"),
    [(b"", 1), (b"q,a\n", 2), (b"q,a\r\nq1,a1\r\n", 3), (b'q,a\n"two\nlines",a\n', 4)],
)
def test_undecodable_bytes_are_named_with_their_line(file: Path, before: bytes, line: int) -> None:
    message = refusal_of(file, before + "咖啡 ".encode() + b"\xff\xff,x\nq9,a9\n")
    assert f"line {line} " in message
    assert "0xff" in message
    assert "neither UTF-8 nor GB18030" in message


def test_undecodable_bytes_far_into_the_file(file: Path) -> None:
    rows = b"question,answer\n" * (SAMPLE_BYTES // 8)
    assert f"line {SAMPLE_BYTES // 8 + 2} " in refusal_of(file, b"q,a\n" + rows + b"\xff\xff,x\n")


def test_a_character_cut_at_the_end_of_the_file(file: Path) -> None:
    assert "line 3 has the byte 0xe5" in refusal_of(file, "q,a\nx,y\n咖".encode()[:-2])


# No CSV at all


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\r\n", b" , \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_refused(file: Path, content: bytes) -> None:
    assert "is empty: a header line q,a is expected" in refusal_of(file, content)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    message = refusal_of_path(tmp_path / "missing.csv")
    assert "shown.csv cannot be read: No such file or directory" in message


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "shown.csv cannot be read: Is a directory" in refusal_of_path(tmp_path)


def refusal_of_path(path: Path) -> str:
    with pytest.raises(UnreadableFile) as raised, open_table(path, "shown.csv"):
        pytest.fail("it was opened")
    return raised.value.message


def test_an_error_of_the_caller_is_not_one_of_the_file(file: Path) -> None:
    with pytest.raises(BrokenPipeError), table_of(file, "q,a\n"):
        raise BrokenPipeError("nobody reads the progress any more")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml", "spreadsheet or zip archive"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "NUL bytes"),
        (b"q,a\nx,y\x00\n", "NUL bytes"),
        ("q,a\nx,y\n".encode("utf-16"), "UTF-16"),
        ("q,a\nx,y\n".encode("utf-16-le"), "UTF-16"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n\x00", "NUL bytes"),
    ],
)
def test_binary_files_are_refused(file: Path, content: bytes, words: str) -> None:
    assert words in refusal_of(file, content)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('q,a\nq1,a1\n"never closed,a2\nq3,a3\n', 3),
        ('q,a\nq1,a1\n\n"closed" too early,a2\n', 4),
        ('q,a\n"two\nlines",a\n"bad"x,a\n', 4),
        ('q,"a', 1),
    ],
)
def test_broken_quoting_is_named_with_its_line(file: Path, content: str, line: int) -> None:
    message = refusal_of(file, content)
    assert message.startswith(f"shown.csv, line {line}: the quoting is broken")
    assert "doubled" in message


def test_rows_before_broken_quoting_are_given(file: Path) -> None:
    with table_of(file, 'q,a\nq1,a1\nq2,a2\n"broken" x,a3\n') as table:
        assert [next(table.rows).cells, next(table.rows).cells] == [("q1", "a1"), ("q2", "a2")]
        with pytest.raises(UnreadableFile, match="line 4"):
            next(table.rows)


def test_any_bytes_are_rows_or_refused(file: Path) -> None:
    """Noise, and a good file with noise in it: no other error than the one that is promised."""
    choice = random.Random(0)
    good = 'q,a,indexes\n"咖啡, ""豆""",答案,"one\ntwo"\n'.encode()
    refused = 0
    for _ in range(600):
        content = bytearray(good * 3)
        for _ in range(choice.randrange(1, 5)):
            content[choice.randrange(len(content))] = choice.choice(b'",\n\r\x00\xff\x80\xe5ab')
        try:
            rows_of(file, bytes(content[choice.randrange(3) :]))
        except UnreadableFile:
            refused += 1
    assert 100 < refused < 600


def test_utf8_with_a_broken_character_is_not_taken_for_gb18030(tmp_path: Path) -> None:
    """The bytes are good GB18030, but say something else."""
    content = "q,a\n水洗和日晒处理有".encode() + b"\xe6\xb0\n"
    assert "水" not in content.decode("gb18030")
    path = tmp_path / "f.csv"
    path.write_bytes(content)
    with (
        pytest.raises(UnreadableFile, match="is UTF-8, but line 2 has the byte 0xe6"),
        open_table(path, "f.csv"),
    ):
        pass


def test_a_byte_order_mark_decides(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(codecs.BOM_UTF8 + b"q,a\n\xc4\xe3,b\n")
    with (
        pytest.raises(UnreadableFile, match="is UTF-8, but line 2 has the byte 0xc4"),
        open_table(path, "f.csv"),
    ):
        pass


# JSONL


def objects_of(
    file: Path, content: bytes | str, name: str = "shown.jsonl"
) -> list[tuple[int, tuple[str, ...]]]:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_table(file, name) as table:
        assert table.header == ("q", "a", "indexes")
        return [(row.line, row.cells) for row in table.rows]


def test_objects_are_rows_with_their_lines(file: Path) -> None:
    content = (
        '{"q": "q1", "a": "a1", "indexes": ["x", "y"]}\n'
        '{"a": "a2", "q": "q2"}\n'
        ' {"q": "q3", "a": null, "indexes": null} \n'
        '{"a": "no question"}\n'
        "{}"
    )
    assert objects_of(file, content) == [
        (1, ("q1", "a1", "x", "y")),
        (2, ("q2", "a2")),
        (3, ("q3", "")),
        (4, ("", "no question")),
        (5, ("", "")),
    ]


@pytest.mark.parametrize("name", ["f.jsonl", "f.ndjson", "F.JSONL", "a.csv.jsonl"])
def test_the_suffix_of_the_name_says_that_it_is_jsonl(file: Path, name: str) -> None:
    assert objects_of(file, '{"q": "q1"}\n', name) == [(1, ("q1", ""))]


@pytest.mark.parametrize("name", ["f.csv", "jsonl", "f.jsonl.csv", "f.json"])
def test_what_is_not_named_so_is_csv(file: Path, name: str) -> None:
    file.write_text('q,a\n{"q": 1}\n')
    with open_table(file, name) as table:
        assert table.header == ("q", "a")
        assert [row.cells for row in table.rows] == [('{"q": 1}',)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_objects_and_blank_ones(file: Path, end: str) -> None:
    lines = ["", '{"q": "q1"}', "  \t", "", '{"q": "q2"}']
    assert objects_of(file, end.join(lines)) == [(2, ("q1", "")), (5, ("q2", ""))]


def test_texts_are_taken_to_the_letter(file: Path) -> None:
    text = ' two\nlines, "quotes" \\ \u2028\x85\x00 и 问 😀 '
    content = json.dumps({"q": text, "a": text, "indexes": [text]}) + "\n"
    assert objects_of(file, content) == [(1, (text, text, text))]
    # As they are instead of escaped, but for what JSON has to escape.
    content = json.dumps({"q": text, "a": text}, ensure_ascii=False) + '\n{"q": "q2"}\n'
    assert objects_of(file, content) == [(1, (text, text)), (2, ("q2", ""))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_objects_in_either_encoding(file: Path, encoding: str) -> None:
    assert objects_of(file, '{"q": "咖啡豆怎么保存？"}\n'.encode(encoding)) == [(1, ("咖啡豆怎么保存？", ""))]


def test_a_jsonl_file_of_nothing_has_no_rows(file: Path) -> None:
    assert objects_of(file, "") == []
    assert objects_of(file, "\n \n") == []


EXPECTED = "expected is an object with the texts q and a and a list of texts, indexes"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"q": "x"', "broken JSON (Expecting ',' delimiter)"),
        ("q,a", "broken JSON (Expecting value)"),
        ('{"q": "x"} {"q": "y"}', "broken JSON (Extra data)"),
        ('["x", "y"]', "this is no JSON object"),
        ('"x"', "this is no JSON object"),
        ("null", "this is no JSON object"),
        ('{"q": 1}', "q, a or indexes is not of its type"),
        ('{"q": ["x"]}', "q, a or indexes is not of its type"),
        ('{"q": "x", "a": {}}', "q, a or indexes is not of its type"),
        ('{"q": "x", "indexes": "y"}', "q, a or indexes is not of its type"),
        ('{"q": "x", "indexes": ["y", 1]}', "q, a or indexes is not of its type"),
        ('{"q": "x", "indexes": {"y": "z"}}', "q, a or indexes is not of its type"),
        ('{"q": "x", "answer": "y"}', "the object has the keys 'q', 'answer'"),
        ('{"q": "\\ud800"}', "a text has half a surrogate pair in it, which is no Unicode text"),
    ],
)
def test_a_broken_object_is_told_by_its_line(file: Path, line: str, reason: str) -> None:
    """What came before it can be read."""
    file.write_text(f'{{"q": "q1"}}\n\n{line}\n{{"q": "q4"}}\n')
    with open_table(file, "shown.jsonl") as table:
        assert next(table.rows).cells == ("q1", "")
        with pytest.raises(UnreadableFile) as raised:
            next(table.rows)
    assert raised.value.message == f"shown.jsonl, line 3: {reason}; {EXPECTED}"


def test_an_object_that_is_too_deep_is_told_by_its_line(file: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"^shown\.jsonl, line 1: "):
        objects_of(file, "[" * 100_000 + "\n")


@given(
    st.lists(
        st.tuples(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text('ab\n\r\u2028,"{}'))
    )
)
def test_what_was_written_as_jsonl_is_read(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, str]]
) -> None:
    file = tmp_path_factory.mktemp("jsonl") / "f.jsonl"
    lines = [json.dumps({"q": q, "a": a}) for q, a in items]
    assert objects_of(file, "".join(f"{line}\n" for line in lines)) == [
        (place, item) for place, item in enumerate(items, start=1)
    ]
