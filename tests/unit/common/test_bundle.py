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
from services.contracts.bundle import MANIFEST_FILE, SHARED_ARRAYS, FileDigest
from services.inference.models.served import load_served
from tests.support.bundles import CREATED, make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


def test_a_written_bundle_opens_unchanged(bundle: Bundle, tmp_path: Path) -> None:
    manifest = bundle.manifest.model_copy(update={"version": "v2"})
    copy = open_bundle(write_bundle(tmp_path, manifest, bundle.arrays, bundle.models))
    assert set(copy.arrays) == set(SHARED_ARRAYS)
    assert {name: sorted(arrays) for name, arrays in copy.models.items()} == {
        "als": ["item_factors", "user_factors"],
        "popular": [],
    }
    for name, array in (*bundle.arrays.items(), *bundle.models["als"].items()):
        again = {**copy.arrays, **copy.models["als"]}[name]
        assert np.array_equal(again, array, equal_nan=array.dtype.kind == "f"), name
    assert copy.manifest.model_copy(update={"version": "v1"}) == bundle.manifest


def test_arrays_are_memory_mapped_read_only(bundle: Bundle) -> None:
    assert isinstance(bundle.models["als"]["item_factors"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        bundle.models["als"]["item_factors"][0, 0] = 1


def test_writing_an_existing_version_changes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in bundle.path.iterdir()}
    assert write_bundle(tmp_path, bundle.manifest, bundle.arrays, bundle.models) == bundle.path
    assert {path.name: path.stat().st_mtime_ns for path in bundle.path.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def _truncate(bundle: Bundle) -> None:
    path = bundle.path / "models/als/item_factors.npy"
    path.write_bytes(path.read_bytes()[:-1])


def _flip_a_bit(bundle: Bundle) -> None:
    path = bundle.path / "models/als/user_factors.npy"
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


def _add_file(name: str) -> Callable[[Bundle], None]:
    def change(bundle: Bundle) -> None:
        path = bundle.path / MANIFEST_FILE
        manifest = json.loads(path.read_text())
        manifest["files"][name] = manifest["files"]["popularity.npy"]
        path.write_text(json.dumps(manifest))

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
        (_change_manifest(format=3), "format 3, this release reads format 1 or 2"),
        (_change_manifest(format=0), "format 0, this release reads format 1 or 2"),
        (_change_manifest(format="2"), "format '2', this release reads format 1 or 2"),
        (_change_manifest(format=True), "format True, this release reads format 1 or 2"),
        (_change_manifest(format=None), "format None, this release reads format 1 or 2"),
        (_change_manifest(version="other"), "the manifest is of version other"),
        (_change_manifest(files={}), "shared arrays differ from the contract"),
        (_change_manifest(models={}), "models"),
        (_change_manifest(default_model="ease"), r"default_model 'ease' is not one of the models \['als', 'popular'\]"),
        (_change_manifest(models={"als": {"kind": "../als"}}), "kind"),
        (_change_manifest(models={"popular": {"kind": "popular"}}, default_model="popular"), "of a model that the"),
        (_add_file("../secret.npy"), "secret"),
        (_add_file("models/als/../../../secret.npy"), "secret"),
        (_add_file("/etc/secret.npy"), "secret"),
        (_add_file("extra.npy"), r"extra\.npy is missing"),
        (_pickle_inside, r"popularity\.npy cannot be read: .*Python objects in dtype"),
    ],
)
def test_a_damaged_bundle_is_refused_and_the_message_names_the_file(
    bundle: Bundle, damage: Callable[[Bundle], None], message: str
) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=f"(?s)^v1: .*{message}"):
        open_bundle(bundle.path)


