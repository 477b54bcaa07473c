"""A turn that is kept in its chat while it goes out."""

from contextlib import aclosing

from anyio.to_thread import run_sync

from api.chat.history import Chat
from api.chat.turn import AnswerPart, Events, Turn
from retrieval.completion import Message


async def remembered(events: Events, chat: Chat, question: Message, item_id: str | None) -> Events:
    """The same events; the turn is stored before its last one goes out, also when it breaks off.

    A turn of which nothing was answered is not stored: its question would stand before the next one without an answer.
    """
    said: list[str] = []
    is_complete = False
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, AnswerPart):
                    said.append(event.text)
                if isinstance(event, Turn):
                    is_complete = True
                    await run_sync(chat.append, question, event.reply, item_id, is_complete)
                yield event
    finally:
        if said and not is_complete:
            # Also where the client has hung up, which ends this between two pieces.
            await run_sync(chat.append, question, Message("assistant", "".join(said)), item_id, is_complete)
