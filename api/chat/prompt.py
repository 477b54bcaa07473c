"""What the completion backend is told: messages in order, as many as it takes.

    the quotes, the app's prompt, its limits | what was said before | the question

What does not fit goes, the oldest of what was said first, then the last quotes, each as a whole; the question and
the app's prompts stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from api.apps import App
from api.chat.quoting import fill, marks_of, render_quotes
from retrieval.completion import Message, text_of
from retrieval.tokens import count_tokens
from retrieval.types import Quote

TOKENS_A_MESSAGE = 4
"""What a chat template adds to each, as in OpenAI's cookbook on counting tokens."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The messages, and the quotes that are in them."""

    messages: tuple[Message, ...]
    quotes: tuple[Quote, ...]


def fit_messages(
    app: App,
    quotes: Sequence[Quote],
    history: Sequence[Message],
    question: Message,
    variables: Mapping[str, str],
    context_tokens: int,
) -> Fitted:
    """Messages that leave room for an answer, at least a half of ``context_tokens`` for themselves."""
    room = max(context_tokens - app.max_tokens, context_tokens // 2)
    marks = marks_of(app)
    values = {name: marks.neutral(value) for name, value in app.values(variables).items()}
    # The messages since the user last spoke, as a reply to a tool call stands for nothing without the call.
    *past, asked = _turns((*history, question))
    prompts = [
        Message("system", text)
        for text in (fill(app.system_prompt, values), fill(app.limit_prompt, values))
        if text
    ]
    room -= _cost((*prompts, *asked))
    kept = tuple(quotes)
    quoted = _quoted(kept, app, question, values)
    while kept and _cost(quoted) > room:
        kept = kept[:-1]
        quoted = _quoted(kept, app, question, values)
    said = _latest(past, room - _cost(quoted))
    return Fitted((*quoted, *prompts, *said, *asked), kept)


def _quoted(
    quotes: Sequence[Quote], app: App, question: Message, values: Mapping[str, str]
) -> tuple[Message, ...]:
    text = render_quotes(quotes, app, text_of(question.content), values)
    return (Message("system", text),) if text else ()


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Each from a message of the user to the next; what comes before the first is one as well."""
    turns: list[list[Message]] = [[]]
    for message in messages:
        if message.role == "user" and turns[-1]:
            turns.append([])
        turns[-1].append(message)
    return turns


def _latest(turns: Sequence[Sequence[Message]], room: int) -> Iterator[Message]:
    """The last turns that there is room for, and of those before only what the system said."""
    room -= _cost([one for turn in turns for one in turn if one.role == "system"])
    first = len(turns)
    while first and (cost := _cost([one for one in turns[first - 1] if one.role != "system"])) <= room:
        room -= cost
        first -= 1
    for place, turn in enumerate(turns):
        yield from (one for one in turn if place >= first or one.role == "system")


def _cost(messages: Sequence[Message]) -> int:
    return count_message_tokens(messages) + TOKENS_A_MESSAGE * len(messages)


def count_message_tokens(messages: Sequence[Message]) -> int:
    """Tokens of all texts in cl100k_base, without what a backend adds between messages."""
    return sum(count_tokens(text_of(message.content)) for message in messages)
