"""Writes and opens model bundles: plain arrays, a manifest with hashes, one atomic rename. Nothing is unpickled."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from services.contracts.bundle import ARRAYS, BUNDLE_FORMAT, MANIFEST_FILE, FileDigest, Manifest

Arrays = Mapping[str, NDArray[Any]]


class BundleError(Exception):
    """A bundle cannot be used; the message names the bundle, the file and what is wrong with it."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest and its arrays, memory-mapped and read-only."""

    path: Path
    manifest: Manifest
    arrays: Arrays


def write_bundle(model_dir: Path, manifest: Manifest, arrays: Arrays) -> Path:
    """Write a complete bundle as ``model_dir / manifest.version`` and return that path.

    ``manifest.files`` is filled in here. Files are synced to disk before the rename, so that a
    directory of that name is complete whenever it exists. A version that is there already is left
    as it is (the same run published twice).

    Raises:
        BundleError: an array is missing, unknown, or has another dtype or number of dimensions than `ARRAYS` says.
    """
    target = model_dir / manifest.version
    if target.exists():
        return target
    if set(arrays) != set(ARRAYS):
        raise BundleError(f"{manifest.version}: arrays differ from the contract: {sorted(set(arrays) ^ set(ARRAYS))}")
    model_dir.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{manifest.version}.", dir=model_dir))
    try:
        files: dict[str, FileDigest] = {}
        for name, array in arrays.items():
            _check_array(manifest.version, name, str(array.dtype), array.shape)
            path = staging / f"{name}.npy"
            with path.open("wb") as file:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
                _sync(file.fileno())
            files[path.name] = FileDigest(
                sha256=_sha256(path), bytes=path.stat().st_size, dtype=str(array.dtype), shape=list(array.shape)
            )
        with (staging / MANIFEST_FILE).open("w") as file:
            file.write(manifest.model_copy(update={"files": files}).model_dump_json(indent=2))
            _sync(file.fileno())
        staging.chmod(0o755)
        staging.rename(target)
        _sync_directory(model_dir)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def open_bundle(path: Path) -> Bundle:
    """Open and check a bundle: manifest, every file's size, SHA-256, dtype and shape, and that the shapes agree.

    Arrays are memory-mapped read-only: replicas on one machine share the pages.

    Raises:
        BundleError: anything is missing, torn, foreign or inconsistent.
    """
    try:
        manifest = Manifest.model_validate_json((path / MANIFEST_FILE).read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{path.name}: {MANIFEST_FILE} is missing: the bundle was never completed") from error
    except (ValidationError, OSError) as error:
        raise BundleError(f"{path.name}: {MANIFEST_FILE} is not valid: {error}") from error
    if manifest.format != BUNDLE_FORMAT:
        raise BundleError(f"{path.name}: format {manifest.format}, this release reads format {BUNDLE_FORMAT}")
    if manifest.version != path.name:
        raise BundleError(f"{path.name}: the manifest is of version {manifest.version}")
    if set(manifest.files) != {f"{name}.npy" for name in ARRAYS}:
        raise BundleError(f"{path.name}: files differ from the contract: {sorted(manifest.files)}")
    arrays = {name: _open_array(path, name, manifest.files[f"{name}.npy"]) for name in ARRAYS}
    _check_shapes(manifest, arrays)
    return Bundle(path, manifest, arrays)


def _open_array(bundle: Path, name: str, digest: FileDigest) -> NDArray[Any]:
    path = bundle / f"{name}.npy"
    try:
        size = path.stat().st_size
        if size != digest.bytes:
            raise BundleError(f"{bundle.name}: {path.name} has {size} bytes, the manifest says {digest.bytes}")
        if _sha256(path) != digest.sha256:
            raise BundleError(f"{bundle.name}: {path.name} does not have the SHA-256 of the manifest")
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise BundleError(f"{bundle.name}: {path.name} is missing") from error
    except (ValueError, OSError) as error:
        raise BundleError(f"{bundle.name}: {path.name} cannot be read: {error}") from error
    if str(array.dtype) != digest.dtype or list(array.shape) != digest.shape:
        raise BundleError(
            f"{bundle.name}: {path.name} is {array.dtype}{list(array.shape)},"
            f" the manifest says {digest.dtype}{digest.shape}"
        )
    _check_array(bundle.name, name, str(array.dtype), array.shape)
    return array


def _check_array(version: str, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    wanted_dtype, dimensions = ARRAYS[name]
    if dtype != wanted_dtype or len(shape) != dimensions:
        raise BundleError(f"{version}: {name} must be {wanted_dtype} with {dimensions} dimensions, got {dtype}{shape}")


def _check_shapes(manifest: Manifest, arrays: Arrays) -> None:
    items, users = len(arrays["item_ids"]), len(arrays["user_ids"])
    rows, genres = len(arrays["history_item_ids"]), len(manifest.genres)
    expected: dict[str, tuple[int, ...]] = {
        "item_factors": (items, manifest.factors),
        "user_factors": (users, manifest.factors),
        "popularity": (items,),
        "popularity_recent": (items,),
        "genre_popularity": (genres, items),
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
    for name in ("item_factors", "user_factors"):
        if not bool(np.isfinite(arrays[name]).all()):
            raise BundleError(f"{manifest.version}: {name} has values that are not finite")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
