"""Clients in Python."""

import json
import os
from collections.abc import Sequence
from typing import Any

import httpx
import openai
from httpx_sse import connect_sse
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_openai import ChatOpenAI

from tests.api.clients.asking import MODEL, Asking, Call, Failed, Reply
from tests.api.wire import CHAT, bearer

# Else it asks the internet for prices.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
import litellm

TIMEOUT_S = 30.0


class ToolMessages:
    """Tools speak as in OpenAI's API."""

    def tool_message(self, call: Call, result: str) -> Any:
        return {"role": "tool", "tool_call_id": call.id, "content": result}


class OpenAIPython(ToolMessages):
    """``openai``."""

    def ask(
        self, asking: Asking, messages: Sequence[Any], *, stream: bool, tools: Sequence[Any] = ()
    ) -> Reply:
        said: list[str] = []
        request: dict[str, Any] = {
            "model": MODEL,
            "messages": list(messages),
            "extra_body": {"citations": True},
            **({"tools": list(tools)} if tools else {}),
        }
        with openai.OpenAI(base_url=asking.base_url, api_key=asking.key, max_retries=0) as client:
            try:
                if not stream:
                    return _openai_reply(client.chat.completions.create(**request))
                with client.chat.completions.stream(
                    **request, stream_options={"include_usage": True}
                ) as events:
                    said.extend(event.delta for event in events if event.type == "content.delta")
                    return _openai_reply(events.get_final_completion())
            except openai.APIError as error:
                raise Failed(type(error).__name__, error.message, "".join(said)) from error


class LiteLLM(ToolMessages):
    """``litellm``, which has reply objects like those of ``openai``."""

    def ask(
        self, asking: Asking, messages: Sequence[Any], *, stream: bool, tools: Sequence[Any] = ()
    ) -> Reply:
        chunks: list[Any] = []
        request: dict[str, Any] = {
            "model": f"openai/{MODEL}",
            "messages": list(messages),
            "api_base": asking.base_url,
            "api_key": asking.key,
            "max_retries": 0,
            "extra_body": {"citations": True},
            **({"tools": list(tools)} if tools else {}),
        }
        try:
            if not stream:
                return _openai_reply(litellm.completion(**request))
            for chunk in litellm.completion(**request, stream=True, stream_options={"include_usage": True}):
                chunks.append(chunk)
            return _openai_reply(litellm.stream_chunk_builder(chunks))
        except openai.APIError as error:
            said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            raise Failed(type(error).__name__, error.message, said) from error


class LangChain(ToolMessages):
    """``langchain-openai``."""

    def ask(
        self, asking: Asking, messages: Sequence[Any], *, stream: bool, tools: Sequence[Any] = ()
    ) -> Reply:
        chat = ChatOpenAI(
            model=MODEL,
            base_url=asking.base_url,
            api_key=asking.key,
            max_retries=0,
            stream_usage=True,
            extra_body={"citations": True},
        )
        model = chat.bind_tools(tools) if tools else chat
        whole: AIMessageChunk | None = None
        try:
            if not stream:
                return _langchain_reply(model.invoke(list(messages)))
            for chunk in model.stream(list(messages)):
                whole = whole + chunk if whole else chunk
            return _langchain_reply(whole)
        except openai.APIError as error:
            raise Failed(type(error).__name__, error.message, whole.text if whole else "") from error


def _openai_reply(completion: Any) -> Reply:
    (choice,) = completion.choices
    message, usage = choice.message, completion.usage
    return Reply(
        message.content or "",
        choice.finish_reason,
        (usage.prompt_tokens, usage.completion_tokens),
        getattr(message, "citations", None),
        tuple(
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or ()
        ),
        message,
    )


def _langchain_reply(message: AIMessage) -> Reply:
    usage = message.usage_metadata
    return Reply(
        message.text,
        message.response_metadata["finish_reason"],
        (usage["input_tokens"], usage["output_tokens"]),
        message.additional_kwargs.get("citations"),
        tuple(Call(call["id"], call["name"], call["args"]) for call in message.tool_calls),
        message,
    )


def read_events(asking: Asking, body: dict[str, Any]) -> list[tuple[str, str]]:
    """The events of a stream by ``httpx-sse``: name and data, the name ``message`` where there is none."""
    url, headers = asking.server.url + CHAT, bearer(asking.key)
    with (
        httpx.Client(timeout=TIMEOUT_S) as client,
        connect_sse(client, "POST", url, json=body, headers=headers) as source,
    ):
        return [(event.event, event.data) for event in source.iter_sse()]
