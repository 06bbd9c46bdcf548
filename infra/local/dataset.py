"""Fetches the MovieLens data: ``python -m infra.local.dataset`` prints the folder that holds it.

MovieLens 100K comes out of the `recbole` wheel through pip, so that a package index is all it
needs; the larger sets come from GroupLens, checked against the sums that GroupLens publishes. What is there already
is not fetched again. GroupLens' terms allow research use and no redistribution.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pooch
from pydantic import Field

from services.common.settings import Settings

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
DONE = ".complete"
WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
WHEEL_FILES = tuple(f"recbole/dataset_example/ml-100k/ml-100k.{kind}" for kind in ("inter", "item", "user"))


@dataclass(frozen=True)
class Archive:
    """A GroupLens archive: the folder inside it and the sum it must have."""

    folder: str
    checksum: str


ARCHIVES = {
    "ml-1m": Archive("ml-1m", "md5:c4d9eecfca2ab87c1945afe126590906"),
    "ml-10m": Archive("ml-10M100K", "md5:ce571fd55effeba0271552578f2648bd"),
    "ml-20m": Archive("ml-20m", "md5:cd245b17a1ae2cc31bb14903e1204af3"),
    "ml-32m": Archive("ml-32m", "md5:d472be332d4daa821edc399621853b57"),
    "ml-latest-small": Archive(
        "ml-latest-small", "sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"
    ),
}
DATASETS = ("ml-100k", *ARCHIVES)


class DatasetError(Exception):
    """The data cannot be had; the message says what was tried and what to do."""


class DatasetSettings(Settings):
    """Which data to use."""

    dataset: str = Field(default="ml-100k", description="One of " + ", ".join(DATASETS) + ".")
    movielens_dir: Path | None = Field(default=None, description="Files already there; nothing is fetched then.")


def fetch(settings: DatasetSettings, root: Path) -> Path:
    """Return the folder with the MovieLens files, fetched below ``root`` first if it is not there.

    Raises:
        DatasetError: the name is unknown, the folder is not there, or a download or its sum failed.
    """
    if settings.movielens_dir is not None:
        if not settings.movielens_dir.is_dir():
            raise DatasetError(f"MOVIELENS_DIR: {settings.movielens_dir} is not a folder")
        return settings.movielens_dir.resolve()
    name = settings.dataset
    if name not in DATASETS:
        raise DatasetError(f"DATASET: {name!r} is not one of {', '.join(DATASETS)}")
    target = root / name
    if not (target / DONE).exists():
        root.mkdir(parents=True, exist_ok=True)
        if name in ARCHIVES:
            _fetch_archive(name, ARCHIVES[name], root)
        else:
            _fetch_wheel(target)
        (target / DONE).touch()
    return target.resolve()


def _fetch_wheel(target: Path) -> None:
    print(f"data: fetching MovieLens 100K out of the {WHEEL} wheel", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        requirement = Path(folder) / "wheel.txt"
        requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-q"]
        try:
            subprocess.run([*pip, "-d", folder, "-r", str(requirement)], check=True, stdout=sys.stderr)
        except subprocess.CalledProcessError as error:
            raise DatasetError(
                f"pip could not download {WHEEL} (see its message above); use MOVIELENS_DIR=… for files that you have"
            ) from error
        (wheel,) = Path(folder).glob("*.whl")
        target.mkdir(exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for member in WHEEL_FILES:
                (target / Path(member).name).write_bytes(archive.read(member))


def _fetch_archive(name: str, archive: Archive, root: Path) -> None:
    url = f"{GROUPLENS}/{name}.zip"
    print(f"data: fetching {url}", file=sys.stderr)
    try:
        pooch.retrieve(
            url,
            known_hash=archive.checksum,
            fname=f"{name}.zip",
            path=root,
            processor=pooch.Unzip(extract_dir="."),
            downloader=pooch.HTTPDownloader(progressbar=True, timeout=30),
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong sum is a ValueError
        reason = str(error).splitlines()[0]
        raise DatasetError(
            f"{url} could not be fetched: {reason}; use MOVIELENS_DIR=… for files that you have"
        ) from error
    extracted, target = root / archive.folder, root / name
    if extracted != target:
        shutil.rmtree(target, ignore_errors=True)  # of a run that was cut off before it was complete
        extracted.rename(target)


def main() -> int:
    """Fetch what the environment asks for; print the folder, or the error and return 1."""
    pooch.get_logger().setLevel("WARNING")
    try:
        print(fetch(DatasetSettings.from_environment(), Path(".local/data")))
    except DatasetError as error:
        print(f"data: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
