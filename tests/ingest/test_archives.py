"""Archives that would grow: each refused by its part, before it is unpacked."""

import zipfile
from collections.abc import Mapping
from io import BytesIO

import pytest

import ingest.archives
from ingest.archives import ALWAYS_FINE, check_archive
from ingest.documents.pdf import read_pdf
from ingest.documents.word import MAX_XML_BYTES, read_docx
from retrieval.errors import UnreadableFile
from tests.ingest.test_documents import docx, pdf

LAUGHS = (
    '<!DOCTYPE w [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]>"
)


def archive(parts: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", method) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return target.getvalue()


def check(raw: bytes) -> int:
    with zipfile.ZipFile(BytesIO(raw)) as opened:
        return check_archive(opened, "f.docx")


def refusal(raw: bytes) -> str:
    with pytest.raises(UnreadableFile) as raised:
        check(raw)
    assert raised.value.message.startswith("f.docx ")
    return raised.value.message


def with_part(raw: bytes, name: str, content: bytes) -> bytes:
    with zipfile.ZipFile(BytesIO(raw)) as opened:
        return archive({**{part: opened.read(part) for part in opened.namelist()}, name: content})


def test_the_xml_is_counted_whatever_its_parts_are_called() -> None:
    image = b"\x89PNG\r\n" + bytes(500)
    parts = {"a.xml": b"<a/>", "b.bin": b" <!-- x --> <b/>", "c": "<c/>".encode("utf-16"), "d.png": image}
    assert check(archive(parts)) == 4 + 16 + 10


def test_the_number_of_parts_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.archives, "MAX_PARTS", 3)
    parts = {f"{number}.xml": b"<a/>" for number in range(4)}
    assert "has 4 parts, more than 3" in refusal(archive(parts))
    del parts["3.xml"]
    assert check(archive(parts)) == 12


def test_all_parts_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.archives, "MAX_BYTES", 100)
    assert check(archive({"a": bytes(60), "b": bytes(40)})) == 0
    message = refusal(archive({"a": bytes(60), "b": bytes(41)}))
    assert "unpacks to 101 bytes, more than 100, most of them in a:" in message


def test_a_part_that_unpacks_to_too_much_is_refused() -> None:
    assert check(archive({"a": bytes(ALWAYS_FINE)})) == 0
    assert "67,108,865 bytes in b, over 200 times" in refusal(
        archive({"a": b"", "b": bytes(ALWAYS_FINE + 1)})
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_in_large_blocks_is_refused(method: int) -> None:
    assert "has a.xml packed in an unusual way" in refusal(archive({"a.xml": b"<a/>"}, method))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("before", ["", '<?xml version="1.0"?>', "<!--" + "x" * 200_000 + "-->"])
def test_a_declaration_is_refused_wherever_it_hides(encoding: str, before: str) -> None:
    text = f"{before}<!DOCTYPE a><a/>"
    assert "a document type declaration in a.bin" in refusal(archive({"a.bin": text.encode(encoding)}))
    assert check(archive({"a.bin": text.replace("<!DOCTYPE a>", "").encode(encoding)})) > 0


def test_a_document_of_many_laughs_is_refused() -> None:
    whole = docx("<w:p><w:r><w:t>ha</w:t></w:r></w:p>")
    with zipfile.ZipFile(BytesIO(whole)) as opened:
        text = opened.read("word/document.xml").decode().replace(">ha<", ">&j;<")
    head, tail = text.split("?>", 1) if text.startswith("<?xml") else ("", text)
    bomb = with_part(whole, "word/document.xml", f"{head}{'?>' if head else ''}{LAUGHS}{tail}".encode())

    assert read_docx(whole, "f.docx").text.strip() == "ha"
    with pytest.raises(UnreadableFile, match=r"f\.docx has a document type .* in word/document\.xml"):
        read_docx(bomb, "f.docx")


def test_a_document_is_as_large_as_its_xml_under_any_name() -> None:
    bomb = with_part(docx(""), "word/media/image1.png", b"<w>" + b" " * MAX_XML_BYTES + b"</w>")
    with pytest.raises(UnreadableFile, match="larger than 16 MB"):
        read_docx(bomb, "f.docx")


def test_a_part_that_lies_about_its_size_is_not_unpacked_further() -> None:
    raw = bytearray(docx("<w:p><w:r><w:t>" + "x" * 100_000 + "</w:t></w:r></w:p>"))
    with zipfile.ZipFile(BytesIO(raw)) as opened:
        declared = opened.getinfo("word/document.xml").file_size.to_bytes(4, "little")
    place = raw.rindex(declared)
    raw[place : place + 4] = (1000).to_bytes(4, "little")

    with pytest.raises(UnreadableFile, match=r"f\.docx cannot be read .*word/document\.xml"):
        read_docx(bytes(raw), "f.docx")


def test_a_pdf_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pdf(["one"], ["two"])
    assert read_pdf(content, "f.pdf").text == "one\n\ntwo"
    monkeypatch.setattr("ingest.documents.pdf.TIME_LIMIT_S", 0.0)
    with pytest.raises(UnreadableFile, match=r"f\.pdf takes over 0 s to read, 0 of its 2 pages by now"):
        read_pdf(content, "f.pdf")
