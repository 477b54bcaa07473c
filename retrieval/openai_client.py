"""The one place that speaks to OpenAI-compatible endpoints, through the official client.

The client retries connection errors, time-outs, 408, 409, 429 and 5xx with backoff and honours
Retry-After. What still fails comes out as :class:`EndpointError`.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import openai

MAX_QUOTED = 300
"""Characters of a server's own words that go into a message."""


class EndpointError(Exception):
    """An endpoint that could not be reached or did not answer as it should.

    The message names it, is one line, and does not have the key in it. ``status`` is what it answered with,
    if it was that.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ChatChoice:
    """A piece of an answer; the fields of ``delta`` as they came."""

    delta: Mapping[str, Any]
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class ChatChunk:
    """What a chunk of a stream says. ``usage`` are tokens of the prompt and of the answer."""

    choices: tuple[ChatChoice, ...]
    usage: tuple[int, int] | None


class OpenAIEmbeddings:
    """``/embeddings`` of an OpenAI-compatible API at ``base_url``. Safe to use from several threads."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float, max_retries: int) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._client = openai.OpenAI(
            api_key=api_key or NO_KEY, base_url=base_url, timeout=timeout_s, max_retries=max_retries
        )

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text, in their order. Raises EndpointError."""
        with _translated(self._base_url, self._api_key):
            reply = self._client.embeddings.create(model=model, input=list(texts), encoding_format="float")
            vectors = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
        if len(vectors) != len(texts):
            raise EndpointError(f"{self._base_url} gave {len(vectors)} embeddings for {len(texts)} texts")
        return vectors


class OpenAIChat:
    """``/chat/completions`` of an OpenAI-compatible API at ``base_url``.

    Connections belong to an event loop, so each has a client of its own. Safe to use from several.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float, max_retries: int) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = WeakKeyDictionary()
        self._opening = threading.Lock()

    async def stream(
        self, model: str, messages: Sequence[Mapping[str, object]], options: Mapping[str, object]
    ) -> AsyncGenerator[ChatChunk, None]:
        """The chunks of a streamed chat completion, usage included.

        Raises:
            EndpointError: at any chunk, or in the end if none said that the answer is complete.
        """
        is_complete = False
        body = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **options,
        }
        with _translated(self._base_url, self._api_key):
            # Around all attempts: whoever waits does not care which of them is silent.
            async with asyncio.timeout(self._timeout_s):
                # As plain JSON: to make the client's own objects of it takes longer than all else about a chunk.
                stream = await self._client().post(
                    "/chat/completions",
                    body=body,
                    cast_to=object,
                    stream=True,
                    stream_cls=openai.AsyncStream[object],
                )
            async with stream:
                async for data in stream:
                    chunk = _chunk_of(data)
                    is_complete = is_complete or any(choice.finish_reason for choice in chunk.choices)
                    yield chunk
        if not is_complete:
            raise EndpointError(f"{self._base_url} ended its reply before the answer was complete")

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        with self._opening:
            client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def _client(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        with self._opening:
            client = self._clients.get(loop)
            if client is None:
                client = self._clients[loop] = openai.AsyncOpenAI(
                    api_key=self._api_key or NO_KEY,
                    base_url=self._base_url,
                    timeout=self._timeout_s,
                    max_retries=self._max_retries,
                )
        return client


def _chunk_of(data: Any) -> ChatChunk:
    """Some servers send null for nothing. Raises ValueError, TypeError or AttributeError if it is no chunk."""
    usage = data.get("usage")
    return ChatChunk(
        tuple(
            ChatChoice(dict(choice.get("delta") or {}), choice.get("finish_reason"))
            for choice in data.get("choices") or ()
        ),
        (usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0) if usage else None,
    )


NO_KEY = "none"
"""Local servers need no key, the client insists on one."""


@contextmanager
def _translated(base_url: str, api_key: str | None) -> Iterator[None]:
    def translate(what: str, quoted: object, status: int | None = None) -> EndpointError:
        line = " ".join(str(quoted).split())
        if api_key:
            line = line.replace(api_key, "<the key>")
        return EndpointError(f"{base_url} {what}: {line[:MAX_QUOTED]}", status)

    try:
        yield
    except openai.APIStatusError as error:
        raise translate(f"answered {error.status_code}", error.message, error.status_code) from error
    except openai.APIConnectionError as error:
        raise translate("cannot be reached or broke off", error.__cause__ or error) from error
    except openai.OpenAIError as error:
        raise translate("failed", error) from error
    except TimeoutError as error:
        raise translate("cannot be reached or broke off", "no answer in time") from error
    except (ValueError, TypeError, AttributeError) as error:
        # The client does not look whether a reply is JSON, or has the fields of an OpenAI reply.
        raise translate("gave a reply that is not OpenAI's", error) from error
