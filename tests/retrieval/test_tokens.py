"""Counting and cutting in cl100k_base."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.tokens import count_tokens, cut_to_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("hello world\n", 3),
        ("How do I store coffee beans?", 7),
        ("咖啡豆怎么保存", 11),
        ("咖啡豆怎么保存？\n密封，避光。", 21),
        ("😀", 2),
        ("👩‍👩‍👧‍👦", 18),
        ("\0", 1),
    ],
)
def test_count(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


@pytest.mark.parametrize("marker", ["<|endoftext|>", "<|fim_prefix|>", "<|endofprompt|>"])
def test_markers_are_plain_text(marker: str) -> None:
    assert count_tokens(marker) > 1
    assert count_tokens(f"a {marker} b") == count_tokens("a ") - 1 + count_tokens(f" {marker} b")
    assert cut_to_tokens(marker, 100) == marker


@pytest.mark.parametrize(
    ("text", "max_tokens", "cut"),
    [
        ("hello world", 0, ""),
        ("hello world", 1, "hello"),
        ("hello world", 2, "hello world"),
        ("hello world", 3, "hello world"),
        ("<|endoftext|>", 3, "<|endo"),
        ("咖啡豆怎么保存", 2, ""),
        ("咖啡豆怎么保存", 3, "咖"),
        ("咖啡豆怎么保存", 11, "咖啡豆怎么保存"),
        ("😀", 1, ""),
        ("😀", 2, "😀"),
        ("👩‍👩‍👧‍👦", 3, "👩"),
        ("", 5, ""),
    ],
)
def test_cut(text: str, max_tokens: int, cut: str) -> None:
    assert cut_to_tokens(text, max_tokens) == cut


@given(text=st.text() | st.text("咖啡豆😀ab \n", max_size=30), max_tokens=st.integers(0, 20))
def test_cut_is_a_beginning_within_the_count(text: str, max_tokens: int) -> None:
    cut = cut_to_tokens(text, max_tokens)
    assert text.startswith(cut)
    assert count_tokens(cut) <= max_tokens
    if count_tokens(text) <= max_tokens:
        assert cut == text


def test_a_long_text_is_counted_and_cut() -> None:
    text = "咖啡 coffee 😀 " * 10_000
    tokens = count_tokens(text)
    assert tokens > 50_000
    assert count_tokens(cut_to_tokens(text, 512)) in range(509, 513)
    assert cut_to_tokens(text, tokens) == text


def test_the_vocabulary_is_not_downloaded(tmp_path: Path) -> None:
    """Counting works where nothing has been cached and nothing can be reached."""
    unreachable = "http://127.0.0.1:9"
    environment = os.environ | {
        "TIKTOKEN_CACHE_DIR": str(tmp_path),
        "HTTPS_PROXY": unreachable,
        "HTTP_PROXY": unreachable,
        "NO_PROXY": "",
    }
    script = "from retrieval.tokens import count_tokens; print(count_tokens('hello world'))"
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "2"


def test_a_million_blanks_are_counted() -> None:
    assert 1 < count_tokens(" " * 1_200_000 + "x") < 1_200_000
