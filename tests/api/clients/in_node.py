"""Clients in JavaScript, in a node process each: see ``tests/api/node/clients.mjs``."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api.clients.asking import Asking, Call, Failed, Reply

NODE = Path(__file__).parents[1] / "node"
FILES = ("package.json", "package-lock.json", "clients.mjs")

INSTALL_TIMEOUT_S = 90


def install(folder: Path) -> Path:
    """The script with the packages of the lock file beside it; the test is skipped where they cannot be had."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed: no JavaScript client is tried")
    for name in FILES:
        shutil.copy(NODE / name, folder)
    try:
        installed = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci took over {INSTALL_TIMEOUT_S} s: no JavaScript client is tried")
    if installed.returncode:
        pytest.skip(f"npm ci failed, no JavaScript client is tried: {installed.stderr.strip()[-500:]}")
    return folder / "clients.mjs"


class Node:
    """A client of the script, by its name there. One request after another."""

    def __init__(self, process: "subprocess.Popen[str]", name: str) -> None:
        self._process = process
        self._name = name

    def request(self, asking: Asking, **fields: Any) -> Any:
        """The client's reply. Raises Failed."""
        line = {"client": self._name, "url": asking.server.url, "key": asking.key, **fields}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        outcome = json.loads(self._process.stdout.readline())
        if "failed" in outcome:
            raise Failed(**outcome["failed"])
        return outcome["reply"]


@contextmanager
def running(script: Path, name: str) -> Iterator[Node]:
    with subprocess.Popen(
        ["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        try:
            yield Node(process, name)
        finally:
            process.kill()


class OpenAINode:
    """npm's ``openai``."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def ask(
        self, asking: Asking, messages: Sequence[Any], *, stream: bool, tools: Sequence[Any] = ()
    ) -> Reply:
        return _reply(self._node.request(asking, messages=messages, stream=stream, tools=tools))

    def tool_message(self, call: Call, result: str) -> Any:
        return {"role": "tool", "tool_call_id": call.id, "content": result}


class AISDK(OpenAINode):
    """npm's ``ai`` with ``@ai-sdk/openai-compatible``."""

    def tool_message(self, call: Call, result: str) -> Any:
        output = {"type": "text", "value": result}
        content = {"type": "tool-result", "toolCallId": call.id, "toolName": call.name, "output": output}
        return {"role": "tool", "content": [content]}


def _reply(fields: Any) -> Reply:
    calls = tuple(Call(**call) for call in fields.pop("calls"))
    return Reply(**{**fields, "usage": tuple(fields["usage"])}, calls=calls)
