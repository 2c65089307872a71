"""What every backend does alike, and how one is chosen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import drivetrain.fileio as fileio
from drivetrain.fileio import (
    BackendRegistrationError,
    BaseStorageBackend,
    FileClient,
    FsspecBackend,
    HTTPBackend,
    LmdbBackend,
    LocalBackend,
    MemcachedBackend,
    MissingLibraryError,
    PetrelBackend,
    UnknownBackendError,
    UnsupportedOperationError,
    get_file_backend,
    register_backend,
)


class FakePetrel:
    """A cluster in memory, with the client's methods."""

    def __init__(self, enable_mc: bool) -> None:
        self.objects: dict[str, bytes] = {}

    def Get(self, path: str) -> bytes | None:
        return self.objects.get(path)

    def put(self, path: str, content: bytes) -> None:
        self.objects[path] = content

    def contains(self, path: str) -> bool:
        return path in self.objects

    def isdir(self, path: str) -> bool:
        return any(name.startswith(path.rstrip("/") + "/") for name in self.objects)

    def delete(self, path: str) -> None:
        del self.objects[path]

    def list(self, path: str) -> Iterator[str]:
        rests = {name[len(path) :] for name in self.objects if name.startswith(path)}
        yield from sorted({r.split("/")[0] + ("/" if "/" in r else "") for r in rests})

    def generate_presigned_url(self, url: str, method: str, expires: int) -> str:
        return f"{url}?{method}&{expires}"


