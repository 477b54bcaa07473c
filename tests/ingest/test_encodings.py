"""Encodings: what is proven, what is told by its look, and what is refused rather than guessed."""

import codecs
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.encodings import BLOCK, SAMPLE, decode_text, detect_encoding
from ingest.tables import BrokenRow, Row, TableOptions, open_table
from retrieval.errors import InvalidRequest, UnreadableFile

TEXTS = {
    "simplified": [
        "咖啡豆怎么保存？",
        "姓名,年龄\n张伟,25\n李娜,31",
        "我们的会员卡在所有门店都可以使用，余额不能兑换现金。如需退卡，请携带身份证到总部办理。",
        "问,答\n怎么重置密码,在登录页点击“忘记密码”，按提示操作即可\n快递多久到,一般三到五天；偏远地区要一周",
    ],
    "traditional": [
        "咖啡豆怎麼保存？",
        "姓名,年齡\n陳怡君,25\n林志明,31",
        "我們的會員卡在所有門市都可以使用，餘額不能兌換現金。如需退卡，請攜帶身分證到總部辦理。",
        "問,答\n怎麼重設密碼,在登入頁點選「忘記密碼」，依指示操作即可\n快遞多久到,一般三到五天；偏遠地區要一週",
    ],
    "japanese": [
        "名前,年齢\n田中,30",
        "コーヒー豆の保存方法は？",
        "品名,産地\nカプチーノ,イタリア\nマキアート,イタリア\nエスプレッソ,イタリア",
        "会員カードは全店舗でご利用いただけます。残高の換金はできません。",
        "東京都,千代田区\n大阪府,北区\n京都府,左京区\n神奈川県,横浜市",
    ],
    "korean": [
        "이름,나이\n김철수,30",
        "커피 원두는 어떻게 보관하나요?",
        "회원 카드는 모든 매장에서 사용할 수 있습니다. 잔액은 현금으로 교환할 수 없습니다.",
    ],
    "greek": [
        "Όνομα,Πόλη\nΓιώργος,Αθήνα",
        "Η κάρτα μέλους ισχύει σε όλα τα καταστήματα και το υπόλοιπο δεν εξαργυρώνεται.",
    ],
    "russian": [
        "имя,город\nАнна,Москва",
        "Карта участника действует во всех магазинах, остаток не обменивается на деньги.",
    ],
    "french": [
        "prénom,ville\nAndré,Nîmes",
        "Où garder le café déjà moulu ?",
        "La carte de fidélité est valable dans tous les magasins ; le solde n’est pas remboursé à l’accueil.",
    ],
    "german": [
        "Name,Straße\nJörg,Königsallee",
        "Die Karte gilt in allen Läden; das Guthaben können wir nicht in Geld zurückgeben.",
    ],
    "spanish": ["nombre,ciudad\nMuñoz,Córdoba", "¿Cómo guardo el café en grano?"],
    "polish": [
        "imię,miasto\nŁukasz,Łódź",
        "Jak długo można przechowywać kawę ziarnistą, żeby nie straciła świeżości?",
    ],
}

LEGACY = {
    "simplified": ["gbk", "gb18030"],
    "traditional": ["big5", "cp950", "gb18030"],
    "japanese": ["shift_jis", "cp932"],
    "korean": ["euc_kr", "cp949"],
    "greek": ["cp1253", "iso8859-7"],
    "russian": ["cp1251", "koi8-r"],
    "french": ["cp1252"],
    "german": ["cp1252", "latin-1"],
    "spanish": ["cp1252"],
    "polish": ["cp1250", "iso8859-2"],
}

UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]

ASCII_ROWS = "q,a,indexes\n1,2020-01-01,abc\nhello,world,3.14\n"


def detected(raw: bytes, replace: bool = False) -> str:
    return detect_encoding(BytesIO(raw), "shown.csv", replace)


def refusal_of(raw: bytes) -> str:
    with pytest.raises(UnreadableFile) as raised:
        detected(raw)
    return raised.value.message


CASES = [
    pytest.param(text, encoding, id=f"{language}-{place}-{encoding}")
    for language, texts in TEXTS.items()
    for place, text in enumerate(texts)
    for encoding in LEGACY[language]
]


@pytest.mark.parametrize(("text", "encoding"), CASES)
@pytest.mark.parametrize(
    "before", ["", ASCII_ROWS, ASCII_ROWS * 100], ids=["alone", "after few", "after many"]
)
def test_legacy_encodings_read_as_they_were_written(text: str, encoding: str, before: str) -> None:
    raw = (before + text + "\n").encode(encoding)
    assert raw.decode(detected(raw)) == before + text + "\n"


@pytest.mark.parametrize("text", ["東京都,千代田区,質問です", "品名\nカプチーノ", "残高の換金はできません。"])
def test_euc_jp(text: str) -> None:
    raw = (text + "\n" + TEXTS["japanese"][3]).encode("euc_jp")
    assert detected(raw) == "euc_jp"


