"""Models come in kinds, each one module of a package: a kind that is added there is known, and nothing else changes."""

import importlib
import pkgutil
from types import ModuleType


class UnknownKindError(Exception):
    """This release does not have the kind of model; the message names those that it has."""


def known_kinds(package: ModuleType) -> list[str]:
    """Return the names of the package's modules, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def kind_module(package: ModuleType, kind: str) -> ModuleType:
    """Return the module of a kind.

    Raises:
        UnknownKindError: the package has no such module.
    """
    known = known_kinds(package)
    if kind not in known:
        raise UnknownKindError(f"the kind {kind!r} of model is unknown to this release, which knows {', '.join(known)}")
    return importlib.import_module(f"{package.__name__}.{kind}")