@pytest.fixture
def petrel(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SimpleNamespace(Client=FakePetrel)
    monkeypatch.setitem(sys.modules, "petrel_client", SimpleNamespace(client=client))
    monkeypatch.setitem(sys.modules, "petrel_client.client", client)


@pytest.fixture(params=["local", "memory", "file url", "petrel"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[BaseStorageBackend, str]:
    """A backend, and an empty folder in it."""
    if request.param == "local":
        return get_file_backend(), str(tmp_path / "store")
    if request.param == "petrel":
        request.getfixturevalue("petrel")
        return get_file_backend("petrel://x"), "petrel://bucket/store"
    url = f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/store"
    return get_file_backend(url), url


Place = tuple[BaseStorageBackend, str]


def fill(backend: BaseStorageBackend, root: str) -> None:
    for name in ("a.txt", "b.json", "sub/c.txt", "sub/deep/d.txt"):
        backend.put_text(name, backend.join_path(root, name))


def test_bytes_and_text_come_back(place: Place) -> None:
    backend, root = place
    path = backend.join_path(root, "new", "a.bin")

    backend.put(b"\x00\xff", path)
    assert backend.get(path) == b"\x00\xff"
    backend.put_text("größer", path)
    assert backend.get_text(path) == "größer"
    backend.put_text("größer", path, encoding="latin-1")
    assert backend.get_text(path, encoding="latin-1") == "größer"


def test_files_and_folders_are_told_apart(place: Place) -> None:
    backend, root = place
    fill(backend, root)
    file, folder = backend.join_path(root, "a.txt"), backend.join_path(root, "sub")

    assert (backend.exists(file), backend.isfile(file), backend.isdir(file)) == (True, True, False)
    assert (backend.exists(folder), backend.isdir(folder)) == (True, True)
    assert not backend.isfile(folder)
    assert not backend.exists(backend.join_path(root, "nothing"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"a.txt", "b.json", "sub"}),
        ({"list_dir": False}, {"a.txt", "b.json"}),
        ({"list_file": False}, {"sub"}),
        ({"suffix": ".txt"}, {"a.txt"}),
        ({"suffix": (".txt", ".json"), "recursive": True}, {"a.txt", "b.json", "sub/c.txt"}),
        (
            {"recursive": True},
            {"a.txt", "b.json", "sub", "sub/c.txt", "sub/deep"},
        ),
    ],
    ids=str,
)
def test_listing(place: Place, arguments: dict[str, Any], expected: set[str]) -> None:
    backend, root = place
    fill(backend, root)
    if arguments.get("recursive"):
        expected = expected | {"sub/deep/d.txt"}

    listed = {Path(name).as_posix() for name in backend.list_dir_or_file(root, **arguments)}

    assert listed == expected


def test_a_suffix_of_another_type_is_refused(place: Place) -> None:
    backend, root = place

    with pytest.raises(TypeError, match="suffix must be a string"):
        list(backend.list_dir_or_file(root, suffix=3))


def test_a_file_is_copied_to_a_name_or_into_a_folder(place: Place) -> None:
    backend, root = place
    fill(backend, root)
    source = backend.join_path(root, "a.txt")

    copy = backend.copyfile(source, backend.join_path(root, "copy.txt"))
    inside = backend.copyfile(source, backend.join_path(root, "sub"))

    assert copy == backend.join_path(root, "copy.txt")
    assert inside == backend.join_path(root, "sub", "a.txt")
    assert backend.get_text(copy) == backend.get_text(inside) == "a.txt"
    with pytest.raises(shutil.SameFileError):
        backend.copyfile(source, source)


def test_a_tree_is_copied_to_a_new_place_only(place: Place) -> None:
    backend, root = place
    fill(backend, root)
    target = backend.join_path(root, "copy")

    assert backend.copytree(backend.join_path(root, "sub"), target) == target
    assert backend.get_text(backend.join_path(target, "deep", "d.txt")) == "sub/deep/d.txt"
    with pytest.raises(FileExistsError):
        backend.copytree(backend.join_path(root, "sub"), target)


def test_files_and_trees_go_to_the_disk_and_back(place: Place, tree: Path, tmp_path: Path) -> None:
    backend, root = place

    up = backend.copytree_from_local(tree, backend.join_path(root, "up"))
    assert backend.get_text(backend.join_path(up, "sub", "c.txt")) == "sub/c.txt"
    one = backend.copyfile_from_local(tree / "a.txt", backend.join_path(up, "sub"))
    assert one == backend.join_path(up, "sub", "a.txt")
    backend.copytree_to_local(backend.join_path(up, "sub"), tmp_path / "down")
    assert (tmp_path / "down" / "deep" / "d.TXT").read_text() == "sub/deep/d.TXT"
    back = backend.copyfile_to_local(one, tmp_path / "down")
    assert Path(back).read_text() == "a.txt"


def test_a_local_path_has_the_content(place: Place) -> None:
    backend, root = place
    fill(backend, root)

    with backend.get_local_path(backend.join_path(root, "b.json")) as path:
        assert Path(path).read_text() == "b.json"
        assert str(path).endswith(".json")
    assert Path(path).exists() == isinstance(backend, LocalBackend)


def test_removing(place: Place) -> None:
    backend, root = place
    fill(backend, root)
    file, folder = backend.join_path(root, "a.txt"), backend.join_path(root, "sub")

    backend.remove(file)
    assert not backend.exists(file)
    with pytest.raises(FileNotFoundError):
        backend.remove(file)
    with pytest.raises(IsADirectoryError, match="rmtree removes folders"):
        backend.remove(folder)
    backend.rmtree(folder)
    assert not backend.exists(backend.join_path(folder, "c.txt"))


def test_a_link_is_made_or_a_copy(place: Place) -> None:
    backend, root = place
    fill(backend, root)
    source, link = backend.join_path(root, "a.txt"), backend.join_path(root, "link")

    linked = backend.copy_if_symlink_fails(source, link)

    assert linked == isinstance(backend, LocalBackend)
    assert backend.get_text(link) == "a.txt"


def test_the_functions_find_the_backend_by_the_url(tmp_path: Path) -> None:
    url = f"memory://functions/{tmp_path.name}"
    fileio.put_text("hello", fileio.join_path(url, "sub", "a.txt"))
    fileio.put(b"bytes", f"{url}/b.bin")

    assert fileio.get_text(f"{url}/sub/a.txt") == "hello"
    assert fileio.get(f"{url}/b.bin") == b"bytes"
    assert fileio.exists(f"{url}/b.bin")
    assert fileio.isfile(f"{url}/b.bin")
    assert fileio.isdir(f"{url}/sub")
    assert set(fileio.list_dir_or_file(url)) == {"sub", "b.bin"}
    assert fileio.copyfile(f"{url}/b.bin", f"{url}/c.bin") == f"{url}/c.bin"
    assert fileio.copytree(f"{url}/sub", f"{url}/sub2") == f"{url}/sub2"
    assert fileio.copyfile_to_local(f"{url}/b.bin", tmp_path) == str(tmp_path / "b.bin")
    assert fileio.copytree_to_local(f"{url}/sub", tmp_path / "t") == str(tmp_path / "t")
    assert fileio.copyfile_from_local(tmp_path / "b.bin", f"{url}/d.bin") == f"{url}/d.bin"
    assert fileio.copytree_from_local(tmp_path / "t", f"{url}/t") == f"{url}/t"
    assert fileio.copy_if_symlink_fails(f"{url}/b.bin", f"{url}/l.bin") is False
    with fileio.get_local_path(f"{url}/b.bin") as path:
        assert Path(path).read_bytes() == b"bytes"
    fileio.remove(f"{url}/b.bin")
    fileio.rmtree(f"{url}/sub")
    assert not fileio.exists(f"{url}/b.bin")
    fileio.dump({"a": 1}, f"{url}/x.json")
    assert fileio.load(f"{url}/x.json") == {"a": 1}
    assert fileio.list_from_file(f"{url}/sub2/a.txt") == ["hello"]


def test_a_presigned_url_comes_from_backends_that_sign(petrel: None) -> None:
    signed = fileio.generate_presigned_url("petrel://b/x", expires_in=60)

    assert signed == "petrel://b/x?get_object&60"
    with pytest.raises(UnsupportedOperationError, match="LocalBackend cannot generate_presigned"):
        fileio.generate_presigned_url("x")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (None, LocalBackend),
        ("a/b.txt", LocalBackend),
        (Path("a/b.txt"), LocalBackend),
        ("C:\\data\\a.txt", LocalBackend),
        ("http://x/a", HTTPBackend),
        ("https://x/a", HTTPBackend),
        ("s3://bucket/a", FsspecBackend),
        ("gs://bucket/a", FsspecBackend),
        ("simplecache::memory://a", FsspecBackend),
    ],
    ids=str,
)
def test_the_prefix_decides(uri: Any, expected: type) -> None:
    assert type(get_file_backend(uri)) is expected


