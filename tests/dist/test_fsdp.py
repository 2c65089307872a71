"""A sharded model trains, is saved and goes on like a whole one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from drivetrain import dist
from drivetrain.dist._module_rule import ModuleRule
from drivetrain.dist.strategy import DDPStrategy, FSDPStrategy, SingleDeviceStrategy, merge_shards
from drivetrain.registry import MODELS, STRATEGIES

BLOCKS = {"wrap": {"classes": ["Linear"]}}
WIDTHS = (4, 7, 5, 2)  # odd sizes: shards of different lengths


def _tiny() -> Any:
    import tiny_training

    return tiny_training


def _strategy(kind: str, folder: str, **options: Any) -> Any:
    settings = {"work_dir": folder, "env_kwargs": {"randomness": {"seed": 7}}}
    if kind == "fsdp":
        return FSDPStrategy(**settings, **options)
    return (DDPStrategy if kind == "ddp" else SingleDeviceStrategy)(**settings)


def _prepared(kind: str, folder: str, optim: dict[str, Any] | None = None, **options: Any) -> Any:
    strategy = _strategy(kind, folder, **options).setup()
    strategy.prepare(
        _tiny().TinyModel(WIDTHS),
        optim_wrapper={**_tiny().ADAMW, **(optim or {})},
        param_scheduler={"factor": 0.9},
        dispatch_kwargs={"max_iters": 8},
    )
    return strategy


def _whole(strategy: Any) -> dict[str, Tensor]:
    """Whole weights on every rank, whatever the strategy."""
    state = strategy._bare().state_dict()
    return {n: (t.full_tensor() if isinstance(t, DTensor) else t).clone() for n, t in state.items()}


def _train(kind: str, folder: str, steps: int, optim: Any, options: Any) -> Any:
    with _tiny().tiny_builders():
        strategy = _prepared(kind, folder, optim, **options)
        _tiny().train(strategy, range(steps))
        return _whole(strategy), getattr(strategy.optim_wrapper, "norms", [])


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


SGD = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}}
ADAMW = {"optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1}}


@pytest.mark.parametrize(
    ("optim", "tolerance"),
    [
        ({}, 1e-6),
        (SGD, 1e-6),
        ({"accumulative_counts": 2}, 1e-6),
        ({"clip_norm": 0.1}, 1e-6),
        ({"clip_norm": 0.1, "accumulative_counts": 2}, 1e-6),
        ({"several": [ADAMW, SGD]}, 1e-6),
        # float16 rounds each rank's gradients before they are added up.
        ({"autocast_dtype": torch.float16, "scale": 1024.0}, 2e-3),
        ({"autocast_dtype": torch.bfloat16}, 2e-2),
    ],
    ids=str,
)
def test_fsdp_ends_where_ddp_and_one_process_end(
    ranks: Any, tmp_path: Path, optim: Any, tolerance: float
) -> None:
    """Bit for bit like DDP, but for clipping, whose norm is a sum in another order.

    Near one process within rounding: the same sums of gradients, in another order.
    """
    folder = str(tmp_path)
    (fsdp, fsdp_norms), (other, _) = ranks(
        _train, "fsdp", folder, 4, optim, {"model_wrapper": BLOCKS}
    )
    (ddp, ddp_norms), _ = ranks(_train, "ddp", folder, 4, optim, {})
    alone, _ = _train("single", folder, 4, optim, {})
    assert _equal(fsdp, other)
    if "clip_norm" in optim:
        torch.testing.assert_close(fsdp_norms, ddp_norms, rtol=1e-6, atol=0)
        for name, weight in ddp.items():
            torch.testing.assert_close(fsdp[name], weight, rtol=0, atol=1e-7)
    else:
        assert _equal(fsdp, ddp)
    for name, weight in alone.items():
        torch.testing.assert_close(fsdp[name], weight, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model_wrapper": {"wrap": {"names": [r"layers\.\d"]}}},
        {"model_wrapper": {"wrap": {"min_params": 20}}},
        {"model_wrapper": {**BLOCKS, "cpu_offload": True}},
        {"model_wrapper": {**BLOCKS, "reshard_after_forward": False}},
        {"model_wrapper": {"mesh": {"replicate": 2, "shard": 1}}},
        {"model_wrapper": BLOCKS, "activation_checkpointing": {"classes": ["Linear", "Tanh"]}},
    ],
    ids=str,
)
def test_how_a_model_is_cut_does_not_change_the_result(
    ranks: Any, tmp_path: Path, options: Any
) -> None:
    if options.get("model_wrapper", {}).get("cpu_offload") and dist.get_device() != "cpu":
        pytest.skip("offloading is for the accelerator's memory; gloo ranks here use the CPU")
    (fsdp, _), _ = ranks(_train, "fsdp", str(tmp_path), 3, {}, options)
    (ddp, _), _ = ranks(_train, "ddp", str(tmp_path), 3, {}, {})
    for name, weight in ddp.items():
        torch.testing.assert_close(fsdp[name], weight, rtol=0, atol=1e-7)


def _precision(folder: str) -> tuple[Any, ...]:
    with _tiny().tiny_builders():
        policy = {"param_dtype": "bfloat16", "reduce_dtype": "float32", "output_dtype": "float32"}
        strategy = _prepared("fsdp", folder, model_wrapper={**BLOCKS, "mixed_precision": policy})
        seen = []
        strategy.model.layers[0].register_forward_pre_hook(lambda m, a: seen.append(m.weight.dtype))
        losses = [
            strategy.model.train_step(_tiny().batch(0, dist.get_rank(), 2), strategy.optim_wrapper)[
                "loss"
            ].item()
            for _ in range(3)
        ]
        return seen[0], {p.dtype for p in strategy.model.parameters()}, losses


def test_mixed_precision_computes_short_and_keeps_long_weights(ranks: Any, tmp_path: Path) -> None:
    computed, kept, losses = ranks(_precision, str(tmp_path))[0]
    assert kept == {torch.float32}
    assert losses[2] < losses[0]
    assert computed is torch.bfloat16


def _overflow(folder: str, kind: str) -> tuple[Any, ...]:
    with _tiny().tiny_builders():
        options = {"model_wrapper": BLOCKS} if kind == "fsdp" else {}
        strategy = _prepared(kind, folder, {"scale": 1024.0}, **options)
        before = _whole(strategy)
        data = _tiny().batch(0, dist.get_rank(), 2)
        if dist.get_rank() == 1:
            data["inputs"] = data["inputs"] * float("inf")
        strategy.model.train_step(data, strategy.optim_wrapper)
        return _equal(_whole(strategy), before), strategy.optim_wrapper.scaler.get_scale()


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_an_overflow_on_one_rank_makes_all_skip_the_step(
    ranks: Any, tmp_path: Path, kind: str
) -> None:
    assert ranks(_overflow, str(tmp_path), kind) == [(True, 512.0), (True, 512.0)]


def _shards(folder: str) -> tuple[int, int, bool]:
    with _tiny().tiny_builders():
        strategy = _prepared("fsdp", folder, model_wrapper=BLOCKS)
        _tiny().train(strategy, range(1))
        optimizer = strategy.optim_wrapper.optimizer
        held = sum(p.to_local().numel() for p in strategy.model.parameters())
        moments = sum(s["exp_avg"].to_local().numel() for s in optimizer.state.values())
        return held, moments, hasattr(strategy.model, "no_sync")


def test_each_rank_holds_a_part_of_weights_and_moments(ranks: Any, tmp_path: Path) -> None:
    (held0, moments0, _), (held1, moments1, _) = ranks(_shards, str(tmp_path))
    total = sum(p.numel() for p in _tiny().TinyModel(WIDTHS).parameters())
    assert held0 + held1 == moments0 + moments1 == total
    assert 0 < held1 < total


def _resume(folder: str, state_dict_cfg: str, optim: dict[str, Any]) -> bool:
    with _tiny().tiny_builders():
        options = {"model_wrapper": BLOCKS, "state_dict_cfg": state_dict_cfg, "optim": optim}
        expected = _prepared("fsdp", folder, **options)
        _tiny().train(expected, range(6))
        first = _prepared("fsdp", folder, **options)
        _tiny().train(first, range(3))
        first.save_checkpoint(f"{folder}/iter_3.pth", extra_ckpt={"meta": {"iter": 3}})
        second = _prepared("fsdp", folder, **options)
        torch.rand(3)
        checkpoint = second.resume(f"{folder}/iter_3.pth")
        assert checkpoint["meta"]["iter"] == 3
        _tiny().train(second, range(3, 6))
        return _equal(_whole(second), _whole(expected))


@pytest.mark.parametrize("optim", [{}, {"several": [ADAMW, SGD]}], ids=["one", "several"])
@pytest.mark.parametrize("state_dict_cfg", ["full", "local", "sharded"])
def test_a_resumed_run_ends_with_the_same_bits(
    ranks: Any, tmp_path: Path, state_dict_cfg: str, optim: dict[str, Any]
) -> None:
    assert ranks(_resume, str(tmp_path), state_dict_cfg, optim) == [True, True]
    file = tmp_path / "iter_3.pth"
    assert file.is_dir() == (state_dict_cfg != "full")


def _go_on(kind: str, file: str, options: Any) -> dict[str, Tensor]:
    with _tiny().tiny_builders():
        strategy = _prepared(kind, os.path.dirname(file), **options)
        strategy.resume(file)
        _tiny().train(strategy, range(3, 5))
        return _whole(strategy)


def _save(kind: str, file: str, options: Any) -> None:
    with _tiny().tiny_builders():
        strategy = _prepared(kind, os.path.dirname(file), **options)
        _tiny().train(strategy, range(3))
        strategy.save_checkpoint(file)


def test_checkpoints_go_from_any_strategy_to_any(ranks: Any, tmp_path: Path) -> None:
    """The optimizer's state included: two more steps end at the same weights."""
    sharded = {"model_wrapper": BLOCKS}
    files = {kind: str(tmp_path / f"{kind}.pth") for kind in ("single", "ddp", "fsdp")}
    _save("single", files["single"], {})
    ranks(_save, "ddp", files["ddp"], {})
    ranks(_save, "fsdp", files["fsdp"], sharded)
    files["shards"] = str(tmp_path / "shards")
    ranks(_save, "fsdp", files["shards"], {**sharded, "state_dict_cfg": "sharded"})
    files["merged"] = str(tmp_path / "merged.pth")
    merge_shards(files["shards"], files["merged"])
    (expected, _) = _train("single", str(tmp_path), 5, {}, {})
    for file in files.values():
        ends = [
            _go_on("single", file, {}),
            ranks(_go_on, "ddp", file, {})[0],
            ranks(_go_on, "fsdp", file, sharded)[0],
        ]
        for end in ends:
            for name, weight in expected.items():
                torch.testing.assert_close(end[name], weight, rtol=0, atol=1e-6)


