"""A turn is kept once and as a whole, at whatever moment the client goes away."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from threading import Lock
from typing import Any

import pytest

from api.apps import App, Apps, new_app
from api.chat.history import Chat, Place
from api.chat.remembered import remembered
from api.chat.shapes import EventStream, Wanted
from api.chat.turn import Event, Events, Question, Turn, run_turn
from retrieval.completion import Message
from retrieval.completion.extractive import NOTHING_FOUND, ExtractiveCompletion
from retrieval.errors import QuotebaseError
from retrieval.library import Library

QUESTION = Message("user", "who?")


@pytest.fixture
def app(library: Library) -> App:
    return Apps(library.store).create(new_app("film", (library.create_dataset("films").id,)))


def turn_of(app: App, library: Library) -> Events:
    return run_turn(app, Question(QUESTION), library.search, ExtractiveCompletion())


def chat_of(app: App, library: Library, lock: Lock) -> Chat:
    return Chat(library.store, Place(app.id, "2" * 24, "c"), lock)


def stored(library: Library) -> list[tuple[Any, Any]]:
    """(answer, whether it is complete) of each turn."""
    return [(turn.body["answer"], turn.body["complete"]) for turn in library.store.list_documents("turn")]


async def _when(
    events: Events, kind: type[Event], leave: Callable[[], Awaitable[None]]
) -> AsyncGenerator[Event, None]:
    async for event in events:
        if isinstance(event, kind):
            await leave()
        yield event


async def _cancelled(task: asyncio.Task[None]) -> None:
    await asyncio.wait((task,))
    assert task.cancelled()


async def _read(events: Events) -> None:
    async for _ in events:
        pass


def test_who_leaves_between_the_last_word_and_the_end_has_had_the_whole_answer(
    library: Library, app: App
) -> None:
    async def leave() -> None:
        task = asyncio.current_task()
        assert task
        task.cancel()

    async def main() -> None:
        events = _when(turn_of(app, library), Turn, leave)
        chat = chat_of(app, library, Lock())
        await _cancelled(asyncio.create_task(_read(remembered(events, chat, QUESTION, "mine"))))
        assert [turn.id for turn in chat.page_turns(0, 10).items] == ["mine"]

    asyncio.run(main())

    assert stored(library) == [(NOTHING_FOUND, True)]


def test_who_leaves_while_the_turn_is_stored_does_not_double_it(library: Library, app: App) -> None:
    async def main() -> None:
        ending = asyncio.Event()

        async def note() -> None:
            ending.set()

        # Another turn of the chat is being stored.
        lock = Lock()
        with lock:
            events = _when(turn_of(app, library), Turn, note)
            task = asyncio.create_task(_read(remembered(events, chat_of(app, library, lock), QUESTION, None)))
            await ending.wait()
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.sleep(0.1)
            assert stored(library) == []
        await _cancelled(task)

    asyncio.run(main())

    assert stored(library) == [(NOTHING_FOUND, True)]


def test_closing_a_stream_ends_its_turn_at_once(library: Library, app: App) -> None:
    """And not when somebody collects garbage."""

    async def nobody(_: Turn) -> dict[str, Any]:
        raise AssertionError("it has no details")

    async def widened(events: Events) -> AsyncGenerator[Event | QuotebaseError, None]:
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def main() -> None:
        events = remembered(turn_of(app, library), chat_of(app, library, Lock()), QUESTION, None)
        # Held here, so that it is not thrown away with the stream.
        held = widened(events)
        stream = EventStream(None, "m", Wanted()).encode(held, nobody)
        assert NOTHING_FOUND in await anext(stream)
        await stream.aclose()
        assert stored(library) == [(NOTHING_FOUND, False)]

    asyncio.run(main())
