from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO

import pytest

from fairbench.errors import BadInput, WriteFailed
from fairbench.whole_file import usable_folder, writable_folder, write_whole


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_whole(path, "old")

    def full(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(WriteFailed, match="No space left") as caught:
        write_whole(path, full)
    assert caught.value.exit_code == 74
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_other_errors_pass_through_and_leave_nothing(tmp_path: Path) -> None:
    def broken(file: IO[bytes]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "x", broken)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_whole(tmp_path / "whole", b"")
    assert (tmp_path / "whole").stat().st_mode == plain.stat().st_mode


def test_a_folder_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be used"):
        writable_folder(tmp_path / "file")
    with pytest.raises(BadInput, match="cannot be used"):
        writable_folder(tmp_path / "file" / "below")
    assert writable_folder(tmp_path / "new" / "deep").is_dir()
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_a_folder_is_proven_usable_without_making_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.iterdir())
    for name in ("file", "file/below", "a" * 300, "nul\0"):
        with pytest.raises(BadInput, match="cannot be used"):
            usable_folder(tmp_path / name)
    assert usable_folder(tmp_path / "new" / "deep") == tmp_path / "new" / "deep"
    assert usable_folder(tmp_path) == tmp_path
    assert sorted(tmp_path.iterdir()) == before