def _save_twice(file: str) -> None:
    with _tiny().tiny_builders():
        options = {"model_wrapper": BLOCKS, "state_dict_cfg": {"state_dict_type": "sharded"}}
        strategy = _prepared("fsdp", os.path.dirname(file), **options)
        for step in range(2):
            _tiny().train(strategy, range(step, step + 1))
            strategy.save_checkpoint(file, extra_ckpt={"meta": {"iter": step + 1}})


def test_a_folder_of_shards_is_replaced_whole_and_found_incomplete(
    ranks: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "last"
    ranks(_save_twice, str(folder))
    with _tiny().tiny_builders():
        strategy = _prepared("single", str(tmp_path / "runs"))
        assert strategy.resume(str(folder))["meta"]["iter"] == 2
        assert strategy.param_schedulers[0].steps == 2
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith("last")] == ["last"]
        folder.rename(tmp_path / "last.replaced")  # killed between the two renames of a save
        assert strategy.resume(str(folder))["meta"]["iter"] == 2
        (tmp_path / "last.replaced").rename(folder)
        (folder / "rest.pth").unlink()
        with pytest.raises(dist.StrategyError, match=r"not complete; rest\.pth is missing"):
            strategy.resume(str(folder))


def test_a_file_and_a_folder_of_shards_replace_one_another(ranks: Any, tmp_path: Path) -> None:
    name = str(tmp_path / "last")
    for _ in range(2):
        ranks(_save_twice, name)
        assert os.path.isdir(name)
        _save("single", name, {})
        assert os.path.isfile(name)
    ranks(_save_twice, name)
    with _tiny().tiny_builders():
        assert _prepared("single", str(tmp_path / "runs")).resume(name)["meta"]["iter"] == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("last.re")]


