"""The page's names for asyncio: ``model = await SSDResNet34()``."""

from typing import Any

from . import ssd_resnet34

__all__ = ["SSDResNet34", "ssd_resnet34"]


async def SSDResNet34(  # noqa: N802  # the page's name
    use_native_post: bool | None = None, **options: Any
) -> ssd_resnet34.SSDResNet34:
    """The model; nothing is waited for, since artifacts are made where they are asked for."""
    return ssd_resnet34.SSDResNet34(use_native_post, **options)
