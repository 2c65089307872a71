"""Over the web: reading, and large files in pieces."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from drivetrain.fileio import (
    DigestMismatchError,
    RemoteNotFoundError,
    RemoteReadError,
    UnsupportedOperationError,
    download,
    exists,
    get,
    get_local_path,
    get_text,
    join_path,
    load,
    put,
)

CONTENT = bytes(range(256)) * 40


def test_reading_over_http(web: Any) -> None:
    web.files["sub/a.json"] = b'{"a": "gr\xc3\xb6\xc3\x9fer"}'
    url = join_path(web.url, "sub", "a.json")

    assert get(url) == web.files["sub/a.json"]
    assert get_text(url) == '{"a": "größer"}'
    assert load(url) == {"a": "größer"}
    assert exists(url)
    assert not exists(f"{web.url}/nothing")
    with get_local_path(url) as path:
        assert Path(path).suffix == ".json"
        assert Path(path).read_bytes() == web.files["sub/a.json"]
    assert not Path(path).exists()


def test_a_web_server_is_not_written_to(web: Any) -> None:
    with pytest.raises(UnsupportedOperationError, match="HTTPBackend cannot put"):
        put(b"", f"{web.url}/a")


def test_an_answer_that_is_no_file_is_an_error(web: Any) -> None:
    with pytest.raises(RemoteNotFoundError, match="nothing: the server has no such file"):
        get(f"{web.url}/nothing")
    web.status = 503
    with pytest.raises(RemoteReadError, match="the server answered 503"):
        get(f"{web.url}/a")
    with pytest.raises(RemoteReadError, match="no connection"):
        get("http://127.0.0.1:9/a")


def test_a_download_is_made_once(web: Any, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    target = tmp_path / "new" / "a.bin"

    for _ in range(2):
        assert download(f"{web.url}/a.bin", target) == str(target)

    assert target.read_bytes() == CONTENT
    assert len(web.requests) == 1
    assert {path.name for path in target.parent.iterdir()} <= {"a.bin", "a.bin.lock"}


def test_a_broken_download_goes_on_where_it_stopped(web: Any, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    web.break_after = [1000, 2000]

    download(f"{web.url}/a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in web.requests] == [None, "bytes=1000-", "bytes=3000-"]


def test_the_next_call_goes_on_after_the_last_gave_up(web: Any, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    web.break_after = [1000]
    with pytest.raises(RemoteReadError, match=r"gave up after 1 attempts: .* 1000 of 10240 bytes"):
        download(f"{web.url}/a.bin", tmp_path / "a.bin", attempts=1)
    assert not (tmp_path / "a.bin").exists()

    download(f"{web.url}/a.bin", tmp_path / "a.bin", attempts=1)

    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert web.requests[-1][1] == "bytes=1000-"


@pytest.mark.parametrize("tag", ['"v2"', None], ids=["changed", "without versions"])
def test_the_rest_of_another_version_is_never_appended(
    web: Any, tmp_path: Path, tag: str | None
) -> None:
    web.files["a.bin"] = b"old" * 1000
    web.break_after = [1000]
    web.tag = '"v1"' if tag else None
    with pytest.raises(RemoteReadError):
        download(f"{web.url}/a.bin", tmp_path / "a.bin", attempts=1)
    web.files["a.bin"] = CONTENT
    web.tag = tag

    download(f"{web.url}/a.bin", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_another_content_than_promised_is_removed(web: Any, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT

    with pytest.raises(DigestMismatchError, match="not 0123abcd"):
        download(f"{web.url}/a.bin", tmp_path / "a.bin", sha256="0123abcd")

    assert not (tmp_path / "a.bin").exists()
    assert not (tmp_path / "a.bin.part").exists()
    digest = hashlib.sha256(CONTENT).hexdigest()
    download(f"{web.url}/a.bin", tmp_path / "a.bin", sha256=digest[:8].upper())
    assert (tmp_path / "a.bin").exists()


def test_a_missing_file_is_not_asked_for_again(web: Any, tmp_path: Path) -> None:
    with pytest.raises(RemoteNotFoundError):
        download(f"{web.url}/a.bin", tmp_path / "a.bin")

    assert len(web.requests) == 1


def test_callers_at_the_same_time_share_one_download(web: Any, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    threads = [
        threading.Thread(target=download, args=(f"{web.url}/a.bin", tmp_path / "a.bin"))
        for _ in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(web.requests) == 1
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