def _load_shards_of_three(file: str) -> str:
    with _tiny().tiny_builders():
        strategy = _prepared("fsdp", os.path.dirname(file), state_dict_cfg="local")
        strategy.save_checkpoint(file, extra_ckpt={"meta": {"world_size": 3}})
        try:
            strategy.resume(file)
        except dist.StrategyError as err:
            return str(err)
    return ""


def test_shards_of_another_number_of_ranks_are_refused(ranks: Any, tmp_path: Path) -> None:
    answers = ranks(_load_shards_of_three, str(tmp_path / "a"))
    assert all("shards of 3 ranks, this run has 2" in text for text in answers)


def _meta_init(folder: str) -> bool:
    MODELS.register_module(name="TinyForMeta", module=_tiny().TinyModel, force=True)
    try:
        states = []
        for meta_init in (False, True):
            strategy = _strategy("fsdp", folder, meta_init=meta_init, model_wrapper=BLOCKS)
            strategy.prepare({"type": "TinyForMeta", "widths": WIDTHS})
            states.append((_whole(strategy), torch.rand(2)))
    finally:
        MODELS.module_dict.pop("TinyForMeta", None)
    return _equal(states[0][0], states[1][0]) and torch.equal(states[0][1], states[1][1])


def test_a_model_built_without_memory_has_the_same_weights(ranks: Any, tmp_path: Path) -> None:
    assert ranks(_meta_init, str(tmp_path)) == [True, True]