@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("language", TEXTS)
def test_unicode_encodings(language: str, encoding: str) -> None:
    text = "q,a\n一,二\n" + "\n".join(TEXTS[language])
    raw = text.encode(encoding)
    assert raw.decode(detected(raw)).removeprefix("\ufeff") == text


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        (b"", "utf-8"),
        (b"q,a\n", "utf-8"),
        ("\ufeffq,a\n".encode(), "utf-8-sig"),
        ("q,a\n".encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + "q,a\n".encode("utf-16-be"), "utf-16"),
        ("q,a\n".encode("utf-16-be"), "utf-16-be"),
        ("q,a\n问,答\n".encode("utf-16-le"), "utf-16-le"),
        ("开始,一二三\n".encode("utf-16-le") * 50, "utf-16-le"),
        ("q,a\n".encode("utf-32"), "utf-32"),
        ("\ufeff问,答\n".encode("gb18030"), "gb18030"),
        (b"q,a\n4,\xa9 2020\n", "cp1252"),
        (b"q,a\n\x00,b\n", "utf-8"),
        (b"col1|col\x002\nval1|val2\n", "utf-8"),
        ("问题,答案一二三四五六七八九十\n".encode("gb18030") * 20 + b"x\x00,y\n", "gb18030"),
    ],
)
def test_names(raw: bytes, encoding: str) -> None:
    assert detected(raw) == encoding


