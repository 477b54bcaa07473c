"""Several backends: who answers in whose place, how many at a time, and what happens to one that fails."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest

from retrieval.completion import Completion, Finish, Message, Piece, Prompt, TextDelta
from retrieval.completion.backends import FAILURES, Backends, Circuit, Guarded, InTurn, Slots
from retrieval.completion.waiting import answer_of
from retrieval.errors import CompletionFailed, InvalidRequest

PROMPT = Prompt((Message("user", "who?"),), model="asked for")


class Says:
    """Says its pieces, remembers its prompts, and fails in the end if it has a reason to."""

    def __init__(
        self, model: str, *pieces: str, failure: CompletionFailed | None = None, context_tokens: int = 4096
    ) -> None:
        self.model = model
        self.context_tokens = context_tokens
        self.prompts: list[Prompt] = []
        self.failure = failure
        self._pieces = pieces

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        self.prompts.append(prompt)
        for piece in self._pieces:
            yield TextDelta(piece)
        if self.failure:
            raise self.failure
        yield Finish("stop", self.model)

    async def aclose(self) -> None:
        """It has no connections."""


def failing(model: str, *pieces: str, is_of_request: bool = False) -> Says:
    return Says(model, *pieces, failure=CompletionFailed(f"{model} is down", is_of_request=is_of_request))


async def _read(completion: Completion) -> list[Piece]:
    async with aclosing(completion.stream(PROMPT)) as pieces:
        return [piece async for piece in pieces]


def said(completion: Completion) -> str:
    return "".join(piece.text for piece in asyncio.run(_read(completion)) if isinstance(piece, TextDelta))


# Names and fallbacks


def test_a_backend_is_known_by_its_name() -> None:
    first, big = Says("small", "1"), Says("big", "2")
    backends = Backends(first, {"big": big})

    assert backends.default is backends.named() is backends.named("default") is first
    assert backends.named("big") is big
    assert backends.named("extractive").model == "extractive"
    with pytest.raises(
        InvalidRequest, match=r"no completion backend 'huge' \(there are: default, big, extractive\)"
    ):
        backends.named("huge")


def test_a_fallback_has_to_be_there() -> None:
    with pytest.raises(InvalidRequest, match="no completion backend 'nobody'"):
        Backends(Says("small"), fallbacks=("nobody",))


def test_fallbacks_answer_in_their_order() -> None:
    others = {"second": failing("b"), "third": Says("c", "from c"), "fourth": Says("d", "from d")}
    backends = Backends(failing("a"), others, ("second", "third", "fourth"))

    pieces = asyncio.run(_read(backends.named()))

    assert pieces == [TextDelta("from c"), Finish("stop", "c")]
    assert (len(others["second"].prompts), len(others["fourth"].prompts)) == (1, 0)


def test_the_name_of_a_model_is_for_the_backend_it_was_chosen_for() -> None:
    first, second = failing("a"), Says("b", "hello")

    assert said(InTurn([first, second])) == "hello"
    assert [prompt.model for prompt in (*first.prompts, *second.prompts)] == ["asked for", ""]


def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    second = Says("b", "hello")

    with pytest.raises(CompletionFailed, match="a is down"):
        said(InTurn([failing("a", "half an"), second]))
    assert second.prompts == []


def test_when_all_fail_the_last_one_says_why() -> None:
    with pytest.raises(CompletionFailed, match="b is down"):
        said(InTurn([failing("a"), failing("b")]))


def test_a_backend_is_no_fallback_of_its_own() -> None:
    big = failing("big")
    with pytest.raises(CompletionFailed):
        said(Backends(Says("small"), {"big": big}, ("big",)).named("big"))
    assert len(big.prompts) == 1


def test_prompts_fit_whoever_may_answer() -> None:
    chosen = [Says("a", context_tokens=9000), Says("b", context_tokens=800)]
    assert InTurn(chosen).context_tokens == 800


# Circuits


def test_a_backend_that_fails_again_and_again_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    backend = failing("a")
    guarded = Guarded(backend)

    for _ in range(FAILURES):
        with pytest.raises(CompletionFailed, match="a is down"):
            said(guarded)
    now += 10
    with pytest.raises(CompletionFailed, match=r"failed 5 times in a row .* again in 20 seconds"):
        said(guarded)
    assert len(backend.prompts) == FAILURES

    now += 20
    with pytest.raises(CompletionFailed, match="a is down"):
        said(guarded)
    with pytest.raises(CompletionFailed, match="left alone"):
        said(guarded)

    now += 30
    backend.failure = None
    assert said(guarded) == ""
    assert said(guarded) == ""
    assert len(backend.prompts) == FAILURES + 3


def test_one_attempt_decides_whether_it_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    circuit = Circuit("a")
    for _ in range(FAILURES):
        with pytest.raises(CompletionFailed), circuit.closed():
            raise CompletionFailed("down")
    now += 31

    with circuit.closed(), pytest.raises(CompletionFailed, match="left alone"), circuit.closed():
        pytest.fail("a second attempt was made")
    with circuit.closed():
        pass


@pytest.mark.parametrize("error", [CompletionFailed("too long", is_of_request=True), KeyError("ours")])
def test_what_is_not_the_backends_fault_does_not_count(error: Exception) -> None:
    circuit = Circuit("a")
    for _ in range(3 * FAILURES):
        with pytest.raises(type(error)), circuit.closed():
            raise error


def test_a_success_forgives() -> None:
    circuit = Circuit("a")
    for _ in range(4):
        for _ in range(FAILURES - 1):
            with pytest.raises(CompletionFailed), circuit.closed():
                raise CompletionFailed("down")
        with circuit.closed():
            pass


def test_a_client_that_goes_away_says_nothing_of_the_backend() -> None:
    backend = Guarded(Says("a", *("word",) * 10))

    async def leave() -> None:
        pieces = backend.stream(PROMPT)
        await anext(pieces)
        await pieces.aclose()

    for _ in range(3 * FAILURES):
        asyncio.run(leave())
    assert said(backend) == "word" * 10


# Slots


def in_loops(count: int, make: Callable[[int], Awaitable[None]]) -> None:
    """Run that many event loops at once, a thread each."""

    async def run(number: int) -> None:
        await make(number)

    threads = [
        threading.Thread(target=lambda number=number: asyncio.run(run(number))) for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_the_limit_holds_over_all_event_loops() -> None:
    slots, counting = Slots(3), threading.Lock()
    inside, most = 0, 0

    async def one() -> None:
        nonlocal inside, most
        async with slots.one():
            with counting:
                inside += 1
                most = max(most, inside)
            await asyncio.sleep(0.005)
            with counting:
                inside -= 1

    async def several(_: int) -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    in_loops(4, several)

    assert (inside, most) == (0, 3)


def test_first_come_first_served() -> None:
    order: list[int] = []

    async def main() -> None:
        slots = Slots(1)

        async def one(number: int) -> None:
            async with slots.one():
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(main())

    assert order == list(range(20))


@pytest.mark.parametrize("seed", range(5))
def test_no_place_is_lost_to_those_who_give_up(seed: int) -> None:
    slots = Slots(2)

    async def impatient(number: int) -> None:
        choice = random.Random(1000 * seed + number)

        async def one() -> None:
            async with slots.one():
                await asyncio.sleep(choice.random() / 200)

        for _ in range(30):
            tasks = [asyncio.create_task(one()) for _ in range(6)]
            await asyncio.sleep(choice.random() / 100)
            for task in choice.sample(tasks, 3):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    in_loops(3, impatient)

    async def both() -> None:
        async with asyncio.timeout(5), slots.one(), slots.one():
            pass

    asyncio.run(both())
    assert slots._free == 2
    assert not any(not turn.cancelled() for turn in slots._waiting)


def test_a_guarded_backend_answers_so_many_at_a_time() -> None:
    class Slow(Says):
        inside = most = 0

        async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await asyncio.sleep(0.01)
            self.inside -= 1
            yield Finish("stop", "slow")

    slow = Slow("slow")
    guarded = Guarded(slow, concurrency=2)

    async def main() -> None:
        await asyncio.gather(*(_read(guarded) for _ in range(10)))

    asyncio.run(main())
    assert slow.most == 2


# Whole answers


def test_a_whole_answer() -> None:
    assert answer_of(Says("a", "one ", "two"), PROMPT, max_chars=100) == "one two"


def test_an_answer_is_cut_off_where_it_is_long_enough() -> None:
    assert answer_of(Says("a", *("12345",) * 50), PROMPT, max_chars=12) == "123451234512345"


def test_a_failure_is_raised() -> None:
    with pytest.raises(CompletionFailed, match="a is down"):
        answer_of(failing("a", "half"), PROMPT, max_chars=100)


class Silent(Says):
    """Says a word and then nothing, until it is closed."""

    is_closed = False

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        try:
            yield TextDelta("well, ")
            await asyncio.sleep(60)
        finally:
            self.is_closed = True


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    silent = Silent("a")
    with pytest.raises(CompletionFailed, match=r"did not answer within 0\.2 seconds"):
        answer_of(silent, PROMPT, max_chars=100, timeout_s=0.2)
    assert silent.is_closed


def test_an_answer_that_nobody_wants_any_more_is_given_up() -> None:
    silent, stopped = Silent("a"), threading.Event()
    threading.Timer(0.2, stopped.set).start()

    assert answer_of(silent, PROMPT, max_chars=100, stopped=stopped) == "well, "
    assert silent.is_closed