def test_the_name_wins_over_the_prefix() -> None:
    backend = get_file_backend("s3://b/a", backend_args={"backend": "http", "timeout_s": 3.0})

    assert isinstance(backend, HTTPBackend)
    assert backend.timeout_s == 3.0


def test_one_object_for_equal_arguments_where_asked() -> None:
    first = get_file_backend("memory://a", enable_singleton=True)

    assert get_file_backend("memory://b", enable_singleton=True) is first
    assert get_file_backend("memory://b") is not first
    args = {"backend": "http", "timeout_s": 2.0}
    assert get_file_backend(backend_args=args, enable_singleton=True) is get_file_backend(
        backend_args=dict(args), enable_singleton=True
    )


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownBackendError, match="Did you mean:  'petrel'"):
        get_file_backend(backend_args={"backend": "petrl"})


def test_an_unknown_prefix_says_what_is_possible() -> None:
    with pytest.raises(UnknownBackendError, match=r"register_backend\(name, backend, prefixes="):
        get_file_backend("nosuch://a")


def test_a_store_whose_library_is_absent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)

    with pytest.raises(MissingLibraryError, match="no library for 'abfs' is installed"):
        fileio.get("abfs://bucket/a")


@pytest.mark.parametrize(
    ("make", "library"),
    [
        (lambda: PetrelBackend(), "petrel_client"),
        (lambda: MemcachedBackend("servers", "client"), "mc"),
        (lambda: LmdbBackend("db"), "lmdb"),
    ],
    ids=["petrel", "memcached", "lmdb"],
)
def test_a_backend_whose_library_is_absent_says_so(
    make: Any, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(MissingLibraryError, match=f"needs the library '{library}'"):
        make()


def test_lmdb_records_are_read(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "db")) as database, database.begin(write=True) as writing:
        writing.put(b"key", b"value")

    backend = get_file_backend(backend_args={"backend": "lmdb", "db_path": str(tmp_path / "db")})

    assert backend.get("key") == b"value"
    assert backend.get_text("key") == "value"
    with pytest.raises(KeyError, match="has no record 'other'"):
        backend.get("other")


