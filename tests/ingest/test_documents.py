"""Documents: their words come through in order, with headings, lists, tables and code as Markdown."""

import csv
import os
from collections.abc import Sequence
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from pypdf import PdfReader, PdfWriter

from ingest.documents import DOCUMENT_SUFFIXES, MAX_BYTES, Document, read_document
from ingest.documents.html import MAX_HTML
from ingest.documents.word import MAX_XML_BYTES
from retrieval.errors import InvalidRequest, UnreadableFile


def read(tmp_path: Path, name: str, content: bytes, encoding: str | None = None) -> Document:
    """The file has another name than the one it is read under, as uploads do."""
    path = tmp_path / "upload"
    path.write_bytes(content)
    return read_document(path, name, encoding)


def assert_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(UnreadableFile, match=words) as raised:
        read(tmp_path, name, content)
    assert name in raised.value.message


# Text and Markdown


@pytest.mark.parametrize("suffix", [".md", ".mdx", ".markdown", ".txt", ".MD"])
def test_text_is_taken_as_it_is_but_for_line_ends(tmp_path: Path, suffix: str) -> None:
    text = " a\t *b*\r\n\r\n# 标题 {#id}\r\\_<x>&amp;\x0b\u2028\n\n\n"
    document = read(tmp_path, f"f{suffix}", text.encode())
    assert document == Document("标题", " a\t *b*\n\n# 标题 {#id}\n\\_<x>&amp;\x0b\u2028\n\n\n")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\ntitle: Coffee\n---\n# Beans", "Coffee"),
        ('---\nid: 1\ntitle: "Coffee: all"\n---\ntext', "Coffee: all"),
        ("---\nid: 1\n---\n\n# Beans", "Beans"),
        ("---\ntitle: >-\n  folded\n---\n# Beans", "Beans"),
        ("---\n\nkey: Coffee\n---\n", "key: Coffee"),
        ("text\n\nBeans\n=====", "Beans"),
        ("```\n# code\n```", ""),
        ("", ""),
    ],
)
def test_the_title_is_that_of_the_front_matter_or_the_first_heading(
    tmp_path: Path, text: str, title: str
) -> None:
    assert read(tmp_path, "f.md", text.encode()) == Document(title, text)


def test_encodings_of_text(tmp_path: Path) -> None:
    text = "# 咖啡豆怎么保存\n\n咖啡豆要密封保存，放在阴凉干燥的地方，不要放进冰箱。\n"
    for encoding in ("utf-8", "utf-8-sig", "gb18030", "utf-16"):
        assert read(tmp_path, "f.txt", text.encode(encoding)) == Document("咖啡豆怎么保存", text)
    assert read(tmp_path, "f.txt", "naïve".encode("cp850"), encoding="cp850").text == "naïve"
    with pytest.raises(InvalidRequest, match="'klingon'"):
        read(tmp_path, "f.txt", b"x", encoding="klingon")


@pytest.mark.parametrize(
    ("name", "raw", "text"),
    [
        ("f.md", b"caf\xff \xef\xbf\xbd", "caf\ufffd \ufffd"),
        ("f.html", '<meta charset="utf-8"><p>咖啡豆'.encode() + b"\xff", "咖啡豆\ufffd"),
        ("f.html", '<meta charset="ascii"><p>咖啡豆'.encode() + b"\xff", "咖啡豆\ufffd"),
    ],
)
def test_what_cannot_be_decoded_is_replaced(tmp_path: Path, name: str, raw: bytes, text: str) -> None:
    assert_refused(tmp_path, name, raw, "pass --errors replace")
    path = tmp_path / "upload"
    document = read_document(path, name, replace=True)
    assert (document.text.strip(), document.replaced) == (text, 1)
    assert read_document(path, name, "utf-8", replace=True) == document


# HTML

