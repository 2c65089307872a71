"""Formats."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from drivetrain.fileio import (
    BackendRegistrationError,
    BaseFileHandler,
    ParseError,
    UnknownFormatError,
    dict_from_file,
    dump,
    list_from_file,
    load,
    register_handler,
)

DATA = {"lr": 0.1, "betas": [0.9, 0.99], "name": "größer", "nested": {"on": True, "none": None}}


@pytest.mark.parametrize("ending", ["json", "yaml", "yml", "pkl", "pickle"])
def test_what_is_dumped_loads_equal(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "sub" / f"data.{ending}"

    assert dump(DATA, path) is True
    assert load(path) == DATA
    assert load(str(path)) == DATA


@pytest.mark.parametrize("file_format", ["json", "yaml", "pkl"])
def test_without_a_file_the_text_is_returned(file_format: str) -> None:
    text = dump(DATA, file_format=file_format)

    stream = io.BytesIO(text) if isinstance(text, bytes) else io.StringIO(text)
    assert load(stream, file_format=file_format) == DATA


def test_open_files_are_written_and_read(tmp_path: Path) -> None:
    with open(tmp_path / "a", "w", encoding="utf-8") as file:
        dump(DATA, file, file_format="json", indent=2)
    with open(tmp_path / "a", encoding="utf-8") as file:
        assert load(file, file_format="json") == DATA


def test_the_given_format_wins_over_the_ending(tmp_path: Path) -> None:
    dump(DATA, tmp_path / "a.txt", file_format="json")

    assert json.loads((tmp_path / "a.txt").read_text()) == DATA


def test_an_upper_case_ending_is_understood(tmp_path: Path) -> None:
    dump(DATA, tmp_path / "a.JSON")

    assert load(tmp_path / "a.JSON") == DATA


def test_an_unknown_ending_names_the_nearest_format(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match="Did you mean:  'yaml'"):
        dump(DATA, tmp_path / "a.yalm")


def test_a_stream_without_a_format_is_refused() -> None:
    with pytest.raises(ValueError, match="give file_format"):
        load(io.StringIO("{}"))
    with pytest.raises(ValueError, match="give file_format"):
        dump(DATA)


def test_something_that_is_no_file_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a path or an open file, got int"):
        load(3, file_format="json")


def test_a_failed_dump_keeps_the_old_file(tmp_path: Path) -> None:
    dump(DATA, tmp_path / "a.json")

    with pytest.raises(TypeError, match="JSON cannot hold object"):
        dump({"a": object()}, tmp_path / "a.json")

    assert load(tmp_path / "a.json") == DATA


def test_json_takes_sets_ranges_and_numpy_values() -> None:
    numpy = pytest.importorskip("numpy")
    data = {"s": {1}, "r": range(2), "a": numpy.arange(2), "f": numpy.float32(0.5)}

    assert json.loads(str(dump(data, file_format="json"))) == {
        "s": [1],
        "r": [0, 1],
        "a": [0, 1],
        "f": 0.5,
    }


def test_yaml_writes_tuples_and_mappings_as_plain_data_in_their_order() -> None:
    text = dump(OrderedDict(b=(1, 2), a="x"), file_format="yaml")

    assert text == "b:\n- 1\n- 2\na: x\n"


def test_yaml_does_not_build_objects_from_a_file() -> None:
    yaml = pytest.importorskip("yaml")
    text = "!!python/object/apply:os.system ['true']"

    with pytest.raises(yaml.constructor.ConstructorError):
        load(io.StringIO(text), file_format="yaml")


def test_a_handler_of_ones_own_serves_several_formats(tmp_path: Path) -> None:
    @register_handler(["lines1", "lines2"])
    class LinesHandler(BaseFileHandler):
        def load_from_fileobj(self, file: Any) -> Any:
            return file.read().split("\n")

        def dump_to_fileobj(self, obj: Any, file: Any) -> None:
            file.write("\n".join(obj))

        def dump_to_str(self, obj: Any) -> str:
            return "\n".join(obj)

    for ending in ("lines1", "lines2"):
        dump(["a", "b"], tmp_path / f"x.{ending}")
        assert load(tmp_path / f"x.{ending}") == ["a", "b"]
    with pytest.raises(BackendRegistrationError, match="have a handler"):
        register_handler("lines1", force=False)(LinesHandler)


def test_a_handler_must_be_one() -> None:
    with pytest.raises(TypeError, match="must derive from BaseFileHandler"):
        register_handler("x")(dict)


def test_handlers_write_and_read_paths_themselves(tmp_path: Path) -> None:
    from drivetrain.fileio import PickleHandler, YamlHandler

    PickleHandler().dump_to_path(DATA, str(tmp_path / "a"))
    assert PickleHandler().load_from_path(str(tmp_path / "a")) == DATA
    YamlHandler().dump_to_path(DATA, str(tmp_path / "b"))
    assert YamlHandler().load_from_path(str(tmp_path / "b")) == DATA


def test_both_kinds_of_backend_arguments_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        load(tmp_path / "a.json", file_client_args={}, backend_args={})


def test_the_old_backend_arguments_still_work(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="use backend_args"):
        dump(DATA, tmp_path / "a.json", file_client_args={"backend": "disk"})

    assert load(tmp_path / "a.json") == DATA


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["a", "b", "c", "d", "e"]),
        ({"offset": 2}, ["c", "d", "e"]),
        ({"max_num": 2}, ["a", "b"]),
        ({"offset": 1, "max_num": 2}, ["b", "c"]),
        ({"prefix": "/mnt/", "max_num": 1}, ["/mnt/a"]),
        ({"max_num": -1, "offset": 4}, ["e"]),
        ({"offset": 9}, []),
    ],
    ids=str,
)
def test_lists_from_files(tmp_path: Path, arguments: dict[str, Any], expected: list[str]) -> None:
    (tmp_path / "a.txt").write_text("a\nb\nc\nd\ne\n")

    assert list_from_file(tmp_path / "a.txt", **arguments) == expected


def test_a_list_keeps_empty_lines_and_drops_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\r\n\r\nb")

    assert list_from_file(tmp_path / "a.txt") == ["a", "", "b"]


def test_dicts_from_files(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("1 cat\n2 dog cow\n3 panda")

    assert dict_from_file(tmp_path / "b.txt") == {"1": "cat", "2": ["dog", "cow"], "3": "panda"}
    assert dict_from_file(tmp_path / "b.txt", key_type=int)[2] == ["dog", "cow"]


def test_a_line_without_a_value_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("1 cat\nlonely")

    with pytest.raises(ParseError, match=r"line 2: .* got 'lonely'"):
        dict_from_file(tmp_path / "b.txt")
