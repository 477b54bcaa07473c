"""Encodings from before Unicode, which bytes do not prove: chardet's guess, and whether it reads plausibly."""

import codecs
import re
import unicodedata

# Those of wide use, with chardet's names. Of each family the widest: GB18030 has all of GBK,
# big5hkscs all of Big5, cp932 and cp949 what Windows writes as Shift-JIS and EUC-KR.
_ONE_BYTE = {
    "cp1252": "cp1252",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1253": "cp1253",
    "cp1254": "cp1254",
    "iso8859-2": "iso8859-2",
    "iso8859-7": "iso8859-7",
    "koi8-r": "koi8-r",
}
_LEGACY = {
    "gb18030": "gb18030",
    "big5hkscs": "big5hkscs",
    "cp932": "cp932",
    "euc_jp": "euc_jis_2004",
    "cp949": "cp949",
    **_ONE_BYTE,
}

KANA_SHARE = 0.3
"""So many of the characters beyond ASCII are kana in Japanese; in no other reading of bytes are they."""

FEWEST_LETTERS = 3
"""Different letters beyond ASCII that an encoding of one byte each is told by, where not Western."""

_KANA = re.compile("[\u3041-\u30fe]")
_WORD = re.compile(r"[^\W\d_]+")
_ASCII_LETTER = re.compile("[A-Za-z]")
_OTHER_LETTER = re.compile("[\u0370-\u04ff]")
_ALPHABETS = tuple(
    map(
        frozenset,
        (
            "àâæçèéêëîïôœùûü",  # French
            "äöüßéèà",  # German
            "áéíñóúüªºç",  # Spanish
            "àáâãçéêíóôõúüªº",  # Portuguese
            "àèéìíîòóùúªº",  # Italian
            "àçèéíïòóúü",  # Catalan
            "äéèëïöüóá",  # Dutch
            "åäöæøéüà",  # Nordic
            "áæéíðóöúýþ",  # Icelandic
            "šžõäöü",  # Estonian
        ),
    )
)
_SIGNS = frozenset("‘’“”„‚‹›«»–—…•·¿¡€£¥§©®™°±×÷²³µ¼½¾´№\xa0")
_BROKEN_WORD = re.compile(r"[^\W\d_][£¥§©®°±×÷²³¹¼½¾¿¡][^\W\d_]|£[^\W\d_]|[a-zß-öø-þ][À-ÖØ-ÞŒŠŽŸ]")


def detect_codepage(sample: bytes) -> str | None:
    """The Python codec of lines that are no UTF-8, each with bytes beyond ASCII; ``None`` if none is plausible.

    Kana in Shift-JIS and letters of one Western language in cp1252 decide; else what chardet ranks
    first among those in which the sample decodes and makes words.
    """
    readings = {encoding: text for encoding in _LEGACY if (text := reading(sample, encoding))}
    import chardet

    found = chardet.detect_all(
        sample, ignore_threshold=True, compat_names=False, include_encodings=_LEGACY.values()
    )
    by_name = {name: encoding for encoding, name in _LEGACY.items()}
    ranked = [by_name.get(item["encoding"] or "") for item in found]
    best = next((encoding for encoding in ranked if encoding in readings), None)
    if _kana_share(readings.get("cp932", "")) >= KANA_SHARE:
        return "cp932"
    if best in ("gb18030", *_ONE_BYTE) and _kana_share(readings.get("euc_jp", "")) >= KANA_SHARE:
        return "euc_jp"
    if best in _ONE_BYTE and _is_western(readings.get("cp1252", "")):
        return "cp1252"
    alike = [item for item in ranked if item in readings and (item in _ONE_BYTE) == (best in _ONE_BYTE)]
    return next((item for item in alike if _is_one_script(readings[item], item)), None)


def _kana_share(text: str) -> float:
    """Of all characters beyond ASCII; half-width katakana, which any bytes are, do not count."""
    beyond = len(text) - len(text.encode("ascii", "ignore"))
    return len(_KANA.findall(text)) / beyond if beyond else 0.0


def _is_western(text: str) -> bool:
    """Whether the letters are those of one Western language, and go together with ASCII ones."""
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    letters = {letter for word in words for letter in word.lower() if letter > "\x7f"}
    inside = [letter for word in words if len(word) > 1 for letter in word]
    is_mixed = sum(letter > "\x7f" for letter in inside) <= 0.7 * len(inside)
    signs = {letter for letter in text if letter > "\x7f" and not letter.isalpha()}
    is_one_language = any(letters <= alphabet for alphabet in _ALPHABETS) and signs <= _SIGNS
    return bool(text) and is_mixed and is_one_language and not _BROKEN_WORD.search(text)


def _is_one_script(text: str, encoding: str) -> bool:
    """Whether there are words, and none put together from scripts that never are; Chinese may be."""
    if encoding not in _ONE_BYTE:
        return True
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    mixed = sum(bool(_ASCII_LETTER.search(word) and _OTHER_LETTER.search(word)) for word in words)
    broken = len(_BROKEN_WORD.findall(text))
    letters = {letter for word in words for letter in word.lower() if letter > "\x7f"}
    beyond = [letter for letter in text if letter > "\x7f"]
    strange = sum(not letter.isalpha() and letter not in _SIGNS for letter in beyond)
    is_plausible = mixed + broken <= len(words) / 20 and strange <= len(beyond) / 20
    return len(letters) >= FEWEST_LETTERS and is_plausible


def reading(sample: bytes, encoding: str) -> str | None:
    """The sample in this encoding, unless it is none or reads as nothing that is in use."""
    try:
        text = decode_cut(sample, encoding)
    except UnicodeDecodeError:
        return None
    return text if _is_assigned(text) else None


def decode_cut(raw: bytes, encoding: str, errors: str = "strict") -> str:
    """``raw`` as text; its last character may be cut off. Raises UnicodeDecodeError."""
    return codecs.getincrementaldecoder(encoding)(errors).decode(raw)


def _is_assigned(text: str) -> bool:
    """Whether all but one in a hundred characters mean something: no controls, nothing private."""
    strange = sum(unicodedata.category(letter) in ("Cc", "Cn", "Co") for letter in text)
    return strange - sum(map(text.count, "\t\n\v\f\r")) <= len(text) / 100