@pytest.mark.parametrize("encoding", ["gb18030", "cp932"])
def test_text_after_megabytes_of_ascii_is_found(encoding: str) -> None:
    """At any place about the border of two blocks, in lines or in one long line."""
    text = "\n会員の一覧,東京都の全店舗でご利用いただけます\n" * 3
    for shift in range(-3, 4):
        for filling in (b"question,answer\n", b"x"):
            before = (filling * (2 * BLOCK // len(filling) + 1))[: 2 * BLOCK + shift]
            assert detected(before + text.encode(encoding)) == encoding


def test_the_sample_is_bounded_and_ends_at_a_line() -> None:
    class Counted(BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.taken += len(found)
            return found

    source = Counted("咖啡豆怎么保存，密封避光\n".encode("gb18030") * (20 * SAMPLE))
    assert detect_encoding(source, "shown.csv") == "gb18030"
    assert source.tell() == 0
    assert source.taken <= 3 * BLOCK


@pytest.mark.parametrize(
    ("raw", "line", "byte"),
    [
        ("水洗和日晒处理".encode() + b"\xe6\xb0\n", 1, "e6"),
        ("q,a\r\n水洗\r日晒\n".encode() + b"\xc4\xe3\n", 4, "c4"),
        ("q,a\né,à,ü,ö\nß,ç\n".encode() + b"\xff\n", 4, "ff"),
        (b"q,a\n" * BLOCK + "咖啡豆".encode() * 3 + b"\n\x80\n", BLOCK + 2, "80"),
    ],
)
def test_damaged_utf_8_is_not_taken_for_something_else(raw: bytes, line: int, byte: str) -> None:
    message = refusal_of(raw)
    assert message.startswith(f"shown.csv is UTF-8, but line {line} has the byte 0x{byte};")
    assert "--encoding" in message
    assert "--errors replace" in message
    assert detected(raw, replace=True) == "utf-8"


@pytest.mark.parametrize("raw", [b"q,a\n_\xff\xff_,x\n", b"q,a\npedro\xff\xff,x\n", b"q,a\n\x81,x\n"])
def test_what_no_encoding_fits_is_refused(raw: bytes) -> None:
    message = refusal_of(raw)
    assert message.startswith("shown.csv is in no encoding that can be told: line 2 has the byte 0x")
    assert "--encoding" in message
    assert detected(raw, replace=True) == "utf-8"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n\x00",
        b"SQLite format 3\x00\x10\x00\x01\x01\x00@  \x00\x00\x00\x05",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xcb\x48\xcd\xc9\xc9\x07\x00",
        bytes(range(256)) * 40,
    ],
)
def test_binary_files_are_refused(raw: bytes) -> None:
    assert refusal_of(raw) == "shown.csv is a binary file, no table: save it as CSV, JSONL or XLSX"


@given(st.binary(max_size=200))
def test_any_bytes_decode_as_detected_or_are_refused(raw: bytes) -> None:
    source = BytesIO(raw)
    try:
        encoding = detect_encoding(source, "shown.csv")
    except UnreadableFile:
        return
    codecs.getincrementaldecoder(encoding)().decode(raw)
    assert source.tell() == 0


# Whole texts


def test_decode_text() -> None:
    text = "# 咖啡\n\n密封，避光。\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "gb18030"):
        assert decode_text(text.encode(encoding), "shown.md") == (text, 0)
        assert decode_text(text.encode(encoding), "shown.md", encoding) == (text, 0)
    assert decode_text(b"", "shown.md") == ("", 0)
    assert decode_text("\ufefftext".encode(), "shown.md", "utf-8") == ("text", 0)
    assert decode_text("é".encode("cp1252"), "shown.md", "cp1252") == ("é", 0)


def test_decode_text_replaces_what_it_is_told_to() -> None:
    """Those that are in the text already are not counted."""
    raw = "咖啡\ufffd\n".encode() + b"\xff\xe5\x92."
    assert decode_text(raw, "shown.md", replace=True) == ("咖啡\ufffd\n\ufffd\ufffd.", 2)
    assert decode_text(b"\x81\xe9", "shown.md", "cp1252", replace=True) == ("\ufffdé", 1)


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_decode_text_names_byte_and_line(encoding: str | None) -> None:
    with pytest.raises(UnreadableFile, match=r"^shown\.md is UTF-8, but line 3 has the byte 0xff") as raised:
        decode_text("咖啡\n豆\n".encode() + b"\xff", "shown.md", encoding)
    assert "--errors replace" in raised.value.message


def test_decode_text_takes_no_binary_file() -> None:
    with pytest.raises(UnreadableFile, match="is a binary file, no text: save it as text"):
        decode_text(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n\x00", "shown.md")


@pytest.mark.parametrize("encoding", ["utf-99", "base64", "rot13", "utf\0"])
def test_what_is_no_encoding_is_named(encoding: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        decode_text(b"x", "shown.md", encoding)
    assert repr(encoding) in raised.value.message
    assert raised.value.param == "encoding"


# While rows are read


def cells_of(path: Path, raw: bytes, options: TableOptions) -> list[tuple[str, ...]]:
    path.write_bytes(raw)
    with open_table(path, "shown.csv", options) as table:
        return [row.cells for row in table.rows if isinstance(row, Row)]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5", "cp932", "utf-16", "utf-32"])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_characters_across_the_border_of_two_blocks(tmp_path: Path, encoding: str, shift: int) -> None:
    cell = "x" * shift + "咖中一" * (BLOCK // 4)
    raw = f"q,a\n{cell},a\n".encode(encoding, "replace")
    expected = cell.encode(encoding, "replace").decode(encoding)
    assert cells_of(tmp_path / "f.csv", raw, TableOptions(encoding)) == [(expected, "a")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("shift", range(4))
def test_line_ends_across_the_border_of_two_blocks(tmp_path: Path, end: str, shift: int) -> None:
    before = "q" * (BLOCK - 5 + shift)
    raw = f"q,a{end}{before},a1{end}q2,a2{end}".encode()
    path = tmp_path / "f.csv"
    path.write_bytes(raw)
    with open_table(path, "f.csv") as table:
        assert list(table.rows) == [Row(2, (before, "a1")), Row(3, ("q2", "a2"))]


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [("utf-8", b"\xff"), ("gb18030", b"\xff"), ("cp1252", b"\x81"), ("utf-16", b"\x00\xdc")],
)
def test_the_line_of_a_bad_byte_far_into_a_file(tmp_path: Path, encoding: str, bad: bytes) -> None:
    """The rows before it are given."""
    path = tmp_path / "f.csv"
    rows = BLOCK // 8
    head, row = "q,a\r\n".encode(encoding), "é,a1\n".encode("utf-16-le" if encoding == "utf-16" else encoding)
    path.write_bytes(head + row * rows + bad + row)
    seen: list[Row | BrokenRow] = []
    with (
        open_table(path, "shown.csv", TableOptions(encoding)) as table,
        pytest.raises(UnreadableFile) as raised,
    ):
        seen.extend(table.rows)
    assert len(seen) == rows
    assert f"line {rows + 2} has the byte 0x{bad[0]:02x}" in raised.value.message
    assert "--errors replace" in raised.value.message


@pytest.mark.parametrize(
    ("encoding", "raw", "cells", "replaced"),
    [
        ("utf-8", b"q,a\n\xff\xe5\x92,\xef\xbf\xbd\n", ("\ufffd\ufffd", "\ufffd"), 2),
        (None, "q,a\n咖啡豆保存,".encode() + b"\x80\n", ("咖啡豆保存", "\ufffd"), 1),
        (None, b"q,a\npedro\xff\xff,x\n", ("pedro\ufffd\ufffd", "x"), 2),
        ("gb18030", "q,a\n咖啡,".encode("gb18030") + b"\xff\n", ("咖啡", "\ufffd"), 1),
        ("cp1252", b"q,a\n\x81,\xe9\n", ("\ufffd", "é"), 1),
        ("utf-8", b"q,a\nx,\xe5\x92", ("x", "\ufffd"), 1),
    ],
)
def test_replaced_bytes_are_counted(
    tmp_path: Path, encoding: str | None, raw: bytes, cells: tuple[str, ...], replaced: int
) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(raw)
    with open_table(path, "f.csv", TableOptions(encoding, errors="replace")) as table:
        assert list(table.rows) == [Row(2, cells)]
        assert table.replaced == replaced
