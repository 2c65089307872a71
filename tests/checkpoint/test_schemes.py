"""Weights from a web server, and from tables of names."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from drivetrain.checkpoint import (
    CheckpointError,
    CheckpointLoader,
    MissingLibraryError,
    UnknownSchemeError,
    UnsafeCheckpointError,
    _load_checkpoint,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)
from drivetrain.fileio import DigestMismatchError, RemoteNotFoundError


class Server(ThreadingHTTPServer):
    requested: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server for ``tmp_path/www``, and an empty cache folder."""
    (tmp_path / "www").mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    requested: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            requested.append(self.path)

    server = Server(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    server.requested = requested
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def publish(path: Path, content: Any) -> str:
    torch.save(content, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_url_is_downloaded_once_and_then_cached(tmp_path: Path, server: Server) -> None:
    publish(tmp_path / "www" / "a.pth", {"a": 1})

    for _ in range(2):
        assert _load_checkpoint(f"{server.url}/a.pth", "cpu") == {"a": 1}

    assert server.requested == ["/a.pth"]
    assert len(list((tmp_path / "cache" / "hub" / "checkpoints").rglob("a.pth"))) == 1


def test_files_of_one_name_from_two_places_are_two(tmp_path: Path, server: Server) -> None:
    for place in ("one", "two"):
        (tmp_path / "www" / place).mkdir()
        publish(tmp_path / "www" / place / "a.pth", {"from": place})

    for place in ("one", "two"):
        assert _load_checkpoint(f"{server.url}/{place}/a.pth") == {"from": place}


def test_the_digest_in_a_name_is_checked(tmp_path: Path, server: Server) -> None:
    digest = publish(tmp_path / "www" / "x", {"a": 1})
    (tmp_path / "www" / f"a_20200130-{digest[:8]}.pth").write_bytes(
        (tmp_path / "www" / "x").read_bytes()
    )
    (tmp_path / "www" / "a-0123abcd.pth").write_bytes((tmp_path / "www" / "x").read_bytes())
    (tmp_path / "www" / "a-20200130.pth").write_bytes((tmp_path / "www" / "x").read_bytes())

    assert _load_checkpoint(f"{server.url}/a_20200130-{digest[:8]}.pth") == {"a": 1}
    assert _load_checkpoint(f"{server.url}/a-20200130.pth") == {"a": 1}
    with pytest.raises(DigestMismatchError, match="not 0123abcd"):
        _load_checkpoint(f"{server.url}/a-0123abcd.pth")


def test_a_digest_may_follow_the_url(tmp_path: Path, server: Server) -> None:
    digest = publish(tmp_path / "www" / "a.pth", {"a": 1})

    with pytest.raises(DigestMismatchError):
        _load_checkpoint(f"{server.url}/a.pth#sha256={'0' * 64}")
    assert _load_checkpoint(f"{server.url}/a.pth#sha256={digest}") == {"a": 1}


def test_a_missing_file_is_named(server: Server) -> None:
    with pytest.raises(RemoteNotFoundError, match=r"nothing\.pth: the server has no such file"):
        _load_checkpoint(f"{server.url}/nothing.pth")


def test_names_are_looked_up_in_their_table(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "www" / "a.pth", {"state_dict": {"backbone.w": 1, "head.w": 2}})
    tables = {
        "open-mmlab": {"new/net": f"{server.url}/a.pth"},
        "mmcls": {"net": f"{server.url}/a.pth"},
        "renamed": {"net": "new/net"},
    }
    monkeypatch.setattr("drivetrain.checkpoint._model_table._table", lambda: tables)

    for name in ("open-mmlab://new/net", "openmmlab://net"):
        assert _load_checkpoint(name)["state_dict"] == {"backbone.w": 1, "head.w": 2}
    assert _load_checkpoint("mmcls://net")["state_dict"] == {"w": 1}
    with pytest.raises(UnknownSchemeError, match="Did you mean:  new/net"):
        _load_checkpoint("open-mmlab://new/nte")


def test_the_shipped_tables_hold_urls() -> None:
    for table in (get_external_models(), get_mmcls_models()):
        assert len(table) > 40
        assert all(url.startswith("https://") for url in table.values())
    assert get_deprecated_model_names()["resnet50_caffe"] in get_external_models()


class FakeWeights:
    """As an enumeration of torchvision: iterable, with a default."""

    def __init__(self, *urls: str) -> None:
        self.members = [SimpleNamespace(name=f"V{i + 1}", url=url) for i, url in enumerate(urls)]
        self.DEFAULT = self.members[-1] if urls else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def test_torchvision_tells_its_own_urls(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "www" / "v1.pth", {"v": 1})
    publish(tmp_path / "www" / "v2.pth", {"v": 2})
    weights = {
        "resnet50": FakeWeights(f"{server.url}/v1.pth", f"{server.url}/v2.pth"),
        "untrained": FakeWeights(),
    }
    fake = SimpleNamespace(list_models=lambda: list(weights), get_model_weights=weights.get)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=fake))
    monkeypatch.setitem(sys.modules, "torchvision.models", fake)

    assert _load_checkpoint("torchvision://resnet50") == {"v": 2}
    assert _load_checkpoint("modelzoo://resnet50.v1") == {"v": 1}
    with pytest.raises(UnknownSchemeError, match="resnet50"):
        _load_checkpoint("torchvision://resnet5")


def test_without_torchvision_its_scheme_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)

    with pytest.raises(MissingLibraryError, match="need torchvision, which is not installed"):
        get_torchvision_models()


def test_an_unknown_scheme_is_refused_as_fileio_does() -> None:
    with pytest.raises(ValueError, match="no backend for URLs that start with nosuch://"):
        _load_checkpoint("nosuch://x")


def test_a_loader_that_cannot_load_unsafely_is_not_asked_to() -> None:
    def load_plainly(filename: str, map_location: Any = None) -> Any:
        return {}

    CheckpointLoader.register_scheme("plain-only://", load_plainly, force=True)

    with pytest.raises(CheckpointError, match="load_plainly takes no weights_only"):
        _load_checkpoint("plain-only://x", weights_only=False)


def test_an_unsafe_file_of_a_server_is_refused_too(tmp_path: Path, server: Server) -> None:
    publish(tmp_path / "www" / "a.pth", {"a": Path("x")})

    with pytest.raises(UnsafeCheckpointError):
        _load_checkpoint(f"{server.url}/a.pth")
