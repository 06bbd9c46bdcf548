"""Erased viewers' lines leave landed files; nothing else does."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.ids import UserId
from services.importer import forget_files
from services.importer import landing as landing_files
from services.importer.forget_files import ForgottenInFiles, forget_in_files

HEADER = b"user_id,item_id,rating,timestamp\n"
Noted = list[tuple[bytes, bytes, int]]


def forget(folder: Path, *erased: int) -> tuple[ForgottenInFiles, Noted]:
    noted: Noted = []
    done = forget_in_files(
        folder, [UserId(viewer) for viewer in erased], lambda old, new, less: noted.append((old, new, less))
    )
    return done, noted


def landing(tmp_path: Path) -> Path:
    for name in ("incoming", "processed", "failed"):
        (tmp_path / name).mkdir()
    return tmp_path


def after(tmp_path: Path, content: bytes, *erased: int) -> bytes:
    """Return what becomes of a file in ``failed/``, where every content may lie."""
    file = landing(tmp_path) / "failed" / "a.csv"
    file.write_bytes(content)
    forget(tmp_path, *erased)
    return file.read_bytes()


def test_lines_of_erased_viewers_go_everywhere_and_all_others_stay(tmp_path: Path) -> None:
    content = HEADER + b'42,1,4,978300760\r\n\n7,42,4,978300760\n"42",2,5,978300760\n142,1,4,978300742\n42,3,1,1'
    kept = HEADER + b"\n7,42,4,978300760\n142,1,4,978300742\n"
    landing(tmp_path)
    paths = [tmp_path / place / f"a{place}" for place in ("", "incoming", "processed", "failed")]
    for path in paths:
        path.write_bytes(content)
        path.chmod(0o640)
    done, noted = forget(tmp_path, 42, 99)
    assert (done.rewritten, done.lines, done.left) == (4, 12, {})
    digests = (hashlib.sha256(content).digest(), hashlib.sha256(kept).digest(), 3)
    assert noted == [digests] * 4
    for path in paths:
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (kept, 0o640)
    assert forget(tmp_path, 42, 99) == (ForgottenInFiles(), [])
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and p not in paths] == []


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"rating;User ID\n4;42\n42;7\n", b"rating;User ID\n42;7\n"),
        (b"\xef\xbb\xbfuser_id,item_id\r\n0042,1\r\n7,1\r\n", b"\xef\xbb\xbfuser_id,item_id\r\n7,1\r\n"),
        (HEADER + b"x,42,1,4,978300760\n7;1;4\n4 2,1\n", HEADER + b"7;1;4\n4 2,1\n"),
        (b"42,1,4,978300760\n7,1,4,978300760\n", b"7,1,4,978300760\n"),
        (HEADER + b"\xff42,1,4,1\n\xff7,1,4,1\n", HEADER + b"\xff7,1,4,1\n"),
        (HEADER + b'"42,1,4,978300760\n7,1,4,978300760\n', HEADER + b"7,1,4,978300760\n"),
        (HEADER + b" 42,1,4,1\n42.0,1,4,1\n420,1,4,1\n", HEADER + b"420,1,4,1\n"),
        (b"user_id,item_id\r42,1\r7,42\r", b"user_id,item_id\r7,42\r"),
        (b"", b""),
    ],
)
def test_disorderly_files_are_rewritten_too(tmp_path: Path, content: bytes, kept: bytes) -> None:
    assert after(tmp_path, content, 42) == kept


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([b"\n", b"\r\n"])), max_size=40),
    erased=st.sets(st.integers(1, 6), min_size=1),
    block_bytes=st.integers(40, 200),
)
def test_exactly_the_erased_viewers_lines_go_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, bytes]], erased: set[int], block_bytes: int
) -> None:
    lines = [(user, f"{user},{item},4,978300760".encode() + end) for user, item, end in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forget_files, "_BLOCK_BYTES", block_bytes)
        found = after(tmp_path_factory.mktemp("landing"), HEADER + b"".join(line for _, line in lines), *erased)
    assert found == HEADER + b"".join(line for user, line in lines if user not in erased)


def test_a_report_loses_the_lines_and_keeps_true_numbers(tmp_path: Path) -> None:
    file = landing(tmp_path) / "failed" / "a-1.csv"
    file.write_bytes(HEADER + b"7,1,4,1\n42,1,x,1\n7,1,y,1\n42,2,4,1\n7,1,z,1\n")
    report = file.with_name("a-1.csv.errors.json")
    problems = [{"line": line, "reason": f"of line {line}"} for line in (3, 4, 6)]
    report.write_text(json.dumps({"file": "a.csv", "sha256": "0", "bad_lines": 3, "first_problems": problems}))
    forget(tmp_path, 42)
    expected = [{"line": 3, "reason": "of line 4"}, {"line": 4, "reason": "of line 6"}]
    found = json.loads(report.read_text())
    assert (found["bad_lines"], found["first_problems"]) == (2, expected)
    assert found["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_run_that_is_cut_off_is_completed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = landing(tmp_path) / "failed" / "a.csv"
    file.write_bytes(HEADER + b"42,1,x,1\n7,1,y,1\n")
    report = file.with_name("a.csv.errors.json")
    report.write_text(
        json.dumps(
            {"sha256": "0", "bad_lines": 2, "first_problems": [{"line": 2, "reason": ""}, {"line": 3, "reason": ""}]}
        )
    )
    (file.parent / ".forget-abc").write_bytes(HEADER + b"42,1,")
    with monkeypatch.context() as patch:
        replace = Path.replace

        def fail(path: Path, target: Path) -> Path:
            if path.name.startswith(".forget-"):
                raise OSError("the power is gone")
            return replace(path, target)

        patch.setattr(Path, "replace", fail)
        done, _ = forget(tmp_path, 42)
        assert (done.rewritten, done.left, done.viewers_left) == (0, {"failed/a.csv": "the power is gone"}, {42})
    assert forget(tmp_path, 42)[0].left == {}
    assert file.read_bytes() == HEADER + b"7,1,y,1\n"
    assert json.loads(report.read_text())["first_problems"] == [{"line": 2, "reason": ""}]
    assert sorted(os.listdir(file.parent)) == ["a.csv", "a.csv.errors.json"]


def test_what_cannot_be_rewritten_is_named_and_keeps_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing(tmp_path)
    (tmp_path / "movielens").mkdir()
    (tmp_path / "a.csv.part").write_bytes(HEADER + b"42,1,4,1\n7,1")
    (tmp_path / "b.csv.part").write_bytes(HEADER + b"7,1,4,1\n")
    (tmp_path / "failed" / "c.csv").write_bytes("user_id,item_id\n42,1\n".encode("utf-16"))
    (tmp_path / "failed" / "d.csv").symlink_to("d.csv")
    os.mkfifo(tmp_path / "failed" / "e.csv")
    (tmp_path / "processed" / "f.csv").write_bytes(HEADER + b"42,1,4,1\n")
    (tmp_path / "processed" / "g.csv").write_bytes(HEADER + b"42,1,4,1\n")
    opened = landing_files.open_regular_file

    def refuse(path: Path) -> object:
        if path.name == "f.csv":
            raise PermissionError(13, "Permission denied")
        return opened(path)

    monkeypatch.setattr(forget_files, "open_regular_file", refuse)
    done, _ = forget(tmp_path, 42)
    assert sorted(done.left) == ["a.csv.part", "failed/c.csv", "processed/f.csv"]
    assert (done.not_ours, done.rewritten, done.viewers_left) == (["movielens"], 1, {42})
    assert (tmp_path / "processed" / "g.csv").read_bytes() == HEADER


def test_what_cannot_be_noted_is_not_rewritten(tmp_path: Path) -> None:
    file = landing(tmp_path) / "processed" / "a.csv"
    file.write_bytes(HEADER + b"42,1,4,1\n")

    def fail(*_: object) -> None:
        raise ConnectionError("PostgreSQL is away")

    assert forget_in_files(tmp_path, {UserId(42)}, fail).left == {"processed/a.csv": "PostgreSQL is away"}
    assert file.read_bytes() == HEADER + b"42,1,4,1\n"


def test_without_a_folder_or_erased_viewers_nothing_is_done(tmp_path: Path) -> None:
    assert forget(tmp_path / "none", 42)[0] == ForgottenInFiles()
    assert forget(tmp_path)[0] == ForgottenInFiles()
