"""Every query and collective has an answer in a single process without a process group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from drivetrain import dist


def test_a_single_process_is_rank_0_of_1() -> None:
    assert dist.get_dist_info() == (0, 1)
    assert (dist.get_local_rank(), dist.get_local_size()) == (0, 1)
    assert dist.is_main_process()
    assert not dist.is_distributed()
    assert dist.get_backend() is None
    assert dist.get_default_group() is None
    assert dist.get_local_group() is None
    dist.barrier()


def test_collectives_of_one_return_what_they_got() -> None:
    data = torch.arange(3)
    assert dist.all_gather(data) == [data]
    assert dist.gather(data) == [data]
    assert dist.all_gather_object("x") == ["x"]
    assert dist.gather_object("x") == ["x"]
    for change in (dist.all_reduce, dist.broadcast):
        change(data)
    dist.all_reduce_dict({"a": data})
    dist.all_reduce_params([data])
    dist.broadcast_object_list(["x"])
    assert data.tolist() == [0, 1, 2]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_collect_results_of_one_cuts_at_size(device: str) -> None:
    assert dist.collect_results([1, 2, 3], size=2, device=device) == [1, 2]


def test_collect_results_refuses_a_folder_for_the_gpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tmpdir must be None"):
        dist.collect_results([1], 1, device="gpu", tmpdir=str(tmp_path))


def test_collect_results_refuses_an_unknown_device() -> None:
    with pytest.raises(ValueError, match="'cpu' or 'gpu', got 'tpu'"):
        dist.collect_results([1], 1, device="tpu")


def test_master_only_keeps_name_and_result() -> None:
    @dist.master_only
    def answer(number: int) -> int:
        return number + 1

    assert answer(1) == 2
    assert answer.__name__ == "answer"


def test_run_on_main_and_run_on_all_pass_results_and_errors_on() -> None:
    assert dist.run_on_main(lambda: 3) == 3
    assert dist.run_on_all(lambda: 4) == 4
    with pytest.raises(ZeroDivisionError):
        dist.run_on_main(lambda: 1 // 0)


def test_init_local_group_asks_for_a_process_group_first() -> None:
    with pytest.raises(dist.GroupError, match="call init_dist first"):
        dist.init_local_group(0, 1)


class TestDataDevice:
    def test_is_found_in_nested_data(self) -> None:
        data = {"a": [torch.ones(1), (torch.ones(1),)], "b": torch.ones(2)}
        assert dist.get_data_device(data) == torch.device("cpu")

    def test_of_several_devices_is_an_error_that_names_them(self) -> None:
        data = [torch.ones(1), torch.ones(1, device="meta")]
        with pytest.raises(ValueError, match="found cpu, meta"):
            dist.get_data_device(data)

    @pytest.mark.parametrize("data", [[], {}], ids=["list", "dict"])
    def test_of_nothing_is_an_error(self, data: object) -> None:
        with pytest.raises(ValueError, match="empty"):
            dist.get_data_device(data)  # pyrefly: ignore[bad-argument-type]

    def test_of_something_else_is_an_error(self) -> None:
        with pytest.raises(TypeError, match="got str"):
            dist.get_data_device("tensor")


class TestCastDataDevice:
    def test_moves_every_tensor_and_keeps_the_structure(self) -> None:
        data = {"a": [torch.ones(2)], "b": (torch.ones(1),)}
        moved = dist.cast_data_device(data, torch.device("meta"))
        assert moved["a"][0].is_meta
        assert moved["b"][0].is_meta
        assert isinstance(moved["b"], tuple)

    def test_does_not_copy_what_is_there_already(self) -> None:
        data = torch.ones(2)
        assert dist.cast_data_device(data, torch.device("cpu")) is data

    def test_fills_out_in_place(self) -> None:
        out = {"a": torch.zeros(2)}
        assert dist.cast_data_device({"a": torch.ones(2)}, torch.device("cpu"), out) is out
        assert out["a"].tolist() == [1, 1]

    def test_refuses_an_out_of_another_structure(self) -> None:
        with pytest.raises(dist.DataMismatchError, match="other keys"):
            dist.cast_data_device({"a": torch.ones(1)}, torch.device("cpu"), {"b": torch.ones(1)})
        with pytest.raises(TypeError, match="out is list"):
            dist.cast_data_device(torch.ones(1), torch.device("cpu"), [])


@pytest.mark.parametrize("call", [dist.all_reduce, dist.all_reduce_dict])
def test_what_cannot_be_combined_is_named_by_its_type(call: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a .*, got list"):
        call([1])
