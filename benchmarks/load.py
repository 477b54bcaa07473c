"""A load of HTTP requests by Locust: one job, described on stdin, answered by one JSON line on stdout.

A closed load is so many clients, each of which asks again as soon as it has its answer. An open load is a rate, which
holds whatever the answers take: ``PERIOD_S`` × rate users ask once in each period, each from a moment drawn by chance.
It stays open as long as no answer takes a whole period.

Nothing of the project is imported: this runs in an environment of its own (locks/locust.txt).
"""

import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from locust import FastHttpUser, task
from locust.env import Environment

PERIOD_S = 10.0
ANSWER_S = 60.0
"""For what is under way at the end."""


def make_user(job: dict[str, Any], bodies: Iterator[dict[str, Any]]) -> type[FastHttpUser]:
    """A client that asks with the next of the bodies, which all clients share."""
    is_open = "rate" in job
    headers = {"Authorization": f"Bearer {job['key']}"}
    if is_open:
        # Each is somebody else, and none of them stays.
        headers["Connection"] = "close"

    class Asking(FastHttpUser):  # type: ignore[misc]
        host = job["url"]
        default_headers: ClassVar = headers

        def on_start(self) -> None:
            if is_open:
                first_s = random.uniform(0, PERIOD_S)  # noqa: S311 - nothing secret
                self.next_at = time.monotonic() + first_s
                time.sleep(first_s)

        def wait_time(self) -> float:
            if not is_open:
                return 0.0
            # From one moment to the next, whatever the answer took.
            self.next_at += PERIOD_S
            return max(0.0, self.next_at - time.monotonic())

        @task  # type: ignore[untyped-decorator]
        def ask(self) -> None:
            self.client.post(job["path"], json=next(bodies))

    return Asking


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of each answer to what was asked within ``seconds`` after ``warm_s``."""
    random.seed(job["seed"])
    bodies = itertools.cycle(job["bodies"])
    environment = Environment(user_classes=[make_user(job, bodies)], stop_timeout=ANSWER_S)
    begun: list[tuple[float, float, bool]] = []

    def note(start_time: float, response_time: float, exception: BaseException | None, **_: Any) -> None:
        begun.append((start_time, response_time, exception is None))

    environment.events.request.add_listener(note)
    users = round(job["rate"] * PERIOD_S) if "rate" in job else job["clients"]
    runner = environment.create_local_runner()
    started = time.time() + job["warm_s"]
    runner.start(users, spawn_rate=users)
    time.sleep(job["warm_s"] + job["seconds"])
    runner.stop()
    counted = [one for one in begun if started <= one[0] < started + job["seconds"]]
    return {
        "asked_in_all": len(begun),
        "taken_ms": [round(taken_ms, 2) for _, taken_ms, is_answered in counted if is_answered],
        "failed": sum(not is_answered for *_, is_answered in counted),
    }


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))), flush=True)
