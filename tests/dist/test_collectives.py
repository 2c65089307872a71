"""Collectives between two live ranks give exact results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist

from drivetrain import dist


def _reduce(op: str, dtype: torch.dtype) -> list[float]:
    data = torch.tensor([3, 5, 6]).to(dtype) + dist.get_rank()
    dist.all_reduce(data, op)
    return data.tolist()


@pytest.mark.parametrize(
    ("op", "dtype", "expected"),
    [
        ("sum", torch.float32, [7, 11, 13]),
        ("sum", torch.bfloat16, [7, 11, 13]),
        ("mean", torch.float32, [3.5, 5.5, 6.5]),
        ("mean", torch.int64, [3, 5, 6]),
        ("product", torch.float64, [12, 30, 42]),
        ("produce", torch.float64, [12, 30, 42]),
        ("min", torch.int32, [3, 5, 6]),
        ("max", torch.int32, [4, 6, 7]),
        ("band", torch.int64, [0, 4, 6]),
        ("bor", torch.int64, [7, 7, 7]),
        ("bxor", torch.int64, [7, 3, 1]),
    ],
)
def test_all_reduce_combines_in_place(
    ranks: Any, op: str, dtype: torch.dtype, expected: list[float]
) -> None:
    assert ranks(_reduce, op, dtype) == [expected, expected]


def _reduce_transposed() -> list[list[int]]:
    data = (torch.arange(6).view(2, 3) * (dist.get_rank() + 1)).t()
    dist.all_reduce(data)
    return data.tolist()


def test_all_reduce_takes_tensors_that_are_not_contiguous(ranks: Any) -> None:
    assert ranks(_reduce_transposed) == [[[0, 9], [3, 12], [6, 15]]] * 2


def _reduce_parameter() -> list[float]:
    param = torch.nn.Parameter(torch.full((2, 2), 1.0 + dist.get_rank()).t())
    dist.all_reduce(param, "mean")
    dist.broadcast(param, src=1)
    return [param[0, 0].item(), param.requires_grad]


def test_parameters_can_be_combined_in_place(ranks: Any) -> None:
    assert ranks(_reduce_parameter) == [[1.5, True]] * 2


def _reduce_unknown() -> str:
    try:
        dist.all_reduce(torch.ones(1), "average")
    except ValueError as err:
        return str(err)
    return ""


def test_all_reduce_lists_the_operations_that_it_knows(ranks: Any) -> None:
    assert all("one of sum, mean" in text for text in ranks(_reduce_unknown))


def _all_gather(lengths: list[int]) -> list[list[float]]:
    rank = dist.get_rank()
    return [part.tolist() for part in dist.all_gather(torch.full((lengths[rank],), float(rank)))]


@pytest.mark.parametrize("lengths", [[2, 2], [3, 1], [0, 2], [0, 0]])
def test_all_gather_takes_equal_and_unequal_lengths(ranks: Any, lengths: list[int]) -> None:
    expected = [[0.0] * lengths[0], [1.0] * lengths[1]]
    assert ranks(_all_gather, lengths) == [expected, expected]


def _all_gather_scalars() -> list[int]:
    return [int(part) for part in dist.all_gather(torch.tensor(dist.get_rank() + 5))]


def test_all_gather_takes_scalars(ranks: Any) -> None:
    assert ranks(_all_gather_scalars) == [[5, 6], [5, 6]]


def _all_gather_mixed() -> str:
    data = torch.ones(2, dtype=torch.int64 if dist.get_rank() else torch.float32)
    try:
        dist.all_gather(data)
    except dist.DataMismatchError as err:
        return str(err)
    return ""


def test_all_gather_of_different_dtypes_fails_on_every_rank(ranks: Any) -> None:
    assert all("rank 1 brings 1 dimensions" in text for text in ranks(_all_gather_mixed))


def _gather(dst: int) -> list[list[int]]:
    data = torch.arange(dist.get_rank() + 1)
    return [part.tolist() for part in dist.gather(data, dst=dst)]


@pytest.mark.parametrize("dst", [0, 1])
def test_gather_gives_all_to_one_rank_and_nothing_to_others(ranks: Any, dst: int) -> None:
    answers = ranks(_gather, dst)
    assert answers[dst] == [[0], [0, 1]]
    assert answers[1 - dst] == []


def _broadcast(src: int) -> list[int]:
    data = torch.tensor([1, 2]) + 2 * dist.get_rank()
    dist.broadcast(data, src=src)
    return data.tolist()


def test_broadcast_overwrites_all_ranks(ranks: Any) -> None:
    assert ranks(_broadcast, 0) == [[1, 2], [1, 2]]
    assert ranks(_broadcast, 1) == [[3, 4], [3, 4]]


def _reduce_dict() -> dict[str, list[float]]:
    scale = dist.get_rank() + 1
    data = {"b": torch.arange(3) * scale, "a": torch.arange(2) * scale, "c": torch.ones(1) * scale}
    dist.all_reduce_dict(data, "sum")
    return {key: value.tolist() for key, value in data.items()}


def test_all_reduce_dict_combines_key_by_key_over_dtypes(ranks: Any) -> None:
    assert ranks(_reduce_dict) == [{"b": [0, 3, 6], "a": [0, 3], "c": [3.0]}] * 2


def _reduce_other_keys() -> str:
    try:
        dist.all_reduce_dict({f"key{dist.get_rank()}": torch.ones(1)})
    except dist.DataMismatchError as err:
        return str(err)
    return ""


def test_all_reduce_dict_names_the_keys_that_differ(ranks: Any) -> None:
    assert all("rank 1 has keys ['key1']" in text for text in ranks(_reduce_other_keys))


def _reduce_params(coalesce: bool, bucket_size_mb: int) -> list[list[float]]:
    scale = dist.get_rank() + 1
    params = [torch.full((600_000,), 1.0 * scale), torch.ones(2) * scale, torch.arange(2) * scale]
    dist.all_reduce_params((p for p in params), coalesce, bucket_size_mb, op="mean")
    return [[p[0].item(), p[-1].item()] for p in params]


@pytest.mark.parametrize(("coalesce", "bucket_size_mb"), [(True, -1), (True, 1), (False, -1)])
def test_all_reduce_params_combines_each(ranks: Any, coalesce: bool, bucket_size_mb: int) -> None:
    expected = [[1.5, 1.5], [1.5, 1.5], [0, 1]]  # integers: (1 + 2) / 2 rounds to 1
    assert ranks(_reduce_params, coalesce, bucket_size_mb) == [expected, expected]


def _objects() -> tuple[Any, ...]:
    rank = dist.get_rank()
    box = ["foo", 12, {1: 2}] if rank == 0 else [None, None, None]
    dist.broadcast_object_list(box)
    gathered = dist.all_gather_object({"rank": rank, "long": [rank] * (rank * 100)})
    return box, [len(item["long"]) for item in gathered], dist.gather_object(rank, dst=1)


def test_objects_travel(ranks: Any) -> None:
    box = ["foo", 12, {1: 2}]
    assert ranks(_objects) == [(box, [0, 100], None), (box, [0, 100], [0, 1])]


def _subgroup() -> tuple[Any, ...]:
    groups = [torch_dist.new_group([rank]) for rank in range(2)]
    own = groups[dist.get_rank()]
    data = torch.tensor([dist.get_rank() + 1.0])
    dist.all_reduce(data, group=own)
    seed = dist.sync_random_seed(own)
    answer = (
        dist.get_dist_info(own),
        dist.is_main_process(own),
        data.item(),
        [t.item() for t in dist.all_gather(data, own)],
        dist.all_gather_object("x", own),
        0 <= seed < 2**31,
    )
    torch_dist.destroy_process_group(own)
    return answer


def test_collectives_work_on_subgroups(ranks: Any) -> None:
    assert ranks(_subgroup) == [
        ((0, 1), True, 1.0, [1.0], ["x"], True),
        ((0, 1), True, 2.0, [2.0], ["x"], True),
    ]


def _outside() -> tuple[Any, ...]:
    first = torch_dist.new_group([0])
    data = torch.tensor(float(dist.get_rank()))
    dist.all_reduce(data, group=first)
    dist.all_reduce_params([data], group=first)
    dist.all_reduce_dict({"a": data}, group=first)
    dist.broadcast(data, group=first)
    dist.barrier(first)
    box = ["x"]
    dist.broadcast_object_list(box, group=first)
    return (
        data.item(),
        len(dist.all_gather(data, first)),
        len(dist.gather(data, group=first)),
        dist.all_gather_object("x", first),
        dist.gather_object("x", group=first),
        box,
    )


def test_ranks_outside_of_a_group_may_make_the_same_calls(ranks: Any) -> None:
    """As with torch's own: one program for all ranks."""
    assert ranks(_outside) == [
        (0.0, 1, 1, ["x"], ["x"], ["x"]),
        (1.0, 0, 0, [], None, ["x"]),
    ]


