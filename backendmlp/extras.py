"""How to install what only some of the package's uses need: the extras of pyproject.toml."""

from __future__ import annotations


def install(extra: str) -> str:
    """The command that installs what ``extra`` names, wherever the package itself came from.

    The package is on no index, so that its own name with the extra would install nothing.
    """
    from importlib import metadata  # slow, and wanted where something is missing alone

    try:
        everything = metadata.requires("backendmlp") or []
    except metadata.PackageNotFoundError:  # a checkout on the path that was never installed
        return f"pip install '.[{extra}]' (in the checkout)"
    marked = (entry.partition(";") for entry in everything)
    wanted = [name.strip() for name, _, marker in marked if extra in _quoted(marker)]
    return " ".join(("pip install", *(f"'{name}'" for name in wanted)))


def _quoted(marker: str) -> list[str]:
    """The texts in a requirement's marker, as ``plot`` in ``extra == "plot"``."""
    return marker.replace("'", '"').split('"')[1::2]
