"""HTML pages to Markdown."""

import codecs
import re

from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector
from markdownify import MarkdownConverter

from ingest.documents import Document, as_document, check_size
from ingest.encodings import check_codec, decode_text
from retrieval.errors import InvalidRequest, UnreadableFile

MAX_HTML = 8 << 20
"""The largest page, in characters: its tree takes some seventy times as much memory."""

_UNSEEN = ("head", "script", "style", "template", "noscript", "svg")
_ABSOLUTE = re.compile(r"\s*(?:https?:|mailto:)", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*>")

# What browsers take these names for.
_WIDER = {"iso-8859-1": "cp1252", "us-ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}


def read_html(raw: bytes, name: str, encoding: str | None, replace: bool = False) -> Document:
    """A page in the encoding that it declares, if that can be, else in the one that is found out."""
    text, replaced = decode_text(raw, name, encoding or _declared_encoding(raw), replace)
    return from_html(text, name, replaced)


def _declared_encoding(raw: bytes) -> str | None:
    """What the page says it is in; ``None`` if it says nothing, or cannot be in that."""
    declared = EncodingDetector.find_declared_encoding(raw, is_html=True)
    # A page whose declaration can be read is in no UTF-16, and a byte order mark knows better.
    if not declared or declared.lower().startswith("utf-16") or raw.startswith(codecs.BOM_UTF8):
        return None
    try:
        codec = check_codec(_WIDER.get(declared.lower(), declared))
        raw.decode(codec)
    except (InvalidRequest, ValueError):
        return None
    return codec


def from_html(html: str, name: str, replaced: int = 0) -> Document:
    """What is shown of a page."""
    check_size(name, len(html), MAX_HTML)
    # Without either, Beautiful Soup would warn that the page may be XML, or a file name.
    soup = BeautifulSoup(_XML_DECLARATION.sub("", html) + "\n", "lxml")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    _leave_out_unreadable(soup)
    # Characters are not escaped: the text is searched and quoted more often than it is rendered.
    converter = _ToMarkdown(
        bullets="-",
        heading_style="atx",
        table_infer_header=True,
        escape_asterisks=False,
        escape_underscores=False,
    )
    try:
        return as_document(converter.convert_soup(soup), title, replaced)
    except RecursionError as error:
        raise UnreadableFile(f"{name} is nested too deeply: save it as plain text") from error


def _leave_out_unreadable(soup: BeautifulSoup) -> None:
    """What is not shown, and links and images that lead nowhere from a quote or are a file of their own."""
    for unseen in soup(_UNSEEN):
        unseen.decompose()
    for link in soup("a", href=True):
        if not _ABSOLUTE.match(str(link["href"])):
            link.unwrap()
    for image in soup("img"):
        if not _ABSOLUTE.match(str(image.get("src", ""))):
            image.replace_with(str(image.get("alt", "")))


class _ToMarkdown(MarkdownConverter):
    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A fence that is longer than any in the text."""
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        code = text.strip("\n")
        return f"\n\n{fence}\n{code}\n{fence}\n\n" if code.strip() else ""
