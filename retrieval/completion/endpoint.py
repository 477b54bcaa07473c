"""Answers from an OpenAI-compatible ``/chat/completions`` endpoint."""

from collections.abc import Iterator

from retrieval.completion import Piece, Prompt, TextDelta, ToolDelta, Usage
from retrieval.errors import CompletionFailed
from retrieval.openai_client import EndpointError, OpenAIClient

MAX_RETRIES = 2
"""Fewer than for embeddings: somebody is waiting for the answer."""


class EndpointCompletion:
    """A chat model behind an endpoint."""

    def __init__(self, model: str, base_url: str, api_key: str | None, timeout_s: float) -> None:
        self.model = model
        self._client = OpenAIClient(base_url, api_key, timeout_s, MAX_RETRIES)

    def stream(self, prompt: Prompt) -> Iterator[Piece]:
        try:
            yield from self._stream(prompt)
        except EndpointError as error:
            raise CompletionFailed(
                f"the completion backend failed: {error}; check QUOTEBASE_COMPLETION_BASE_URL, "
                "QUOTEBASE_COMPLETION_API_KEY and the model's name"
            ) from error

    def _stream(self, prompt: Prompt) -> Iterator[Piece]:
        options = {
            **prompt.options,
            **({} if prompt.temperature is None else {"temperature": prompt.temperature}),
            **({} if prompt.max_tokens is None else {"max_tokens": prompt.max_tokens}),
        }
        messages = [
            {"role": message.role, "content": message.content, **message.extra} for message in prompt.messages
        ]
        for chunk in self._client.stream_chat(prompt.model or self.model, messages, options):
            for choice in chunk.choices:
                if choice.delta.content:
                    yield TextDelta(choice.delta.content)
                for call in choice.delta.tool_calls or ():
                    yield ToolDelta(call.model_dump(exclude_none=True))
            if chunk.usage:
                yield Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
