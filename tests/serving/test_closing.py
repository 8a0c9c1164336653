"""Waits for clients end with the beginning of the end, each with its own grace."""

import asyncio

import pytest

from ssd_resnet34.serving.closing import Closing

LONG = 60.0
"""Seconds that no test here waits for."""


async def waits(closing: Closing, seconds: float, grace: float = 0.0) -> None:
    async with closing.within(seconds, grace):
        await asyncio.Event().wait()


def test_who_waits_when_it_begins_waits_no_longer() -> None:
    async def main() -> list[BaseException | None]:
        closing = Closing()
        several = [asyncio.create_task(waits(closing, LONG)) for _ in range(3)]
        several.append(asyncio.create_task(waits(closing, LONG, grace=0.01)))
        await asyncio.sleep(0)
        assert not any(one.done() for one in several)
        closing.begin()
        closing.begin()  # once more changes nothing
        return await asyncio.gather(*several, return_exceptions=True)

    assert [type(one) for one in asyncio.run(main())] == [TimeoutError] * 4


def test_who_comes_later_has_its_grace_and_no_more() -> None:
    async def main() -> None:
        closing = Closing()
        closing.begin()
        for grace in (0.0, 0.01):
            with pytest.raises(TimeoutError):
                await waits(closing, LONG, grace)
        async with closing.within(LONG, grace=LONG):
            await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_beginning_lengthens_no_wait() -> None:
    async def main() -> None:
        closing = Closing()
        short = asyncio.create_task(waits(closing, 0.01, grace=LONG))
        await asyncio.sleep(0)
        closing.begin()
        with pytest.raises(TimeoutError):
            await short

    asyncio.run(main())


def test_a_wait_that_is_over_is_left_alone() -> None:
    async def main() -> None:
        closing = Closing()
        async with closing.within(LONG):
            pass
        with pytest.raises(ZeroDivisionError):
            async with closing.within(LONG):
                raise ZeroDivisionError
        closing.begin()
        await asyncio.sleep(0.01)  # a forgotten wait would cancel this task

    asyncio.run(main())
