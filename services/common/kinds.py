"""Kinds of model are plugins: each is a module of a package, found by its name. Adding one changes nothing else."""

import importlib
import pkgutil
from types import ModuleType


class UnknownKindError(Exception):
    """This release does not have this kind of model; the message names those that it has."""


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
        raise UnknownKindError(f"unknown kind of model {kind!r}; this release has {', '.join(known)}")
    return importlib.import_module(f"{package.__name__}.{kind}")
