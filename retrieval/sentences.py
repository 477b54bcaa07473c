"""Where sentences end, in scripts with and without spaces between them."""

import re
from collections.abc import Iterator

_SENTENCE = re.compile(
    r"(?:[。！？；…｡]+|(?<![!?])[!?]++(?=[”’」』）】》〉\"]*+[“‘「『（【《〈\u3040-\u30ff\u4e00-\u9fff]))"
    r"[”’」』）】》〉]*(?P<quote>\"?)"
    r"|(?<![.!?])(?P<latin>[.!?]++)[\"'”’)\]*_]*+(?=\s++(?P<next>\S))"
)
_LAST_WORD = re.compile(r"(?:^|(?<=[\s(\[\"'“‘]))[^\s(\[\"'“‘]+$")
_INITIALS = re.compile(r"[A-HJ-Z]|(?:[A-Za-z]\.)+[A-Za-z]")
_ABBREVIATION = re.compile(
    r"adj|al|approx|capt|cf|co|col|corp|dept|dr|ed|eds|gen|gov|hon|inc|jr|lt|ltd|messrs|mr|mrs|ms|mt|prof|rep|rev"
    r"|sen|sgt|sr|st|viz|vs",
    re.IGNORECASE,
)
_BEFORE_NUMBER = re.compile(
    r"apr|aug|art|ch|chap|dec|eqs?|feb|figs?|jan|jul|jun|mar|nos?|nov|nr|oct|pp?|pt|sect?|sept?|vol",
    re.IGNORECASE,
)


def sentence_ends(text: str, start: int, stop: int) -> Iterator[int]:
    """Where sentences of ``text[start:stop]`` end, closing quotes included, ascending.

    The end of the last one may be missing: where there are spaces between words, a point ends a
    sentence only if another one begins behind it.
    """
    for match in _SENTENCE.finditer(text, start, stop):
        if match["latin"]:
            if not _ends_sentence(text, start, match):
                continue
            end = match.end()
        else:
            # A straight quote closes if it is the second one.
            is_closing = text.count('"', start, match.end()) % 2 == 0
            end = match.end() if is_closing else match.start("quote")
        yield end
        start = end


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    following = match["next"]
    if following.islower():
        return False
    if match["latin"] != ".":
        return True
    before = text[max(start, match.start() - 24) : match.start()]
    word = _LAST_WORD.search(before)
    if word is None:
        return True
    if word[0].isdigit():  # at the start of a line or a sentence it numbers what follows
        line = before[: word.start()].rstrip(" \t")
        return bool(line) and line[-1] not in "\r\n"
    if following.isdigit() and _BEFORE_NUMBER.fullmatch(word[0]):
        return False
    return not (_ABBREVIATION.fullmatch(word[0]) or _INITIALS.fullmatch(word[0]))