class Reversed(BaseStorageBackend):
    """A backend of a user's own, with the two methods that it must have."""

    def get(self, filepath: Any) -> bytes:
        return str(filepath).encode()[::-1]

    def get_text(self, filepath: Any, encoding: str = "utf-8") -> str:
        return self.get(filepath).decode(encoding)


def test_a_backend_of_ones_own() -> None:
    register_backend("reversed", Reversed, prefixes=["rev", "ver"], force=True)

    assert fileio.get_text("rev://abc") == "cba//:ver"
    assert fileio.get_text("abc", backend_args={"backend": "reversed"}) == "cba"
    with pytest.raises(UnsupportedOperationError, match="It offers: get, get_text"):
        fileio.put(b"", "ver://abc")
    assert not hasattr(Reversed(), "put")


def test_a_registration_that_would_replace_something_needs_force() -> None:
    with pytest.raises(BackendRegistrationError, match="the name 'local' belongs to LocalBackend"):
        register_backend("local", Reversed)
    with pytest.raises(BackendRegistrationError, match="the prefix 'http' belongs to HTTPBackend"):
        register_backend("other-http", Reversed, prefixes="http")
    with pytest.raises(TypeError, match="must be a subclass"):
        register_backend("dict", dict)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="name must be a string"):
        register_backend(3, Reversed)  # type: ignore[call-overload]


def test_the_older_client_says_what_replaces_it() -> None:
    with pytest.warns(DeprecationWarning, match="or get_file_backend"):
        FileClient("disk")


@pytest.mark.filterwarnings("ignore:FileClient is deprecated")
def test_the_older_client_is_the_same_backend(tmp_path: Path) -> None:
    client = FileClient("disk")
    again = FileClient(backend="disk")
    remote = FileClient(prefix="s3")
    inferred = FileClient.infer_client(uri="memory://a")

    client.put_text("hello", tmp_path / "a.txt")
    assert client is again
    assert client.get(tmp_path / "a.txt") == b"hello"
    assert client.name == "HardDiskBackend"
    assert isinstance(remote.client, FsspecBackend)
    assert isinstance(inferred.client, FsspecBackend)
    assert FileClient.parse_uri_prefix("s3://a") == "s3"
    assert FileClient.parse_uri_prefix("cluster:petrel://a") == "petrel"
    assert FileClient.parse_uri_prefix("a") is None
    with pytest.raises(UnknownBackendError):
        FileClient("nothing")


def test_petrel_paths_are_mapped(petrel: None) -> None:
    backend = PetrelBackend(path_mapping={"data/": "petrel://bucket/"})

    backend.put(b"x", "data/a")

    assert backend._client.objects == {"s3://bucket/a": b"x"}
    assert backend.get("s3://bucket\\a") == b"x"
    with pytest.raises(FileNotFoundError):
        backend.get("data/b")


def test_put_writes_to_a_device_and_leaves_it_in_place() -> None:
    if os.name == "nt":
        pytest.skip("needs /dev/null")
    fileio.put(b"x", "/dev/null")

    assert not os.path.isfile("/dev/null")


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, drivetrain.fileio; "
        "heavy = {'torch', 'numpy', 'fsspec', 'aiohttp', 'yaml', 'filelock', 'asyncio', 'ssl'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stdout.strip() == "[]", done.stderr


def test_the_public_names_are_those_listed() -> None:
    exposed = {name for name in vars(fileio) if not name.startswith("_")}

    assert exposed == set(fileio.__all__) - {"__version__"}


def test_a_disk_knows_symbolic_links_and_a_store_does_not() -> None:
    assert LocalBackend().allow_symlink
    assert not get_file_backend("memory://bucket/a").allow_symlink
