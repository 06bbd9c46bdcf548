"""Local files for a replica's next start: written atomically, and never a reason for a request to fail."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from services.inference.local_state import LocalState


class Note(BaseModel):
    text: str


class Count(BaseModel):
    number: int


def test_what_was_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    LocalState(tmp_path / "new" / "folder").write("note", Note(text="one"))
    again = LocalState(tmp_path / "new" / "folder")
    assert again.read("note", Note) == Note(text="one")
    again.write("note", Note(text="two"))
    assert LocalState(tmp_path / "new" / "folder").read("note", Note) == Note(text="two")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["note.json"]


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    LocalState(tmp_path / "state").write("note", Note(text="one"))
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state" / "note.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b'{"text": 1}', b"[]", b'{"text": "a'])
def test_a_torn_or_invalid_file_reads_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "note.json").write_bytes(content)
    assert LocalState(tmp_path).read("note", Note) is None


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert LocalState(tmp_path / "nowhere").read("note", Note) is None


def test_an_unwritable_folder_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    state = LocalState(tmp_path / "file" / "state")
    state.write("note", Note(text="one"))
    assert state.read("note", Note) is None


def test_writing_an_unchanged_value_does_not_touch_the_file(tmp_path: Path) -> None:
    state = LocalState(tmp_path)
    state.write("note", Note(text="one"))
    before = (tmp_path / "note.json").stat().st_ino
    state.write("note", Note(text="one"))
    assert (tmp_path / "note.json").stat().st_ino == before
    state.write("count", Count(number=1))
    assert state.read("count", Count) == Count(number=1)
