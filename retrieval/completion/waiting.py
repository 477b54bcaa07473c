"""Whole answers, for threads that wait for them."""

import asyncio
import threading
from contextlib import aclosing

from retrieval.completion import Completion, Prompt, TextDelta, ThoughtDelta
from retrieval.errors import CompletionFailed

LOOK_S = 0.1
"""Between two looks whether the answer is still wanted."""


def answer_of(
    completion: Completion,
    prompt: Prompt,
    *,
    max_chars: int,
    timeout_s: float | None = None,
    stopped: threading.Event | None = None,
) -> str:
    """The text of an answer.

    Args:
        max_chars: after so many, thoughts included, the call is ended.
        timeout_s: how long the whole answer may take.
        stopped: set by another thread, it ends the call; what was answered until then is the answer.

    Raises:
        CompletionFailed: the backend did, or took longer.
    """
    return asyncio.run(_answer(completion, prompt, max_chars, timeout_s, stopped))


async def _answer(
    completion: Completion,
    prompt: Prompt,
    max_chars: int,
    timeout_s: float | None,
    stopped: threading.Event | None,
) -> str:
    pieces: list[str] = []
    reading = asyncio.create_task(_read(completion, prompt, max_chars, pieces))
    try:
        async with asyncio.timeout(timeout_s):
            while not (reading.done() or (stopped and stopped.is_set())):
                await asyncio.wait((reading,), timeout=LOOK_S)
    except TimeoutError:
        raise CompletionFailed(
            f"the completion backend did not answer within {timeout_s:g} seconds: take a faster model for this"
        ) from None
    finally:
        reading.cancel()
        await asyncio.wait((reading,))
        await completion.aclose()
    if not reading.cancelled():
        reading.result()
    return "".join(pieces)


async def _read(completion: Completion, prompt: Prompt, max_chars: int, pieces: list[str]) -> None:
    size = 0
    async with aclosing(completion.stream(prompt)) as stream:
        async for piece in stream:
            if isinstance(piece, TextDelta):
                pieces.append(piece.text)
            if isinstance(piece, TextDelta | ThoughtDelta):
                size += len(piece.text)
            if size > max_chars:
                return
