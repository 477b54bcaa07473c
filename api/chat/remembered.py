"""A turn that is kept in its chat while it goes out."""

from contextlib import aclosing

from anyio.to_thread import run_sync

from api.chat.history import Chat
from api.chat.turn import AnswerPart, Events, Turn
from retrieval.completion import Message
from retrieval.types import new_id


async def remembered(events: Events, chat: Chat, question: Message, item_id: str | None) -> Events:
    """The same events; the turn is stored before its last one goes out, also when it breaks off.

    A turn of which nothing was answered is not stored: its question would stand before the next one without an answer.
    """
    said: list[str] = []
    reply: Message | None = None
    is_stored = False
    # Under one id it is one turn, however often it is stored.
    item_id = item_id or new_id()
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, AnswerPart):
                    said.append(event.text)
                if isinstance(event, Turn):
                    reply = event.reply
                    await run_sync(chat.append, question, reply, item_id, True)
                    is_stored = True
                yield event
    finally:
        # Also where the client has hung up, which ends this between two pieces, or while the turn was being stored.
        if not is_stored and (reply or said):
            kept = reply or Message("assistant", "".join(said))
            await run_sync(chat.append, question, kept, item_id, reply is not None)
