"""Answers from an OpenAI-compatible ``/chat/completions`` endpoint."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing

from retrieval.completion import (
    CONTEXT_TOKENS,
    Finish,
    Piece,
    Prompt,
    TextDelta,
    ThoughtDelta,
    ToolDelta,
    Usage,
)
from retrieval.errors import CompletionFailed
from retrieval.openai_client import ChatChunk, EndpointError, OpenAIChat

MAX_RETRIES = 2
"""Fewer than for embeddings: somebody is waiting for the answer."""

OF_THE_REQUEST = frozenset((400, 404, 413, 415, 422))
"""Statuses that say something of what was asked for, and nothing of whether the backend works."""

THOUGHT_FIELDS = ("reasoning_content", "reasoning")
"""Where servers put thoughts; OpenAI's own API does not tell them."""


class EndpointCompletion:
    """A chat model behind an endpoint."""

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None,
        timeout_s: float,
        context_tokens: int = CONTEXT_TOKENS,
    ) -> None:
        self.model = model
        self.context_tokens = context_tokens
        self._chat = OpenAIChat(base_url, api_key, timeout_s, MAX_RETRIES)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        options = {
            **prompt.options,
            **({} if prompt.temperature is None else {"temperature": prompt.temperature}),
            **({} if prompt.max_tokens is None else {"max_tokens": prompt.max_tokens}),
        }
        messages = [
            {"role": message.role, "content": message.content, **message.extra} for message in prompt.messages
        ]
        model = prompt.model or self.model
        try:
            async with aclosing(self._chat.stream(model, messages, options)) as chunks:
                async for chunk in chunks:
                    for piece in _pieces(chunk, model):
                        yield piece
        except EndpointError as error:
            raise CompletionFailed(
                f"the completion backend failed: {error}; check QUOTEBASE_COMPLETION_BASE_URL, "
                "QUOTEBASE_COMPLETION_API_KEY and the model's name",
                is_of_request=error.status in OF_THE_REQUEST,
            ) from error

    async def aclose(self) -> None:
        await self._chat.aclose()


def _pieces(chunk: ChatChunk, model: str) -> Iterator[Piece]:
    for choice in chunk.choices:
        thought = next(filter(None, map(choice.delta.get, THOUGHT_FIELDS)), None)
        if isinstance(thought, str):
            yield ThoughtDelta(thought)
        if text := choice.delta.get("content"):
            yield TextDelta(text)
        for call in choice.delta.get("tool_calls") or ():
            yield ToolDelta(_without_nulls(call))
        if choice.finish_reason:
            yield Finish(choice.finish_reason, model)
    if chunk.usage:
        yield Usage(*chunk.usage)


def _without_nulls(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        name: _without_nulls(value) if isinstance(value, Mapping) else value
        for name, value in fields.items()
        if value is not None
    }
