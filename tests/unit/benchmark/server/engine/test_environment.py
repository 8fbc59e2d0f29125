"""Where the code of an environment runs, and what happens when it takes long."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmark.server.engine.environment import OpenEnvironment
from benchmark.server.engine.failures import FactoryFailed
from benchmark.server.engine.spec import Spec
from benchmark.server.engine.threads import Threads
from benchmark.server.models import MODELS
from benchmark.server.places import Places


class Blocking:
    """Records the threads on which it was made, stepped and closed."""

    def __init__(self) -> None:
        self.threads = [threading.get_ident()]

    def step(self, _: Any) -> bytes:
        self.threads.append(threading.get_ident())
        return b"stepped"

    def close(self) -> None:
        self.threads.append(threading.get_ident())


def spec(factory: Callable[[], Any], *, is_async: bool = False) -> Spec:
    return Spec(
        name="Test",
        factory=factory,
        models=MODELS,
        parse_action=lambda data: data,
        encode_observation=bytes,
        encode_state=bytes,
        overrides=lambda *_: is_async,
        concurrent=True,
        max_environments=1,
        has_base_close=lambda _: is_async,
    )


def opened(
    test: Callable[[OpenEnvironment, Threads], Awaitable[None]], made: Spec, *, pooled: bool = False
) -> Places:
    """Runs the test with an environment that is not open yet; returns its places."""
    places = Places(10)

    async def run() -> None:
        threads = Threads(asyncio.get_running_loop(), single=False)
        threads.pooled = pooled
        async with asyncio.timeout(20):
            await test(OpenEnvironment(made, threads, places, {}, "session"), threads)

    asyncio.run(run())
    return places


def test_a_blocking_environment_stays_on_one_thread_that_is_not_the_loops() -> None:
    environments: list[Blocking] = []

    def factory() -> Blocking:
        environments.append(Blocking())
        return environments[-1]

    async def test(environment: OpenEnvironment, _: Threads) -> None:
        await environment.open()
        stepped = asyncio.get_running_loop().create_future()
        environment.call(lambda reply, _: stepped.set_result(reply), environment.step, None)
        assert await stepped == b"stepped"
        await environment.close()

    opened(test, spec(factory))
    used = environments[0].threads
    assert len(used) == 3
    assert len(set(used)) == 1
    assert used[0] != threading.get_ident()


def test_a_failed_constructor_names_the_factory_and_the_cause() -> None:
    def factory() -> None:
        raise OSError("no data")

    async def test(environment: OpenEnvironment, _: Threads) -> None:
        with pytest.raises(
            FactoryFailed, match="'Test' failed to create instance: OSError: no data"
        ):
            await environment.open()
        await environment.close()

    opened(test, spec(factory))


@pytest.mark.parametrize("pooled", [False, True])
def test_close_waits_for_a_constructor_that_was_given_up(pooled: bool) -> None:
    proceed, entered = threading.Event(), threading.Event()

    def factory() -> Blocking:
        entered.set()
        proceed.wait(20)
        return Blocking()

    async def test(environment: OpenEnvironment, _: Threads) -> None:
        opening = asyncio.create_task(environment.open())
        await asyncio.to_thread(entered.wait, 20)
        assert "in factory" in environment.position
        environment.give_up(55)
        with pytest.raises(FactoryFailed, match="has not returned after 55 s"):
            await opening
        closing = asyncio.create_task(environment.close())
        await asyncio.sleep(0)
        assert not closing.done()
        proceed.set()
        await closing

    opened(test, spec(factory, is_async=pooled), pooled=pooled)


def test_close_waits_for_code_that_runs_in_an_environment_with_nothing_to_close() -> None:
    proceed, entered = threading.Event(), threading.Event()

    def step() -> None:
        entered.set()
        proceed.wait(20)

    async def test(environment: OpenEnvironment, threads: Threads) -> None:
        await environment.open()
        environment.call(lambda *_: None, step)
        await asyncio.to_thread(entered.wait, 20)
        closing = asyncio.create_task(environment.close())
        await asyncio.sleep(0)
        assert not closing.done()
        assert not threads.acquire().busy
        proceed.set()
        await closing

    opened(test, replace(spec(Blocking), has_base_close=lambda _: True))


def test_a_burst_of_quick_constructors_needs_one_thread() -> None:
    idents: set[int] = set()

    async def test(_: OpenEnvironment, threads: Threads) -> None:
        done = [asyncio.get_running_loop().create_future() for _ in range(500)]
        for future in done:
            threads.pool.call(
                lambda *_, future=future: future.set_result(None),
                lambda: idents.add(threading.get_ident()),
            )
        await asyncio.gather(*done)

    opened(test, spec(Blocking))
    assert len(idents) == 1


def test_slow_constructors_delay_no_other() -> None:
    release = threading.Event()

    async def test(_: OpenEnvironment, threads: Threads) -> None:
        loop = asyncio.get_running_loop()
        slow, quick = [loop.create_future() for _ in range(5)], loop.create_future()
        for future in slow:
            threads.pool.call(
                lambda *_, future=future: future.set_result(None), lambda: release.wait(20)
            )
        threads.pool.call(lambda *_: quick.set_result(None), lambda: None)
        await quick
        assert not any(future.done() for future in slow)
        release.set()
        await asyncio.gather(*slow)

    opened(test, spec(Blocking))
