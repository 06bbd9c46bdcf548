"""Writes and opens model bundles: plain arrays, a manifest with hashes, one atomic rename. Nothing is unpickled."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from services.contracts.bundle import (
    BUNDLE_FORMAT,
    FORMAT_1_FILES,
    MANIFEST_FILE,
    MODELS_FOLDER,
    REPORT_HTML,
    REPORT_MARKDOWN,
    SHARED_ARRAYS,
    FileDigest,
    Manifest,
)

Arrays = Mapping[str, NDArray[Any]]
_READABLE = (1, BUNDLE_FORMAT)


class BundleError(Exception):
    """A bundle cannot be used; the message names the bundle, the file and what is wrong with it."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest and its arrays, memory-mapped and read-only."""

    path: Path
    manifest: Manifest
    arrays: Arrays
    """What all models share."""
    models: Mapping[str, Arrays]
    """By model its own arrays, which its kind checks."""


def write_bundle(
    model_dir: Path,
    manifest: Manifest,
    arrays: Arrays,
    models: Mapping[str, Arrays],
    documents: Mapping[str, str] | None = None,
) -> Path:
    """Write a complete bundle as ``model_dir / manifest.version`` and return that path.

    ``documents`` are texts for people, by file name, which no program reads. ``manifest.files`` is filled in here.
    Files are synced to disk before the rename, so that a directory of that name is complete whenever it exists. A
    version that is there already is left as it is (the same run published twice).

    Raises:
        BundleError: a shared array is missing, unknown, or has another dtype or number of dimensions than
            `SHARED_ARRAYS` says; or the manifest names other models than ``models``.
    """
    target = model_dir / manifest.version
    if target.exists():
        return target
    if set(arrays) != set(SHARED_ARRAYS):
        differing = sorted(set(arrays) ^ set(SHARED_ARRAYS))
        raise BundleError(f"{manifest.version}: shared arrays differ from the contract: {differing}")
    if set(models) != set(manifest.models):
        raise BundleError(f"{manifest.version}: arrays of {sorted(models)}, the manifest has {sorted(manifest.models)}")
    model_dir.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{manifest.version}.", dir=model_dir))
    try:
        files = {name: _write_array(staging / name, array) for name, array in _named(arrays, models)}
        for name, digest in files.items():
            _check_shared(manifest.version, name, digest.dtype, tuple(digest.shape))
        # Validated again: names of files are checked on the way out too.
        complete = Manifest.model_validate(manifest.model_dump() | {"format": BUNDLE_FORMAT, "files": files})
        for name, text in (documents or {}).items():
            (staging / name).write_text(text, encoding="utf-8")
        with (staging / MANIFEST_FILE).open("w") as file:
            file.write(complete.model_dump_json(indent=2))
            os.fsync(file.fileno())
        staging.chmod(0o755)
        for folder in (*staging.glob("*/*/"), *staging.glob("*/"), staging):
            _sync_directory(folder)
        staging.rename(target)
        _sync_directory(model_dir)
    except ValidationError as error:
        raise BundleError(f"{manifest.version}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def reports_in(folder: Path) -> dict[str, str]:
    """Return the texts of the report's files in a folder, by file name; those that are there."""
    paths = (folder / name for name in (REPORT_HTML, REPORT_MARKDOWN))
    return {path.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def open_bundle(path: Path) -> Bundle:
    """Open and check a bundle: manifest, every file's size, SHA-256, dtype and shape, and that the shared shapes agree.

    Arrays are memory-mapped read-only: replicas on one machine share the pages. A bundle of format 1 is opened as one
    of format 2 with the models `als` and `popular`.

    Raises:
        BundleError: anything is missing, torn, foreign or inconsistent.
    """
    manifest = _open_manifest(path)
    moved = FORMAT_1_FILES if manifest.format == 1 else {}
    arrays: dict[str, NDArray[Any]] = {}
    models: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in manifest.models}
    for name, digest in manifest.files.items():
        array = _open_array(path, moved.get(name, name), digest)
        folder, _, file = name.removesuffix(".npy").rpartition("/")
        if not folder:
            _check_shared(path.name, name, digest.dtype, array.shape)
            arrays[file] = array
        elif (model := folder.removeprefix(f"{MODELS_FOLDER}/")) in models:
            models[model][file] = array
        else:
            raise BundleError(f"{path.name}: {name} is of a model that the manifest does not have")
    if set(arrays) != set(SHARED_ARRAYS):
        differing = sorted(set(arrays) ^ set(SHARED_ARRAYS))
        raise BundleError(f"{path.name}: shared arrays differ from the contract: {differing}")
    _check_shapes(manifest, arrays)
    return Bundle(path, manifest, arrays, models)


def _open_manifest(path: Path) -> Manifest:
    try:
        given = json.loads((path / MANIFEST_FILE).read_bytes())
        number = given.get("format") if isinstance(given, dict) else None
        if type(number) is not int or number not in _READABLE:
            raise BundleError(f"{path.name}: format {number!r}, this release reads format {_or(_READABLE)}")
        manifest = Manifest.model_validate(given)
    except FileNotFoundError as error:
        raise BundleError(f"{path.name}: {MANIFEST_FILE} is missing: the bundle was never completed") from error
    except (ValueError, RecursionError, OSError) as error:
        raise BundleError(f"{path.name}: {MANIFEST_FILE} is not valid: {error}") from error
    if manifest.version != path.name:
        raise BundleError(f"{path.name}: the manifest is of version {manifest.version}")
    return manifest


def _or(numbers: tuple[int, ...]) -> str:
    return " or ".join(map(str, numbers))


def _named(arrays: Arrays, models: Mapping[str, Arrays]) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, array in arrays.items():
        yield f"{name}.npy", array
    for model, own in models.items():
        for name, array in own.items():
            yield f"{MODELS_FOLDER}/{model}/{name}.npy", array


def _write_array(path: Path, array: NDArray[Any]) -> FileDigest:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        os.fsync(file.fileno())
    return FileDigest(sha256=_sha256(path), bytes=path.stat().st_size, dtype=str(array.dtype), shape=list(array.shape))


def _open_array(bundle: Path, name: str, digest: FileDigest) -> NDArray[Any]:
    path = bundle / name
    try:
        size = path.stat().st_size
        if size != digest.bytes:
            raise BundleError(f"{bundle.name}: {name} has {size} bytes, the manifest says {digest.bytes}")
        if _sha256(path) != digest.sha256:
            raise BundleError(f"{bundle.name}: {name} does not have the SHA-256 of the manifest")
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise BundleError(f"{bundle.name}: {name} is missing") from error
    except (ValueError, OSError) as error:
        raise BundleError(f"{bundle.name}: {name} cannot be read: {error}") from error
    if str(array.dtype) != digest.dtype or list(array.shape) != digest.shape:
        raise BundleError(
            f"{bundle.name}: {name} is {array.dtype}{list(array.shape)}, the manifest says {digest.dtype}{digest.shape}"
        )
    return array


def _check_shared(version: str, file: str, dtype: str, shape: tuple[int, ...]) -> None:
    name = file.removesuffix(".npy")
    if "/" in file or name not in SHARED_ARRAYS:
        return
    wanted_dtype, dimensions = SHARED_ARRAYS[name]
    if dtype != wanted_dtype or len(shape) != dimensions:
        raise BundleError(f"{version}: {name} must be {wanted_dtype} with {dimensions} dimensions, got {dtype}{shape}")


def _check_shapes(manifest: Manifest, arrays: Arrays) -> None:
    items, users = len(arrays["item_ids"]), len(arrays["user_ids"])
    rows, genres = len(arrays["history_item_ids"]), len(manifest.genres)
    expected: dict[str, tuple[int, ...]] = {
        "popularity": (items,),
        "popularity_recent": (items,),
        "item_genres": (items, genres),
        "history_indptr": (users + 1,),
        "history_opinion": (rows,),
        "history_rating": (rows,),
        "history_watched": (rows,),
        "history_versions": (rows, 3, 2),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise BundleError(f"{manifest.version}: {name} has shape {arrays[name].shape}, it should be {shape}")
    if items == 0:
        raise BundleError(f"{manifest.version}: there are no items")
    indptr = arrays["history_indptr"]
    if int(indptr[0]) != 0 or int(indptr[-1]) != rows or bool(np.any(np.diff(indptr) < 0)):
        raise BundleError(f"{manifest.version}: history_indptr does not span the history's rows")
    for name in ("item_ids", "user_ids"):
        if bool(np.any(np.diff(arrays[name]) <= 0)):
            raise BundleError(f"{manifest.version}: {name} is not strictly ascending")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
