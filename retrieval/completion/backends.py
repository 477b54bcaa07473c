"""Several completion backends: by name, each guarded by a limit and a circuit, one in the place of another.

prompt → the backend that was asked for → (failed before its first piece) the fallbacks in their order
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace

from retrieval.completion import (
    DEFAULT,
    EXTRACTIVE,
    BackendChoices,
    Completion,
    Piece,
    Prompt,
    open_completion,
)
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.errors import CompletionFailed, InvalidRequest

logger = logging.getLogger(__name__)

FAILURES = 5
"""In a row, after which a backend is left alone for a while."""

PAUSE_S = 30.0
"""How long; then one prompt tries whether it works again."""


def open_backends(choices: BackendChoices) -> "Backends":
    """Nothing is sent before the first prompt. Raises InvalidRequest for a fallback that is none of them."""
    others = {name: open_completion(choice) for name, choice in choices.others.items()}
    return Backends(open_completion(choices.default), others, choices.fallbacks)


class Backends:
    """The completion backends of a process.

    Args:
        default: called ``default``, and meant where no name is given.
        others: by name; ``extractive`` is there anyway.
        fallbacks: names of those that answer in the place of one that fails, in this order.

    Raises:
        InvalidRequest: a fallback has no such name.
    """

    def __init__(
        self,
        default: Completion,
        others: Mapping[str, Completion] | None = None,
        fallbacks: Sequence[str] = (),
    ) -> None:
        self._by_name = {DEFAULT: default, **(others or {}), EXTRACTIVE: ExtractiveCompletion()}
        self._fallbacks = tuple(self._find(name) for name in fallbacks)

    def named(self, name: str = "") -> Completion:
        """A backend, and behind it the fallbacks. Raises InvalidRequest, with the names there are."""
        chosen = self._find(name or DEFAULT)
        others = [other for other in self._fallbacks if other is not chosen]
        return InTurn([chosen, *others]) if others else chosen

    @property
    def default(self) -> Completion:
        """For what is written and not answered, such as q/a pairs: nobody takes its place."""
        return self._by_name[DEFAULT]

    async def aclose(self) -> None:
        """Let go of the connections of the running event loop."""
        for completion in self._by_name.values():
            await completion.aclose()

    def _find(self, name: str) -> Completion:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise InvalidRequest(
                f"there is no completion backend {name!r} (there are: {known})", "backend"
            ) from None


class InTurn:
    """The first of several backends that answers. One that has begun is not replaced any more."""

    def __init__(self, completions: Sequence[Completion]) -> None:
        self._completions = tuple(completions)
        self.model = completions[0].model
        self.context_tokens = min(completion.context_tokens for completion in completions)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        for place, completion in enumerate(self._completions):
            has_begun = False
            try:
                # The name of a model means something to the backend that it was chosen for, and to no other.
                async with aclosing(
                    completion.stream(replace(prompt, model="") if place else prompt)
                ) as pieces:
                    async for piece in pieces:
                        has_begun = True
                        yield piece
                return
            except CompletionFailed as error:
                if has_begun or place == len(self._completions) - 1:
                    raise
                logger.warning("asking the next completion backend: %s", error)

    async def aclose(self) -> None:
        for completion in self._completions:
            await completion.aclose()


class Guarded:
    """A backend that is not asked for more than it can do, nor again and again while it fails.

    Args:
        concurrency: answers under way at a time; ``None`` for any number.
    """

    def __init__(self, completion: Completion, concurrency: int | None = None) -> None:
        self._completion = completion
        self._slots = Slots(concurrency) if concurrency else None
        self._circuit = Circuit(completion.model)

    @property
    def model(self) -> str:
        return self._completion.model

    @property
    def context_tokens(self) -> int:
        return self._completion.context_tokens

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        # Who would be refused need not wait for a place first.
        self._circuit.refuse_if_open()
        async with self._slots.one() if self._slots else nullcontext():
            with self._circuit.closed():
                async with aclosing(self._completion.stream(prompt)) as pieces:
                    async for piece in pieces:
                        yield piece

    async def aclose(self) -> None:
        await self._completion.aclose()


class Circuit:
    """Open after ``FAILURES`` failures in a row, for ``pause_s``; then one attempt decides. Threads may share it."""

    def __init__(self, model: str, pause_s: float = PAUSE_S) -> None:
        self._model = model
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Around an attempt. Raises CompletionFailed at once while the circuit is open."""
        with self._lock:
            self._check()
            decides = self._failures >= FAILURES
            if decides:
                # Those that come before this attempt has ended are refused.
                self._open_until = time.monotonic() + self._pause_s
        try:
            yield
        except BaseException as error:
            if isinstance(error, CompletionFailed) and not error.is_of_request:
                self._note_failure()
            elif decides:
                # It says nothing of the backend: the next attempt decides.
                with self._lock:
                    self._open_until = 0.0
            raise
        with self._lock:
            self._failures = 0

    def refuse_if_open(self) -> None:
        """Raises CompletionFailed."""
        with self._lock:
            self._check()

    def _check(self) -> None:
        left = self._open_until - time.monotonic()
        if self._failures >= FAILURES and left > 0:
            raise CompletionFailed(
                f"the completion backend {self._model!r} failed {self._failures} times in a row and is left "
                f"alone: ask again in {left:.0f} seconds; the log says what went wrong"
            )

    def _note_failure(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures < FAILURES:
                return
            self._open_until = time.monotonic() + self._pause_s
        logger.warning(
            "the completion backend %r failed %d times in a row: it is left alone for %g seconds",
            self._model,
            self._failures,
            self._pause_s,
        )


class Slots:
    """So many at a time, first come first served, from whatever event loop of whatever thread."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._lock = threading.Lock()
        self._waiting: deque[Future[None]] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """While it is entered, there is one less for others."""
        await self._take()
        try:
            yield
        finally:
            self._give()

    async def _take(self) -> None:
        turn: Future[None] = Future()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            self._waiting.append(turn)
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            # It may have been given away at the same moment.
            if not turn.cancel() and not turn.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            self._free += 1