class Sender(nn.Module):
    """Like a data preprocessor: has no tensors, and goes where the model is moved."""

    home: Any = None

    def _apply(self, fn: Any, recurse: bool = True) -> Sender:
        self.home = fn(torch.empty(1)).device
        return super()._apply(fn, recurse)


def _home_without_memory(folder: str) -> Any:
    @MODELS.register_module(name="SenderModel", force=True)
    class Model(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(2, 2), Sender())

    try:
        strategy: Any = _strategy("fsdp", folder, meta_init=True)
        strategy.prepare({"type": "SenderModel"})
    finally:
        MODELS.module_dict.pop("SenderModel", None)
    return strategy.model[1].home, strategy.model.sharded_copy()[1].home


def test_parts_of_a_model_built_without_memory_know_where_it_is(ranks: Any, tmp_path: Path) -> None:
    """Else a data preprocessor leaves batches where no model is."""
    cpu = torch.device("cpu")
    assert ranks(_home_without_memory, str(tmp_path)) == [(cpu, cpu)] * 2


def _bad(options: Any) -> str:
    try:
        FSDPStrategy(work_dir="/tmp", **options).wrap_model(_tiny().TinyModel())
    except dist.DistError as err:
        return str(err)
    return ""


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mesh": {"shard": 3}}, "shard=3 * tensor=1 is 3 ranks, but this run has 2"),
        ({"mesh": {"replicate": 4}}, "replicate=4 * shard=1 * tensor=1 is 4 ranks"),
        ({"mesh": {"tensr": 2}}, "Did you mean:  'tensor'"),
        ({"mesh": {"shard": 0}}, "shard is a number of ranks, got 0"),
        ({"mesh": {"tensor": 2}}, "tensor needs a plan"),
        ({"tensor_parallel": {"a": "colwise"}}, "does not say over how many ranks"),
        ({"model_wrapper": {"mesh": {}}, "mesh": {}}, "mesh stands in model_wrapper and beside it"),
        ({"model_wrapper": {"wrap": {"classes": ["Block"]}}}, "is of class 'Block'"),
        ({"model_wrapper": {"wrap": {"names": [r"blocks\.\d"]}}}, "has a name like"),
        ({"model_wrapper": {"mixed_precision": {"param_dtype": "half8"}}}, "'half8' is not a type"),
        ({"mixed_precision": {"param_typ": "bfloat16"}}, "Did you mean:  'param_dtype'"),
        ({"model_wrapper": {"mixd_precision": {}}}, "Did you mean:  'mixed_precision'"),
        ({"state_dict_cfg": "half"}, "one of full, local, sharded"),
    ],
)
def test_a_plan_that_cannot_be_is_named(ranks: Any, options: Any, text: str) -> None:
    assert all(text in answer for answer in ranks(_bad, options))


def test_rules_choose_inner_modules_before_outer_ones() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 2))
    by_class = ModuleRule(classes=["Sequential", nn.Linear]).select(model)
    assert [name for name, _ in by_class] == ["1", "0.0", "0"]
    by_name = ModuleRule(names=[r"0"]).select(model)
    assert [name for name, _ in by_name] == ["0"]
    by_size = ModuleRule(min_params=6).select(model)
    assert [name for name, _ in by_size] == ["1", "0.0"]


def test_it_is_found_by_name() -> None:
    assert STRATEGIES.get("FSDPStrategy") is FSDPStrategy