def _queries() -> tuple[Any, ...]:
    os.environ.update(LOCAL_RANK=str(dist.get_rank()), LOCAL_WORLD_SIZE="2")
    before = (dist.get_local_rank(), dist.get_local_size())
    try:
        dist.get_local_group()
    except dist.GroupError as err:
        message = str(err)
    dist.init_local_group(0, 2)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        del os.environ[name]
    return (
        dist.get_dist_info(),
        before,
        (dist.get_local_rank(), dist.get_local_size()),
        "init_local_group" in message,
        dist.get_local_group() is not None,
        dist.get_backend(),
        str(dist.get_comm_device()),
    )


def test_queries_tell_the_place_of_each_rank(ranks: Any) -> None:
    assert ranks(_queries) == [
        ((r, 2), (r, 2), (r, 2), True, True, "gloo", "cpu") for r in range(2)
    ]


def _seeds() -> tuple[int, int]:
    return dist.sync_random_seed(), dist.set_random_seed()


def test_random_seeds_are_equal_on_all_ranks(ranks: Any) -> None:
    first, second = ranks(_seeds)
    assert first == second


def _diff_rank_seed() -> tuple[int, float]:
    return dist.set_random_seed(5, diff_rank_seed=True), torch.rand(1).item()


def test_diff_rank_seed_adds_the_rank(ranks: Any) -> None:
    (seed0, number0), (seed1, number1) = ranks(_diff_rank_seed)
    assert seed0 == seed1 == 5
    torch.manual_seed(6)
    assert number1 == torch.rand(1).item() != number0