PAGE = """<!DOCTYPE html><html><head><title> Keeping
  coffee </title><style>p {color: red}</style></head><body>
<script>if (a < b) hidden()</script><noscript>hidden</noscript><template>hidden</template>
<h1>Coffee <a href="#coffee">¶</a></h1>
<p>Keep it <b>cool</b>, snake_case * 2 &lt; 3 &amp; <a href="http://x/a">dark</a>, see <a href="b.html">below</a>.
<p>A new one<br>in two lines <img src="data:image/png;base64,AAAA" alt="a jar"><img src="http://x/j.png" alt="jar">
<ul><li>one<ul><li>inner</ul><li>two</ul>
<ol><li>first<li>second</ol>
<table><tr><th>Bean<th>Days<tr><td>Arabica<td>28</table>
<pre><code>if x:
    return "```"
</code></pre>
<blockquote>Quoted</blockquote>
</body></html>"""

MARKDOWN = """# Coffee ¶

Keep it **cool**, snake_case * 2 < 3 & [dark](http://x/a), see below.

A new one
in two lines a jar![jar](http://x/j.png)

- one
  - inner
- two

1. first
2. second

| Bean | Days |
| --- | --- |
| Arabica | 28 |

````
if x:
    return "```"
````

> Quoted"""


def without_trailing_blanks(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n"))


@pytest.mark.parametrize("suffix", [".html", ".htm"])
def test_html_becomes_markdown(tmp_path: Path, suffix: str) -> None:
    document = read(tmp_path, f"f{suffix}", PAGE.encode())
    assert document.title == "Keeping coffee"
    assert without_trailing_blanks(document.text) == MARKDOWN


def test_a_page_without_a_title_has_its_first_heading(tmp_path: Path) -> None:
    assert read(tmp_path, "f.html", b"<h2>Beans</h2>text") == Document("Beans", "## Beans\n\ntext")
    assert read(tmp_path, "f.html", b"") == Document("", "")


@pytest.mark.parametrize(
    ("declaration", "encoding", "text"),
    [
        ('<meta charset="koi8-r">', "koi8-r", "кофе"),
        ('<meta http-equiv=Content-Type content="text/html; charset=gb2312">', "gbk", "咖啡囍"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><html>', "cp1252", "“café”"),
        ('<meta charset="iso-8859-1">', "utf-8-sig", "咖啡"),
        ('<meta charset="ascii">', "utf-8", "咖啡豆要密封保存"),
        ('<meta charset="utf-16">', "utf-8", "咖啡豆要密封保存"),
        ('<meta charset="klingon">', "utf-8", "咖啡豆要密封保存"),
    ],
)
def test_the_encoding_that_a_page_declares(
    tmp_path: Path, declaration: str, encoding: str, text: str
) -> None:
    assert read(tmp_path, "f.html", f"{declaration}<p>{text}".encode(encoding)).text == text


def test_the_encoding_of_the_caller_comes_before_that_of_the_page(tmp_path: Path) -> None:
    page = '<meta charset="cp1251"><p>кофе'.encode("koi8-r")
    assert read(tmp_path, "f.html", page, encoding="koi8-r").text == "кофе"


def test_a_page_that_is_nested_too_deeply(tmp_path: Path) -> None:
    assert read(tmp_path, "f.html", b"<div>" * 100 + b"deep").text == "deep"
    assert_refused(tmp_path, "f.html", b"<div>" * 2000 + b"deep", "nested too deeply: save it")


class VisibleText(HTMLParser):
    """What a page shows, with the reader of the standard library."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self._hidden = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("head", "script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("head", "script", "style")

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden else data


def test_everything_that_real_pages_show_is_in_the_text_in_order(shared_data: Path) -> None:
    folder = shared_data / "docs"
    pages = sorted(folder.glob("*/*.html"))
    assert len(pages) == 10
    for path in pages:
        characters = iter(read_document(path, path.name).text)
        visible = "".join(VisibleText(path.read_text(encoding="utf-8")).text.split())
        assert len(visible) > 200
        missing = next((place for place, shown in enumerate(visible) if shown not in characters), None)
        assert missing is None, f"{path.name} lacks {visible[missing:][:40]!r}"


def test_text_of_real_documents_is_untouched(shared_data: Path) -> None:
    folder = shared_data / "docs"
    with (folder / "manifest.csv").open(encoding="utf-8") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["format"] != "html"]
    assert len(rows) == 29
    for row in rows:
        text = (folder / row["file"]).read_bytes().decode("utf-8-sig")
        document = read_document(folder / row["file"], row["file"])
        assert document.text == text.replace("\r\n", "\n").replace("\r", "\n")
        assert bool(document.title) is (row["format"] != "txt")


# PDF


def pdf(*pages: Sequence[str], title: str = "") -> bytes:
    """Pages of lines in Helvetica."""
    kids = " ".join(f"{4 + 2 * place} 0 R" for place in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for place, lines in enumerate(pages):
        shown = "".join(f"({line}) Tj T* " for line in lines)
        content = f"BT /F1 12 Tf 72 700 Td 14 TL {shown}ET"
        resources = "/Resources<</Font<</F1 3 0 R>>>>"
        objects += [
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * place} 0 R{resources}>>",
            f"<</Length {len(content)}>>stream\n{content}\nendstream",
        ]
    objects.append(f"<</Title({title})>>")
    body, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer<</Size {size}/Root 1 0 R/Info {len(objects)} 0 R>>\nstartxref\n{len(body)}\n%%EOF"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode("ascii")


def encrypted(content: bytes, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(content)))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


def test_pages_of_a_pdf_are_joined(tmp_path: Path) -> None:
    content = pdf(["Keep beans in a closed con-", "tainer."], [], ["# Second", "page."], title="Coffee")
    text = "Keep beans in a closed con-\ntainer.\n\n# Second\npage."
    assert read(tmp_path, "f.pdf", content) == Document("Coffee", text)
    assert read(tmp_path, "f.pdf", pdf(["text"])).title == ""


def test_a_pdf_that_needs_no_password_to_be_read(tmp_path: Path) -> None:
    assert read(tmp_path, "f.pdf", encrypted(pdf(["Hello"]), "")).text == "Hello"


def test_pdfs_without_text(tmp_path: Path) -> None:
    assert_refused(tmp_path, "f.pdf", encrypted(pdf(["Hello"]), "secret"), "encrypted: save it without")
    assert_refused(tmp_path, "f.pdf", pdf([], [" "]), "OCR")


@pytest.mark.parametrize("content", [b"", b"no PDF", pdf(["Hello"])[:200], b"%PDF-1.4\n%%EOF"])
def test_broken_pdfs(tmp_path: Path, content: bytes) -> None:
    assert_refused(tmp_path, "f.pdf", content, "cannot be read as a PDF .*: save or print it as a new one")


# Word

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
WORD_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"


def docx(body: str) -> bytes:
    """A Word document with a Title style, a heading 1 under its Chinese id, and lists 1 (bullets) and 2."""
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{id_}"><w:name w:val="{name}"/></w:style>'
        for id_, name in (("a3", "Title"), ("1", "heading 1"))
    )
    levels = "".join(
        f'<w:abstractNum w:abstractNumId="{number}">'
        + "".join(f'<w:lvl w:ilvl="{level}"><w:numFmt w:val="{form}"/></w:lvl>' for level in (0, 1))
        + "</w:abstractNum>"
        for number, form in ((1, "bullet"), (2, "decimal"))
    )
    numbers = "".join(f'<w:num w:numId="{n}"><w:abstractNumId w:val="{n}"/></w:num>' for n in (1, 2))
    parts = {"document": f"<w:body>{body}</w:body>", "styles": styles, "numbering": levels + numbers}
    target = BytesIO()
    with ZipFile(target, "w", ZIP_DEFLATED) as file:
        overrides = "".join(
            f'<Override PartName="/word/{part}.xml" ContentType="{WORD_TYPE}.{part}+xml"/>' for part in parts
        )
        file.writestr("[Content_Types].xml", f'<Types xmlns="{PACKAGE}/content-types">{overrides}</Types>')
        for folder, names in (("_rels/.rels", ["document"]), ("word/_rels/document.xml.rels", [*parts][1:])):
            base = "word/" if names == ["document"] else ""
            relations = "".join(
                f'<Relationship Id="{name}" Type="{OFFICE}/{"officeDocument" if base else name}" '
                f'Target="{base}{name}.xml"/>'
                for name in names
            )
            file.writestr(
                folder, f'<Relationships xmlns="{PACKAGE}/relationships">{relations}</Relationships>'
            )
        for part, content in parts.items():
            root = "document" if part == "document" else part
            file.writestr(f"word/{part}.xml", f'<w:{root} xmlns:w="{WORD}">{content}</w:{root}>')
    return target.getvalue()


def paragraph(text: str, style: str = "", list_number: int = 0, level: int = 0) -> str:
    marks = f'<w:pStyle w:val="{style}"/>' if style else ""
    if list_number:
        marks += f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{list_number}"/></w:numPr>'
    return f"<w:p><w:pPr>{marks}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_a_word_document_becomes_markdown(tmp_path: Path) -> None:
    cells = "<w:tr>" + "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("豆子", "天数")) + "</w:tr>"
    body = [
        paragraph("咖啡手册", style="a3"),
        paragraph("保存", style="1"),
        paragraph("密封 &lt;阴凉&gt; snake_case。"),
        paragraph("one", list_number=1),
        paragraph("inner", list_number=1, level=1),
        paragraph("first", list_number=2),
        paragraph("second", list_number=2),
        f"<w:tbl>{cells}{cells}</w:tbl>",
        '<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:t xml:space="preserve">end </w:t></w:r></w:p>',
    ]
    markdown = """# 咖啡手册

# 保存

密封 <阴凉> snake_case。

- one
  - inner

1. first
2. second

| 豆子 | 天数 |
| --- | --- |
| 豆子 | 天数 |

end"""
    assert read(tmp_path, "f.docx", docx("".join(body))) == Document("咖啡手册", markdown)


@pytest.mark.parametrize("content", [b"", b"no zip", docx("<w:p>")[:500], docx("<w:p>"), docx("<x:p/>")])
def test_broken_word_documents(tmp_path: Path, content: bytes) -> None:
    assert_refused(tmp_path, "f.docx", content, "cannot be read as a Word document .*: open it in")


def test_a_zip_archive_that_is_no_word_document(tmp_path: Path) -> None:
    target = BytesIO()
    with ZipFile(target, "w") as file:
        file.writestr("other.txt", "x")
    assert_refused(tmp_path, "f.docx", target.getvalue(), "cannot be read as a Word document")


def test_an_old_or_encrypted_word_document(tmp_path: Path) -> None:
    old = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512)
    assert_refused(tmp_path, "f.docx", old, r"old Word document or encrypted: save it as \.docx")


# Files that are not read


def test_files_of_other_kinds(tmp_path: Path) -> None:
    for name in ("f.doc", "f", "md"):
        assert_refused(tmp_path, name, b"x", r"give one of \.md, \.mdx, \.markdown, \.txt, \.html")
    assert DOCUMENT_SUFFIXES == (".md", ".mdx", ".markdown", ".txt", ".html", ".htm", ".pdf", ".docx")


@pytest.mark.parametrize("suffix", DOCUMENT_SUFFIXES)
def test_files_that_are_too_large(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "upload"
    path.touch()
    os.truncate(path, MAX_BYTES + 1)
    with pytest.raises(UnreadableFile, match=r"f\..* is larger than 64 MB: split it"):
        read_document(path, f"f{suffix}")


def test_trees_that_would_be_too_large(tmp_path: Path) -> None:
    assert_refused(tmp_path, "f.html", b"<p>" + b"x" * MAX_HTML, "larger than 8 MB")
    assert len(read(tmp_path, "f.html", b"<p>" + b"x" * (MAX_HTML - 3)).text) == MAX_HTML - 3
    bomb = docx(" " * MAX_XML_BYTES)
    assert len(bomb) < 100_000
    assert_refused(tmp_path, "f.docx", bomb, "larger than 16 MB")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"^faq\.md cannot be read: No such file"):
        read_document(tmp_path / "missing", "faq.md")
    with pytest.raises(UnreadableFile, match=r"^faq\.md cannot be read: Is a directory"):
        read_document(tmp_path, "faq.md")
