"""An OpenAI-compatible language model that says what time it is: each delta is the moment it was sent at.

python -m benchmarks.chat_backend DELTAS PAUSE_S

The moments are of the monotonic clock, in nanoseconds, which all processes of a Linux machine share.
"""

import asyncio
import json
import socket
import sys
import time

import uvicorn
from starlette.types import Message, Receive, Scope, Send

MODEL = "clock"


class Clock:
    """The application: every POST is answered by a stream of ``deltas``, one each ``pause_s``."""

    def __init__(self, deltas: int, pause_s: float) -> None:
        self._deltas = deltas
        self._pause_s = pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        next_at = time.monotonic()
        for _ in range(self._deltas):
            # By the clock, so that what sending takes does not add up.
            next_at += self._pause_s
            await asyncio.sleep(next_at - time.monotonic())
            await send(_event({"content": f"{time.monotonic_ns()} "}))
        await send(_event({}, "stop"))
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _event(delta: dict[str, str], finish_reason: str | None = None) -> Message:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
    return {
        "type": "http.response.body",
        "body": f"data: {json.dumps(chunk)}\n\n".encode(),
        "more_body": True,
    }


def main() -> None:
    deltas, pause_s = sys.argv[1:]
    # Said by name, or asyncio does not know it for TCP and leaves Nagle's algorithm on: 40 ms at the first delta.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(f"listens on http://127.0.0.1:{listening.getsockname()[1]}/v1", flush=True)
    config = uvicorn.Config(Clock(int(deltas), float(pause_s)), log_level="critical", lifespan="off")
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main()
