"""What a replica keeps for its next start: whole or not at all, and never in the way of a request."""

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


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    LocalState(tmp_path / "state").write("note", Note(text="one"))
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state" / "note.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b'{"text": 1}', b"[]", b'{"text": "a'])
def test_a_torn_or_foreign_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "note.json").write_bytes(content)
    assert LocalState(tmp_path).read("note", Note) is None


def test_nothing_kept_is_none(tmp_path: Path) -> None:
    assert LocalState(tmp_path / "nowhere").read("note", Note) is None


def test_a_folder_that_cannot_be_written_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    state = LocalState(tmp_path / "file" / "state")
    state.write("note", Note(text="one"))
    assert state.read("note", Note) is None


def test_writing_the_same_again_leaves_the_file_alone(tmp_path: Path) -> None:
    state = LocalState(tmp_path)
    state.write("note", Note(text="one"))
    before = (tmp_path / "note.json").stat().st_ino
    state.write("note", Note(text="one"))
    assert (tmp_path / "note.json").stat().st_ino == before
    state.write("count", Count(number=1))
    assert state.read("count", Count) == Count(number=1)
