"""Small chores about local paths."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from drivetrain.fileio import (
    check_file_exist,
    find_vcs_root,
    fopen,
    get_git_hash,
    is_abs,
    is_filepath,
    mkdir_or_exist,
    scandir,
    symlink,
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"a.txt", "b.json"}),
        ({"suffix": ".txt"}, {"a.txt"}),
        ({"suffix": (".txt", ".json")}, {"a.txt", "b.json"}),
        ({"recursive": True, "suffix": ".txt"}, {"a.txt", "sub/c.txt"}),
        (
            {"recursive": True, "suffix": ".Txt", "case_sensitive": False},
            {"a.txt", "sub/c.txt", "sub/deep/d.TXT"},
        ),
    ],
    ids=str,
)
def test_scanning_a_folder(tree: Path, arguments: dict[str, Any], expected: set[str]) -> None:
    assert {Path(name).as_posix() for name in scandir(tree, **arguments)} == expected
    assert {Path(name).as_posix() for name in scandir(str(tree), **arguments)} == expected


def test_scanning_refuses_other_types_at_once(tree: Path) -> None:
    with pytest.raises(TypeError, match="dir_path must be"):
        scandir(123)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="suffix must be"):
        scandir(tree, 111)  # type: ignore[arg-type]


def test_paths_are_strings_and_path_objects() -> None:
    assert is_filepath("a")
    assert is_filepath(Path("a"))
    assert not is_filepath(0)


@pytest.mark.parametrize("path", ["/a", "s3://b/a", "http://x", "petrel://a"])
def test_absolute_paths_and_urls_stand_on_their_own(path: str) -> None:
    assert is_abs(path)
    assert not is_abs("a/b")


def test_opening_takes_no_file_descriptor(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")

    with fopen(tmp_path / "a", "r") as file:
        assert file.read() == "x"
    with pytest.raises(ValueError, match="must be a string or a Path, got int"):
        fopen(0)  # type: ignore[arg-type]


def test_a_file_that_must_exist(tmp_path: Path) -> None:
    check_file_exist(__file__)
    with pytest.raises(FileNotFoundError, match=r'file ".*nothing" does not exist'):
        check_file_exist(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"no .*nothing!"):
        check_file_exist(tmp_path / "nothing", "no {}!")


def test_folders_are_made_with_their_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    for _ in range(2):
        mkdir_or_exist(tmp_path / "a" / "b")
    mkdir_or_exist("~/home")
    mkdir_or_exist("")

    assert (tmp_path / "a" / "b").is_dir()
    assert (tmp_path / "home").is_dir()


def test_a_link_replaces_another_where_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()

    symlink(tmp_path / "a", tmp_path / "link")
    symlink(tmp_path / "b", tmp_path / "link")

    assert (tmp_path / "link").resolve() == (tmp_path / "b").resolve()
    with pytest.raises(FileExistsError):
        symlink(tmp_path / "a", tmp_path / "link", overwrite=False)


def test_the_root_of_a_checkout_is_found_upwards(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()

    assert find_vcs_root(tmp_path / "a" / "b") == str(tmp_path)
    assert find_vcs_root(tmp_path / "a" / "file") == str(tmp_path)
    assert find_vcs_root(tmp_path / "a", markers=[".nothing-has-this"]) is None


def test_the_commit_of_the_working_folder_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert get_git_hash(fallback="none") == "none"
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert len(get_git_hash()) == 40
    assert get_git_hash(digits=6) == get_git_hash()[:6]
    with pytest.raises(TypeError, match="digits"):
        get_git_hash(digits="6")
