"""The vendor's own distributions install files of the same names: say so where they meet."""

import warnings
from importlib.metadata import PackageNotFoundError, version


def warn_of(*distributions: str) -> None:
    """Warn once of each of the vendor's ``distributions`` that is installed as well."""
    for name in distributions:
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        warnings.warn(
            f"{name} {found} is installed beside ssd-resnet34-furiosa and has modules of the same "
            f"names, so which ones are imported depends on the order of installation; uninstall "
            "one of the two",
            stacklevel=3,
        )
