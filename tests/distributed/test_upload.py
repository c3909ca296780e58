"""The list of files that are uploaded is what lies in Ray's own archive of the folder, and its size the archive's."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from runner.distributed import upload
from runner.distributed.upload import list_upload, package
from runner.errors import UserError


def tree(folder: Path, *names: str) -> None:
    for place, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0" * (100 * place))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ignore files at two depths, what Ray leaves out by itself, a link, an empty folder."""
    names = ["a.py", "b.log", "sub/c.py", "sub/d.txt", "sub/keep.log", "deep/er/e.bin", ".git/objects/1", ".venv/x"]
    tree(tmp_path, *names, "sub/__pycache__/c.pyc", "data/rows.jsonl", "ünïcode/ß.txt")
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n/data/\n")
    (tmp_path / "sub" / ".gitignore").write_text("d.txt\n")
    (tmp_path / "deep" / ".rayignore").write_text("er/*.bin\n")
    (tmp_path / "linked").symlink_to(tmp_path / "sub")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize("excludes", [(), ("*.py",), ("sub",)])
@pytest.mark.parametrize("ignore_gitignore", ["0", "1"])
def test_the_list_is_what_the_archive_holds(
    folder: Path, excludes: tuple[str, ...], ignore_gitignore: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(upload.IGNORE_GITIGNORE, ignore_gitignore)
    found = list_upload(folder, excludes)
    _, content = package(found)
    entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
    held = {entry.filename: entry.file_size for entry in entries if not entry.is_dir()}
    assert dict(found.files) == held
    assert abs(found.size - len(content)) < 200  # the archive's own end, and an empty folder
    assert ("data/rows.jsonl" in held) == (ignore_gitignore == "1")


def test_what_is_held_is_told_of_files_and_folders(folder: Path) -> None:
    found = list_upload(folder, ())
    assert found.holds(folder / "sub" / "c.py")
    assert found.holds(folder / "sub")
    assert not found.holds(folder / "data")
    assert not found.holds(folder / "su")
    assert not found.holds(folder.parent)
    assert [name for name, _ in found.largest(2)] == ["ünïcode/ß.txt", "linked/keep.log"]


def test_the_same_files_have_the_same_name_and_others_another(folder: Path) -> None:
    first, _ = package(list_upload(folder, ()))
    assert package(list_upload(folder, ()))[0] == first
    (folder / "a.py").write_text("changed")
    assert package(list_upload(folder, ()))[0] != first


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    if os.geteuid() == 0:
        (folder / "sub" / "gone").symlink_to("/proc/1/mem")  # nobody reads it, not even root
    else:
        (folder / "a.py").chmod(0)
    with pytest.raises(UserError, match="cannot be uploaded"):
        package(list_upload(folder, ()))