def _master_only() -> Any:
    return dist.master_only(lambda: "here")()


def test_master_only_runs_on_rank_0_only(ranks: Any) -> None:
    assert ranks(_master_only) == ["here", None]


def _fail_on(bad_rank: int, which: str) -> str:
    def action() -> str:
        if dist.get_rank() == bad_rank:
            raise FileNotFoundError("no such disk")
        return "fine"

    try:
        return str(getattr(dist, which)(action))
    except (FileNotFoundError, dist.RankFailedError) as err:
        return f"{type(err).__name__}: {err}"


def test_a_failure_on_rank_0_is_raised_on_all(ranks: Any) -> None:
    assert ranks(_fail_on, 0, "run_on_main") == [
        "FileNotFoundError: no such disk",
        "RankFailedError: rank 0 failed: FileNotFoundError: no such disk",
    ]


def test_a_failure_on_any_rank_is_raised_on_all(ranks: Any) -> None:
    assert ranks(_fail_on, 1, "run_on_all") == [
        "RankFailedError: rank 1 failed: FileNotFoundError: no such disk",
        "FileNotFoundError: no such disk",
    ]


def _collect(per_rank: list[int], size: int, options: dict[str, Any]) -> Any:
    rank = dist.get_rank()
    part = [{"index": 2 * i + rank} for i in range(per_rank[rank])]
    return dist.collect_results(part, size, **options)


@pytest.mark.parametrize("device", ["cpu", "gpu", "folder"])
@pytest.mark.parametrize(
    ("per_rank", "size"), [([3, 3], 6), ([3, 3], 5), ([3, 2], 5), ([1, 0], 1), ([0, 0], 0)]
)
def test_collect_results_restores_the_order_of_the_dataset(
    ranks: Any, tmp_path: Path, device: str, per_rank: list[int], size: int
) -> None:
    folder = device == "folder"
    options = {"tmpdir": str(tmp_path / "parts")} if folder else {"device": device}
    first, second = ranks(_collect, per_rank, size, options)
    assert first == [{"index": i} for i in range(size)]
    assert second is None
    assert not (tmp_path / "parts").exists()


def _collect_many() -> Any:
    rank = dist.get_rank()
    small = [(rank, i) for i in range(20_000)]
    large = [torch.full((4_000_000,), float(rank)), *small]
    collected = dist.collect_results(large, 2 * len(large))
    if collected is None:
        return None
    return collected[0][0].item(), collected[1][0].item(), collected[2:6], len(collected)


def test_collect_results_takes_one_result_larger_than_a_piece(ranks: Any) -> None:
    expected = (0.0, 1.0, [(0, 0), (1, 0), (0, 1), (1, 1)], 40_002)
    assert ranks(_collect_many) == [expected, None]
