"""What is saved comes back, and into which model."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.checkpoint import (
    CheckpointContentError,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointLoader,
    CheckpointNotFoundError,
    CheckpointWriteError,
    NotPlainDataError,
    SchemeRegistrationError,
    StateDictMismatchError,
    _load_checkpoint,
    _load_checkpoint_to_model,
    _load_checkpoint_with_prefix,
    as_plain_data,
    get_state_dict,
    load_checkpoint,
    load_state_dict,
    read_checkpoint_file,
    save_checkpoint,
    verify_checkpoint,
    weights_to_cpu,
)


def small_model() -> nn.Module:
    return nn.Sequential(OrderedDict(backbone=nn.Linear(3, 4), norm=nn.BatchNorm1d(4)))


def same(a: Any, b: Any) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model, other = small_model(), small_model()
    path = str(tmp_path / "new" / "folder" / "a.pth")

    save_checkpoint({"state_dict": model.state_dict(), "meta": {"epoch": 3}}, path)
    checkpoint = load_checkpoint(other, path, strict=True)

    assert checkpoint["meta"] == {"epoch": 3}
    assert same(model.state_dict(), other.state_dict())
    assert verify_checkpoint(path).method == "sha256"


def test_a_bare_process_with_torch_alone_loads_it_safely(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    state = {
        "state_dict": small_model().state_dict(),
        "numbers": [1, 2.5, True, None, 2**70, float("inf"), "größer", b"bytes"],
        "numpy": {"f": numpy.float64(0.5), "i": numpy.arange(3), "s": numpy.str_("x")},
        "containers": ((1, 2), {3}, OrderedDict(a=1), range(2)),
        "path": Path("a/b"),
        "torch": [torch.float16, torch.device("cpu"), torch.Size([1, 2])],
        "parameter": nn.Parameter(torch.ones(1)),
    }
    save_checkpoint(state, tmp_path / "a.pth")
    code = "import sys, torch; c = torch.load(sys.argv[1], weights_only=True); print(c['path'])"

    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path / "a.pth")],
        capture_output=True,
        text=True,
    )

    assert done.stdout.split() == ["a/b"], done.stderr


def test_values_with_an_equal_plain_form_take_it() -> None:
    numpy = pytest.importorskip("numpy")

    class Config(dict):
        pass

    plain = as_plain_data(
        {"c": Config(a=Config()), "n": numpy.int64(3), "a": numpy.ones(2), "l": numpy.array(["x"])}
    )

    assert type(plain["c"]) is dict
    assert type(plain["c"]["a"]) is dict
    assert type(plain["n"]) is int
    assert torch.equal(plain["a"], torch.ones(2, dtype=torch.float64))
    assert plain["l"] == ["x"]


def test_attributes_of_a_tensor_are_not_saved() -> None:
    tensor = torch.ones(1)
    tensor.owner = object()

    assert not as_plain_data([tensor])[0].__dict__


def test_a_state_that_would_not_load_safely_is_refused_and_each_place_named(
    tmp_path: Path,
) -> None:
    state = {"meta": {"hook": object()}, "list": [1, lambda: 0]}

    with pytest.raises(NotPlainDataError) as caught:
        save_checkpoint(state, tmp_path / "a.pth")

    assert "['meta']['hook']: builtins.object" in str(caught.value)
    assert "['list'][1]: builtins.function" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_contains_itself_is_refused() -> None:
    state: dict[str, Any] = {}
    state["me"] = state

    with pytest.raises(NotPlainDataError, match=r"\['me'\]: dict that contains itself"):
        as_plain_data(state)


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    weight = torch.ones(1000)

    save_checkpoint({"a": weight, "b": weight}, tmp_path / "a.pth")
    loaded = read_checkpoint_file(tmp_path / "a.pth")

    assert loaded["a"].data_ptr() == loaded["b"].data_ptr()


def test_a_part_of_a_large_tensor_costs_its_own_size_only(tmp_path: Path) -> None:
    table = torch.arange(1_000_000.0)
    rows = table[10:20]

    save_checkpoint({"rows": rows, "again": rows, "column": table[::100_000]}, tmp_path / "a.pth")
    loaded = read_checkpoint_file(tmp_path / "a.pth")

    assert (tmp_path / "a.pth").stat().st_size < 10_000
    assert torch.equal(loaded["rows"], rows)
    assert torch.equal(loaded["column"], table[::100_000])
    assert loaded["rows"].data_ptr() == loaded["again"].data_ptr()


def test_parts_that_use_all_of_a_tensor_go_on_sharing_it(tmp_path: Path) -> None:
    flat = torch.arange(10.0)

    save_checkpoint({"a": flat[:4].reshape(2, 2), "b": flat[4:]}, tmp_path / "a.pth")
    loaded = read_checkpoint_file(tmp_path / "a.pth")

    assert loaded["a"].untyped_storage().data_ptr() == loaded["b"].untyped_storage().data_ptr()


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    save_checkpoint({}, tmp_path / "epoch_12.pth")

    with pytest.raises(CheckpointNotFoundError, match=r"Did you mean:  epoch_12\.pth"):
        _load_checkpoint(str(tmp_path / "epoch_13.pth"))


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="is a folder"):
        _load_checkpoint(str(tmp_path))


def corrupted(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "one byte changed":
        content[len(content) // 2] ^= 1
    elif how == "empty":
        content.clear()
    elif how == "something else":
        content[:] = b"hello"
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("how", "manifest"),
    [
        ("cut", True),
        ("one byte changed", True),
        ("empty", True),
        ("something else", True),
        # Without a checksum nobody sees a changed byte, but everything else.
        ("cut", False),
        ("empty", False),
        ("something else", False),
    ],
)
def test_a_damaged_file_is_not_loaded(tmp_path: Path, how: str, manifest: bool) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint({"w": torch.ones(1000)}, path)
    if not manifest:
        (tmp_path / "a.pth.manifest.json").unlink()
    corrupted(path, how)

    with pytest.raises(CheckpointCorruptError, match=r"a\.pth: "):
        read_checkpoint_file(path)


def test_a_manifest_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    save_checkpoint({}, tmp_path / "a.pth")
    (tmp_path / "a.pth.manifest.json").write_text("{")

    assert verify_checkpoint(tmp_path / "a.pth").method == "structure"


def test_a_file_of_plain_torch_loads(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "new.pth")
    torch.save({"a": 1}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert _load_checkpoint(str(tmp_path / "new.pth")) == {"a": 1}
    assert _load_checkpoint(str(tmp_path / "old.pth")) == {"a": 1}


def test_an_unwritable_place_is_an_error_that_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CheckpointWriteError, match="could not be written: "):
        save_checkpoint({}, tmp_path / "file" / "a.pth")


def test_a_file_system_without_locks_takes_checkpoints_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, timeout_s: float) -> Any:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("drivetrain.checkpoint._write.file_lock", refuse)

    save_checkpoint({"a": 1}, tmp_path / "a.pth")

    assert read_checkpoint_file(tmp_path / "a.pth") == {"a": 1}


def test_loose_loading_reports_what_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    state = small_model().state_dict()
    state["backbone.weight"] = torch.ones(7, 3)
    state["extra"] = torch.ones(1)
    del state["norm.weight"]

    report = load_state_dict(small_model(), state)

    assert report.missing == ("norm.weight",)
    assert report.unexpected == ("extra",)
    assert report.mismatched == (("backbone.weight", (7, 3), (4, 3)),)
    assert report.loaded == 5
    out = capsys.readouterr().out
    assert "5 loaded, 1 missing, 1 unexpected, 1 of another shape" in out
    assert "backbone.weight  (7, 3)         (4, 3)" in out


def test_strict_loading_raises_the_report() -> None:
    with pytest.raises(StateDictMismatchError, match="Missing in the checkpoint"):
        load_state_dict(small_model(), {}, strict=True)


def test_a_fitting_load_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    report = load_state_dict(small_model(), small_model().state_dict())

    assert (str(report), capsys.readouterr().out) == ("all 7 weights fit", "")


def test_a_missing_batch_counter_is_no_news() -> None:
    state = small_model().state_dict()
    del state["norm.num_batches_tracked"]

    assert load_state_dict(small_model(), state, strict=True).fits


@pytest.mark.parametrize(
    ("rename", "hint"),
    [
        (lambda name: f"net.{name}", r'revise_keys=[(r"^net\.", "")]'),
        (lambda name: name.removeprefix("backbone."), None),
    ],
)
def test_a_prefix_that_would_help_is_suggested(rename: Any, hint: str | None) -> None:
    state = {rename(name): value for name, value in small_model().state_dict().items()}

    report = str(load_state_dict(small_model(), state, logger="silent"))

    assert (hint in report) if hint else ("Try:" in report)


def test_names_of_wrapped_models_are_those_of_the_model(tmp_path: Path) -> None:
    model = small_model()
    wrapped = nn.Sequential(OrderedDict(a=nn.DataParallel(model)))
    both = nn.DataParallel(wrapped)

    assert set(get_state_dict(both)) == {f"a.{name}" for name in model.state_dict()}
    assert set(get_state_dict(both, prefix="x.")) == {f"x.a.{n}" for n in model.state_dict()}
    assert "a.norm" in get_state_dict(both)._metadata  # type: ignore[attr-defined]
    new = {name: torch.zeros_like(value) for name, value in get_state_dict(both).items()}
    assert load_state_dict(both, new, strict=True).loaded == 7
    assert not model.backbone.weight.any()


def test_a_registered_wrapper_is_one() -> None:
    from drivetrain.registry import MODEL_WRAPPERS

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    assert "module.weight" in get_state_dict(Wrapper(nn.Linear(1, 1)))
    MODEL_WRAPPERS.register_module(name="TestWrapper", module=Wrapper)
    try:
        assert "weight" in get_state_dict(Wrapper(nn.Linear(1, 1)))
    finally:
        MODEL_WRAPPERS.module_dict.pop("TestWrapper")


def test_keys_are_revised_in_turn(tmp_path: Path) -> None:
    model = small_model()
    save_checkpoint({f"module.old.{n}": v for n, v in model.state_dict().items()}, tmp_path / "a")

    other = small_model()
    load_checkpoint(
        other, str(tmp_path / "a"), strict=True, revise_keys=[(r"^module\.", ""), ("^old.", "")]
    )

    assert same(model.state_dict(), other.state_dict())


def test_revised_keys_that_collide_are_refused() -> None:
    with pytest.raises(CheckpointContentError, match="several weights one name"):
        _load_checkpoint_to_model(small_model(), {"a": 1, "b": 2}, revise_keys=[("a|b", "c")])


def test_one_part_of_a_model_can_be_loaded(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pth")
    save_checkpoint({"state_dict": small_model().state_dict()}, path)

    assert list(_load_checkpoint_with_prefix("backbone", path)) == ["weight", "bias"]
    with pytest.raises(CheckpointContentError, match="They start with: backbone, norm"):
        _load_checkpoint_with_prefix("head.", path)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "a.pth")

    with pytest.raises(CheckpointContentError, match="holds a list"):
        load_checkpoint(small_model(), str(tmp_path / "a.pth"))


def test_weights_to_cpu_keeps_names_and_versions() -> None:
    state = small_model().state_dict()

    copy = weights_to_cpu(state)

    assert same(copy, state)
    assert copy._metadata == state._metadata  # type: ignore[attr-defined]


def test_a_scheme_of_ones_own_is_found_by_its_prefix() -> None:
    @CheckpointLoader.register_scheme("test-scheme://")
    def load_here(filename: str, map_location: Any = None) -> Any:
        return {"from": filename}

    assert _load_checkpoint("test-scheme://x") == {"from": "test-scheme://x"}
    with pytest.raises(SchemeRegistrationError, match="has a loader, load_here"):
        CheckpointLoader.register_scheme("test-scheme://", load_here)
    CheckpointLoader.register_scheme(["test-scheme://"], load_here, force=True)


def test_a_store_behind_fsspec_takes_and_gives_checkpoints() -> None:
    pytest.importorskip("fsspec")
    url = "memory://checkpoints/a.pth"

    save_checkpoint({"state_dict": small_model().state_dict()}, url)

    assert load_checkpoint(small_model(), url, strict=True)["state_dict"]


def test_every_error_of_the_package_has_one_root() -> None:
    import drivetrain.checkpoint as package

    for name in package.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(package, name), CheckpointError)


def test_nothing_counts_as_loaded_from_a_file_without_weights() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(StateDictMismatchError, match="0 loaded, 6 missing"):
        load_state_dict(model, {}, strict=True)
