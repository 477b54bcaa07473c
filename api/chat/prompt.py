"""What the completion backend is told: templates filled in, messages in order."""

import re
from collections.abc import Mapping, Sequence

from api.apps import App
from retrieval.completion import Content, Message
from retrieval.tokens import count_tokens
from retrieval.types import Quote

_VARIABLE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace ``{{name}}`` by its value, once: what was put in is not looked at again.

    Names without a value stay as they are.
    """
    return _VARIABLE.sub(lambda match: values.get(match[1], match[0]), template)


def render_quotes(quotes: Sequence[Quote], app: App, question: str, variables: Mapping[str, str]) -> str:
    """The quote prompt with every quote in it, numbered from 1."""
    lines = [
        _render_quote(quote, place, app.quote_template, variables)
        for place, quote in enumerate(quotes, start=1)
    ]
    return fill(app.quote_prompt, {**variables, "quote": "\n".join(lines), "question": question})


def _render_quote(quote: Quote, place: int, template: str, variables: Mapping[str, str]) -> str:
    if not quote.record.a:
        template = template.replace("\n{{a}}", "")
    return fill(
        template,
        {
            **variables,
            "q": quote.record.q,
            "a": quote.record.a,
            "source": quote.collection_name,
            "sourceId": quote.record.collection_id,
            "index": str(place),
            "score": f"{quote.score:.4f}",
        },
    )


def build_messages(
    app: App,
    quotes: Sequence[Quote],
    history: Sequence[Message],
    question: Message,
    variables: Mapping[str, str],
) -> tuple[Message, ...]:
    """System messages (quotes, the app's prompt, its limits), the history, the question."""
    quoted = render_quotes(quotes, app, text_of(question.content), variables) if quotes else ""
    prompts = (quoted, fill(app.system_prompt, variables), fill(app.limit_prompt, variables))
    system = [Message("system", prompt) for prompt in prompts if prompt]
    return (*system, *history, question)


def text_of(content: Content) -> str:
    """The text of a message; of parts, their texts, a line each."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")


def count_message_tokens(messages: Sequence[Message]) -> int:
    """Tokens of all texts in cl100k_base, without what a backend adds between messages."""
    return sum(count_tokens(text_of(message.content)) for message in messages)