def test_arrays_that_break_the_contract_are_not_written(bundle: Bundle, tmp_path: Path) -> None:
    manifest = bundle.manifest.model_copy(update={"version": "v2"})
    arrays = dict(bundle.arrays)
    with pytest.raises(BundleError, match="item_ids must be int64 with 1 dimensions, got int32"):
        write_bundle(tmp_path, manifest, arrays | {"item_ids": arrays["item_ids"].astype(np.int32)}, bundle.models)
    incomplete = {name: array for name, array in arrays.items() if name != "popularity"}
    with pytest.raises(BundleError, match=r"arrays differ from the contract: \['popularity'\]"):
        write_bundle(tmp_path, manifest, incomplete, bundle.models)
    with pytest.raises(BundleError, match=r"arrays of \['als'\], the manifest has \['als', 'popular'\]"):
        write_bundle(tmp_path, manifest, arrays, {"als": bundle.models["als"]})
    with pytest.raises(BundleError, match="pattern"):
        write_bundle(tmp_path, manifest, arrays, {"als": {"../../x": arrays["popularity"]}, "popular": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("item_ids", lambda a: a[::-1], "item_ids is not strictly ascending"),
        ("history_indptr", lambda a: a + 1, "history_indptr does not span"),
        ("popularity", lambda a: a[:-1], r"popularity has shape \(39,\), it should be \(40,\)"),
    ],
)
def test_inconsistent_arrays_are_refused(
    bundle: Bundle,
    tmp_path: Path,
    name: str,
    change: Callable[[NDArray[Any]], NDArray[Any]],
    message: str,
) -> None:
    manifest = bundle.manifest.model_copy(update={"version": "v2"})
    path = write_bundle(tmp_path, manifest, dict(bundle.arrays) | {name: change(bundle.arrays[name])}, bundle.models)
    with pytest.raises(BundleError, match=message):
        open_bundle(path)


def _write_and_die(model_dir: Path) -> None:
    """Write a bundle in a process that is killed when the last array is on disk, before the manifest."""
    real = bundles._write_array
    written = 0

    def write(path: Path, array: NDArray[Any]) -> FileDigest:
        nonlocal written
        digest = real(path, array)
        written += 1
        if written == len(SHARED_ARRAYS) + 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return digest

    bundles._write_array = write
    make_bundle(model_dir)


def test_a_writer_that_is_killed_leaves_no_version_behind(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "v1").exists()
    assert open_bundle(make_bundle(tmp_path).path).manifest.version == "v1"


def test_a_bundle_of_format_1_is_opened_as_one_of_format_2(bundle: Bundle) -> None:
    """As the previous release wrote it: one iALS model, its arrays beside the shared ones, and genre_popularity."""
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text())
    models, default = manifest.pop("models"), manifest.pop("default_model")
    np.save(bundle.path / "genre_popularity.npy", np.zeros((2, 40), np.float32))
    for name in ("item_factors", "user_factors"):
        (bundle.path / f"models/als/{name}.npy").rename(bundle.path / f"{name}.npy")
        manifest["files"][f"{name}.npy"] = manifest["files"].pop(f"models/als/{name}.npy")
    manifest["files"]["genre_popularity.npy"] = manifest["files"]["popularity.npy"]
    manifest |= {"format": 1, "factors": 8, "canaries": models["als"]["canaries"], "metrics": {"ials_ndcg": 0.2}}
    manifest |= models["als"]["parameters"]
    (bundle.path / MANIFEST_FILE).write_text(json.dumps(manifest))
    opened = open_bundle(bundle.path)
    assert (opened.manifest.format, opened.manifest.default_model) == (1, default)
    assert opened.manifest.models["als"].canaries == bundle.manifest.models["als"].canaries
    assert opened.manifest.metrics == {"als_ndcg": 0.2}
    assert np.array_equal(opened.models["als"]["item_factors"], bundle.models["als"]["item_factors"])
    assert load_served(opened, "champion", CREATED).recommenders.keys() == {"als", "popular"}
    copy = opened.manifest.model_copy(update={"version": "v2"})
    assert open_bundle(write_bundle(bundle.path.parent, copy, opened.arrays, opened.models)).manifest.format == 2
