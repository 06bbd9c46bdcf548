import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.common import bundle as bundles
from services.common.bundle import Bundle, BundleError, open_bundle, write_bundle
from services.contracts.bundle import ARRAYS, MANIFEST_FILE
from tests.support.bundles import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


def test_what_is_written_is_what_is_opened(bundle: Bundle, tmp_path: Path) -> None:
    manifest = bundle.manifest.model_copy(update={"version": "v2"})
    copy = open_bundle(write_bundle(tmp_path, manifest, bundle.arrays))
    assert set(copy.arrays) == set(ARRAYS)
    for name, array in bundle.arrays.items():
        assert np.array_equal(copy.arrays[name], array, equal_nan=array.dtype.kind == "f"), name
    assert copy.manifest.model_copy(update={"version": "v1"}) == bundle.manifest


def test_arrays_are_mapped_read_only(bundle: Bundle) -> None:
    assert isinstance(bundle.arrays["item_factors"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        bundle.arrays["item_factors"][0, 0] = 1


def test_a_version_that_is_there_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in bundle.path.iterdir()}
    assert write_bundle(tmp_path, bundle.manifest, bundle.arrays) == bundle.path
    assert {path.name: path.stat().st_mtime_ns for path in bundle.path.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def _truncate(bundle: Bundle) -> None:
    path = bundle.path / "item_factors.npy"
    path.write_bytes(path.read_bytes()[:-1])


def _flip_a_bit(bundle: Bundle) -> None:
    path = bundle.path / "user_factors.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _delete(bundle: Bundle) -> None:
    (bundle.path / "popularity.npy").unlink()


def _delete_the_manifest(bundle: Bundle) -> None:
    (bundle.path / MANIFEST_FILE).unlink()


def _truncate_the_manifest(bundle: Bundle) -> None:
    path = bundle.path / MANIFEST_FILE
    path.write_text(path.read_text()[:-2])


def _change_manifest(**changes: object) -> Callable[[Bundle], None]:
    def change(bundle: Bundle) -> None:
        path = bundle.path / MANIFEST_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _pickle_inside(bundle: Bundle) -> None:
    path = bundle.path / "popularity.npy"
    np.save(path, np.array([print], dtype=object), allow_pickle=True)
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text())
    manifest["files"][path.name]["bytes"] = path.stat().st_size
    manifest["files"][path.name]["sha256"] = bundles._sha256(path)
    (bundle.path / MANIFEST_FILE).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, r"item_factors\.npy has \d+ bytes, the manifest says"),
        (_flip_a_bit, r"user_factors\.npy does not have the SHA-256"),
        (_delete, r"popularity\.npy is missing"),
        (_delete_the_manifest, r"manifest\.json is missing: the bundle was never completed"),
        (_truncate_the_manifest, r"manifest\.json is not valid"),
        (_change_manifest(format=2), "format 2, this release reads format 1"),
        (_change_manifest(version="other"), "the manifest is of version other"),
        (_change_manifest(files={}), "files differ from the contract"),
        (_change_manifest(factors=9), r"item_factors has shape \(40, 8\), it should be \(40, 9\)"),
        (_pickle_inside, r"popularity\.npy cannot be read: .*Python objects in dtype"),
    ],
)
def test_a_damaged_bundle_is_refused_and_the_message_names_the_file(
    bundle: Bundle, damage: Callable[[Bundle], None], message: str
) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=f"^v1: .*{message}"):
        open_bundle(bundle.path)


def test_arrays_that_break_the_contract_are_not_written(bundle: Bundle, tmp_path: Path) -> None:
    manifest = bundle.manifest.model_copy(update={"version": "v2"})
    arrays = dict(bundle.arrays)
    with pytest.raises(BundleError, match="item_ids must be int64 with 1 dimensions, got int32"):
        write_bundle(tmp_path, manifest, arrays | {"item_ids": arrays["item_ids"].astype(np.int32)})
    with pytest.raises(BundleError, match=r"arrays differ from the contract: \['popularity'\]"):
        write_bundle(tmp_path, manifest, {name: array for name, array in arrays.items() if name != "popularity"})
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("item_ids", lambda a: a[::-1], "item_ids is not strictly ascending"),
        ("history_indptr", lambda a: a + 1, "history_indptr does not span"),
        ("item_factors", lambda a: a * np.float32("nan"), "item_factors has values that are not finite"),
        ("popularity", lambda a: a[:-1], r"popularity has shape \(39,\), it should be \(40,\)"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(
    bundle: Bundle,
    tmp_path: Path,
    name: str,
    change: Callable[[NDArray[Any]], NDArray[Any]],
    message: str,
) -> None:
    manifest = bundle.manifest.model_copy(update={"version": "v2"})
    path = write_bundle(tmp_path, manifest, dict(bundle.arrays) | {name: change(bundle.arrays[name])})
    with pytest.raises(BundleError, match=message):
        open_bundle(path)


def _write_and_die(model_dir: Path) -> None:
    """Write a bundle in a process that is killed when the last array is on disk, before the manifest."""
    real = bundles._sync
    written = 0

    def sync(descriptor: int) -> None:
        nonlocal written
        real(descriptor)
        written += 1
        if written == len(ARRAYS):
            os.kill(os.getpid(), signal.SIGKILL)

    bundles._sync = sync
    make_bundle(model_dir)


def test_a_writer_that_is_killed_leaves_no_version_behind(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "v1").exists()
    assert open_bundle(make_bundle(tmp_path).path).manifest.version == "v1"
