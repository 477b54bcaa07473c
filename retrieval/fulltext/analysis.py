"""From text to terms: what a full-text index holds of a passage, and what a question asks it for.

    text → folded (width, case, traditional to simplified, accents) → runs → words and grams

Words are for languages with spaces, codes and numbers, and those that a dictionary finds in Chinese.
Grams are the pairs of neighbouring characters of scripts without spaces: what no dictionary knows is
found by them. Any text is words here; there is no syntax.
"""

import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import opencc
import regex
import rjieba
import Stemmer

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー"
"""Scripts that put no spaces between words."""

_INSIDE = r"'’.\-_/+:@#\&"
"""What stands between letters and digits inside a code, a number, an address."""

_END = r"(?:\+\+|[#+])?"
_LETTER = rf"[[\p{{L}}\p{{N}}]--[{UNSPACED}]]"
_RUNS = regex.compile(
    rf"(?V1)(?P<unspaced>[{UNSPACED}]+)"
    rf"|(?P<word>{_LETTER}+(?:[\p{{M}}{_INSIDE}]*{_LETTER}+)*\p{{M}}*{_END})"
)
# The same where it takes a sixth of the time.
_ASCII_RUNS = re.compile(rf"[a-z0-9]+(?:[{_INSIDE}]*[a-z0-9]+)*{_END}")
_PARTS = regex.compile(r"[\p{L}\p{N}\p{M}]+")
_LETTERS_OR_DIGITS = regex.compile(r"\p{N}+|[\p{L}\p{M}]+")
_HAN = regex.compile(r"\p{Han}")
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Variation_Selector}]+")
_LATIN_ACCENTS = regex.compile(r"(?<=[a-z])\p{M}+")

_CLITICS = frozenset(("s", "t", "d", "m", "re", "ve", "ll"))
"""What English hangs on with an apostrophe."""

CODE_DIGITS = 3

LEAD_COUNTS = 3

MAX_TERM = 100
"""Characters of the longest term; longer ones, which nobody asks for, are found by their beginning."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a text, in order and repeated as they are in it."""

    words: list[str]
    grams: list[str]

    @property
    def distinct(self) -> tuple[str, ...]:
        """All of them once, in the order of their first appearance."""
        return tuple(dict.fromkeys([*self.words, *self.grams]))


def analyse(text: str) -> Terms:
    """The terms of any text, that of a passage or a question."""
    folded = fold(text)
    words: list[str] = []
    grams: list[str] = []
    if folded.isascii():
        for run in _ASCII_RUNS.findall(folded):
            words += _spaced_words(run)
        return Terms(words, grams)
    for unspaced, word in _RUNS.findall(folded):
        if unspaced:
            words += _dictionary_words(unspaced)
            grams += _pairs(unspaced)
        else:
            words += _spaced_words(word)
    return Terms(words, grams)


def analyse_passage(text: str) -> Terms:
    """The terms of a passage, those of its first line ``LEAD_COUNTS`` times: it is the question, or the title.

    nDCG@10 of full text alone with the first line once, twice, three and four times: scifact train 0.712,
    0.714, 0.716, 0.715; medical_faq_zh dev 0.570, 0.586, 0.592, 0.592; cmrc2018 dev 0.983, 0.985, 0.986, 0.987.
    """
    first_line, _, others = text.partition("\n")
    lead, rest = analyse(first_line), analyse(others)
    return Terms(LEAD_COUNTS * lead.words + rest.words, LEAD_COUNTS * lead.grams + rest.grams)


def codes(text: str) -> list[str]:
    """The terms of what has three digits or more together with letters or marks, as AB-1204/x has.

    What has fewer names a kind of thing rather than one: p53, B12, COVID-19.
    """
    runs = (word for _, word in _RUNS.findall(fold(text)) if sum(map(str.isdigit, word)) >= CODE_DIGITS)
    return ["".join(_PARTS.findall(run)) for run in runs if not run.isdigit()]


def fold(text: str) -> str:
    """One form for what is the same to a reader: widths, cases, traditional and simplified characters.

    What nobody sees, as soft hyphens and the joiners of other scripts, goes.
    """
    if text.isascii():
        return text.lower()
    folded: str = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()
    simplified: str = _simplified().convert(folded) if _HAN.search(folded) else folded
    return simplified


@lru_cache(maxsize=1)
def _simplified() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


def _dictionary_words(run: str) -> list[str]:
    return rjieba.cut_for_search(run) if len(run) > 1 else [run]


def _pairs(run: str) -> list[str]:
    return [run[start : start + 2] for start in range(max(1, len(run) - 1))]


@lru_cache(maxsize=65_536)
def _spaced_words(run: str) -> tuple[str, ...]:
    """The stems of a word's parts; what has digits in it is a code, and is found as a whole as well."""
    run = _without_accents(run)
    parts = _PARTS.findall(run)
    if len(parts) > 1 and parts[-1] in _CLITICS and run[-len(parts[-1]) - 1] in "'’":
        parts = parts[:-1]
    words = [term for part in parts for term in (_stem(part), *_letters_and_digits(part))]
    is_code = len(parts) > 1 and any(character.isdigit() for character in run)
    # Without its punctuation: AB-1204/x is AB1204X to many.
    whole = ["".join(parts)] if is_code else []
    marked = [run] if run.endswith(("+", "#")) else []
    return tuple(term[:MAX_TERM] for term in (*whole, *marked, *words))


def _without_accents(run: str) -> str:
    """Latin letters without their accents; other scripts as they are."""
    if run.isascii():
        return run
    return unicodedata.normalize("NFC", _LATIN_ACCENTS.sub("", unicodedata.normalize("NFKD", run)))


def _letters_and_digits(part: str) -> list[str]:
    """The letters and the digits of what has both."""
    found = _LETTERS_OR_DIGITS.findall(part)
    return found if 1 < len(found) <= 8 else []


class _PerThread(threading.local):
    """A stemmer is for one thread only."""

    def __init__(self) -> None:
        self.stemmer = Stemmer.Stemmer("english")


_own = _PerThread()


def _stem(word: str) -> str:
    stem: str = _own.stemmer.stemWord(word) if word.isalpha() else word
    return stem
