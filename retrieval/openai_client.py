"""The one place that speaks to OpenAI-compatible endpoints, through the official client.

The client retries connection errors, time-outs, 408, 409, 429 and 5xx with backoff and honours
Retry-After. What still fails comes out as :class:`EndpointError`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import openai
from openai.types.chat import ChatCompletionChunk

MAX_QUOTED = 300
"""Characters of a server's own words that go into a message."""


class EndpointError(Exception):
    """An endpoint that could not be reached or did not answer as it should.

    The message names it, is one line, and does not have the key in it.
    """


class OpenAIClient:
    """An OpenAI-compatible API at ``base_url``. Safe to use from several threads."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float, max_retries: int) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._client = openai.OpenAI(
            # Local servers need no key, the client insists on one.
            api_key=api_key or "none",
            base_url=base_url,
            timeout=timeout_s,
            max_retries=max_retries,
        )

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text, in their order. Raises EndpointError."""
        with self._translated():
            reply = self._client.embeddings.create(model=model, input=list(texts), encoding_format="float")
            vectors = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
        if len(vectors) != len(texts):
            raise EndpointError(f"{self._base_url} gave {len(vectors)} embeddings for {len(texts)} texts")
        return vectors

    def stream_chat(
        self, model: str, messages: Sequence[Mapping[str, object]], options: Mapping[str, object]
    ) -> Iterator[ChatCompletionChunk]:
        """The chunks of a streamed chat completion, usage included.

        Raises:
            EndpointError: at any chunk, or in the end if none said that the answer is complete.
        """
        is_complete = False
        with self._translated():
            stream = self._client.chat.completions.create(
                model=model,
                messages=cast("Any", list(messages)),
                stream=True,
                stream_options={"include_usage": True},
                extra_body=dict(options),
            )
            with stream:
                for chunk in stream:
                    # The client builds chunks out of whatever JSON it gets; some servers send null for nothing.
                    choices = chunk.choices or []
                    is_complete = is_complete or any(choice.finish_reason for choice in choices)
                    chunk.choices = [choice for choice in choices if choice.delta]
                    yield chunk
        if not is_complete:
            raise EndpointError(f"{self._base_url} ended its reply before the answer was complete")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except openai.APIStatusError as error:
            raise self._error(f"answered {error.status_code}", error.message) from error
        except openai.APIConnectionError as error:
            raise self._error("cannot be reached or broke off", error.__cause__ or error) from error
        except openai.OpenAIError as error:
            raise self._error("failed", error) from error
        except (ValueError, TypeError, AttributeError) as error:
            # The client does not look whether a reply is JSON, or has the fields of an OpenAI reply.
            raise self._error("gave a reply that is not OpenAI's", error) from error

    def _error(self, what: str, quoted: object) -> EndpointError:
        line = " ".join(str(quoted).split())
        if self._api_key:
            line = line.replace(self._api_key, "<the key>")
        return EndpointError(f"{self._base_url} {what}: {line[:MAX_QUOTED]}")
