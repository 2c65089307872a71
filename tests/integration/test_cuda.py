"""The engine on one CUDA device; the same programs on the CPU, as far as it can run them.

``[cuda]`` needs a device and is skipped without one; ``[cpu]`` keeps the programs right.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from drivetrain import dist
from drivetrain.checkpoint import AsyncCheckpointWriter, CheckpointFolder
from drivetrain.dist.strategy import FSDPStrategy, SingleDeviceStrategy
from drivetrain.model import BaseModel
from drivetrain.runner import Runner
from drivetrain.runner.hooks import Hook

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)
CPU = pytest.param(
    "cpu",
    marks=pytest.mark.skipif(
        torch.accelerator.is_available(), reason="the engine takes the accelerator that is here"
    ),
)
on_each_device = pytest.mark.parametrize("device", [CPU, CUDA])
on_cuda = pytest.mark.parametrize("device", [CUDA])
SYNCHRONIZING = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
WAITING_OPS = ("aten::item", "aten::_local_scalar_dense", "aten::is_nonzero")


class Net(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)  # made before the runner seeds
        self.first = nn.Linear(16, 32)
        self.second = nn.Linear(32, 1)

    def forward(self, x, y, mode="tensor"):
        out = self.second(torch.relu(self.first(x)))
        return {"loss": (out - y).square().mean()} if mode == "loss" else out


def data(samples: int = 64) -> TensorDataset:
    x = torch.randn(samples, 16, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x.sum(dim=1, keepdim=True).tanh())


def make_runner(folder: Path, optim_wrapper: dict[str, Any], **options: Any) -> Runner:
    return Runner(
        Net(),
        str(folder),
        train_dataloader=options.pop("loader", None) or DataLoader(data(), batch_size=16),
        train_cfg={"by_epoch": True, "max_epochs": options.pop("max_epochs", 3)},
        optim_wrapper=optim_wrapper,
        randomness={"seed": 1},
        **options,
    )


class Losses(Hook):
    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seen.append(outputs["loss"])


def losses(folder: Path, optim_wrapper: dict[str, Any], **options: Any) -> list[float]:
    hook = Losses()
    make_runner(folder, optim_wrapper, custom_hooks=[hook], **options).train()
    return torch.stack(hook.seen).tolist()


SGD = {"type": "SGD", "lr": 0.05}


@on_each_device
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_trains_like_full_precision(tmp_path: Path, device: str, dtype: str):
    """Within 2e-2: bfloat16 keeps 8 bits of a number, and twelve steps add up their roundings."""
    full = losses(tmp_path / "full", {"optimizer": SGD})
    amp = {"type": "AmpOptimWrapper", "dtype": dtype, "optimizer": SGD}
    mixed = losses(tmp_path / "mixed", amp)
    assert mixed == pytest.approx(full, abs=2e-2)
    assert mixed != full
    assert mixed[-1] < mixed[0]


@on_each_device
def test_a_step_that_overflows_is_skipped_and_counted(tmp_path: Path, device: str) -> None:
    amp = {
        "type": "AmpOptimWrapper",
        "dtype": "float16",
        "loss_scale": {"init_scale": 2.0**40},
        "optimizer": SGD,
    }
    runner = make_runner(tmp_path, amp, max_epochs=1)
    runner.train()
    assert runner.optim_wrapper.skipped_steps == 4
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0**36
    assert next(runner.model.parameters()).device.type == device


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of one, as torchrun with one process makes it."""
    store = torch_dist.FileStore(str(tmp_path / "store"), 1)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    torch_dist.init_process_group(backend, store=store, rank=0, world_size=1)
    yield
    torch_dist.destroy_process_group()


@on_each_device
def test_fully_sharded_on_one_device_equals_the_plain_model(
    tmp_path: Path, group: None, device: str
) -> None:
    ends = []
    kinds = {"plain": SingleDeviceStrategy, "sharded": FSDPStrategy}
    for name, kind in kinds.items():
        env = {"launcher": "none", "randomness": {"seed": 1}}
        strategy = kind(work_dir=str(tmp_path / name), env_kwargs=env)
        adamw = {"optimizer": {"type": "AdamW", "lr": 0.01}}
        model, wrapper = strategy.prepare(Net(), optim_wrapper=adamw)
        for batch in DataLoader(data(), batch_size=16):
            model.train_step(list(batch), wrapper)
        ends.append(strategy.model_state_dict())
    for name, weight in ends[0].items():
        torch.testing.assert_close(weight.cpu(), ends[1][name].cpu(), rtol=0, atol=1e-6)


@on_each_device
def test_a_compiled_step_trains_alike(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CUDA with graphs: the losses of earlier steps must outlive the later ones."""
    real: Any = torch.compile
    options = {"mode": "reduce-overhead"}
    if device == "cpu":  # without inductor, which takes half a minute
        monkeypatch.setattr(torch, "compile", lambda step, mode: real(step, backend="eager"))
    plain = losses(tmp_path / "plain", {"optimizer": SGD})
    compiled = losses(
        tmp_path / "compiled",
        {"optimizer": SGD},
        cfg={"compile": {"target": "forward", **options}},
    )
    assert compiled == pytest.approx(plain, rel=1e-4)


@on_cuda
def test_peak_memory_is_counted_and_can_be_started_afresh(device: str) -> None:
    dist.reset_peak_memory()
    block = torch.ones(64 * 2**20, dtype=torch.uint8, device=device)
    assert dist.get_max_memory() >= 64
    assert dist.get_max_cuda_memory() >= 64
    del block
    torch.cuda.empty_cache()
    dist.reset_peak_memory()
    assert dist.get_max_memory() < 64


@on_each_device
def test_a_save_in_the_background_keeps_the_state_of_its_moment(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivetrain.checkpoint._staging._LARGE_BYTES", 1000)
    strategy = SingleDeviceStrategy(
        work_dir=str(tmp_path), env_kwargs={"launcher": "none", "randomness": {"seed": 1}}
    )
    model, wrapper = strategy.prepare(Net(), optim_wrapper={"optimizer": SGD})
    before = {name: value.clone().cpu() for name, value in model.state_dict().items()}
    with AsyncCheckpointWriter(CheckpointFolder(tmp_path)) as writer:
        strategy.save_checkpoint(str(tmp_path / "iter_0.pth"), background=writer)
        for batch in DataLoader(data(), batch_size=16):
            model.train_step(list(batch), wrapper)
        buffers = writer._staging._buffers
        writer.wait()
    assert buffers[0].numel() == before["first.weight"].nbytes
    assert buffers[0].is_pinned() == (device == "cuda")
    saved = torch.load(tmp_path / "iter_0.pth", weights_only=True)["state_dict"]
    for name, value in before.items():
        assert torch.equal(saved[name], value)
        assert not torch.equal(model.state_dict()[name].cpu(), value)


@on_each_device
def test_no_step_waits_for_the_device(tmp_path: Path, device: str) -> None:
    """Shown by a trace of twenty steps with the default hooks, between two log lines."""
    waits: list[str] = []

    class Trace(Hook):
        def __init__(self) -> None:
            activities = [ProfilerActivity.CPU]
            if device == "cuda":
                activities.append(ProfilerActivity.CUDA)
            self.profiler = profile(activities=activities)

        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if runner.iter == 10:
                self.profiler.start()

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == 29:
                self.profiler.stop()
                for event in self.profiler.events():
                    if event.name in (*SYNCHRONIZING, *WAITING_OPS):
                        waits.append(event.name)
                waits.append("traced")

    samples = torch.utils.data.default_collate([*data(16)])
    batches = [[part.to(device) for part in samples]] * 40  # copies to the device are not the point
    make_runner(
        tmp_path,
        {"optimizer": SGD, "clip_grad": {"max_norm": 1.0}},
        loader=DataLoader(batches, batch_size=None),
        max_epochs=1,
        default_hooks={"logger": {"type": "LoggerHook", "interval": 100}},
        custom_hooks=[Trace()],
    ).train()
    # The profiler itself waits when it is stopped, a step that waits would do so twenty times.
    stops = waits.index("traced")
    waited = [name for name in waits[:stops] if name != "cudaDeviceSynchronize"]
    assert waited == []
    assert waits[:stops].count("cudaDeviceSynchronize") <= 2


@pytest.fixture
def gpu() -> dict[str, Any]:
    """The names of ``benchmarks/gpu.py``."""
    return runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"))


@pytest.mark.slow
@on_each_device
def test_the_benchmark_measures_both_loops_on_the_same_model(
    gpu: dict[str, Any], device: str
) -> None:
    """In small, where it refuses to be run in earnest."""
    rows = [row for case in gpu["cases"](tiny=True) for row in gpu["measure"](case, device, "H200")]
    names = [row["name"] for row in rows]
    assert "charlm, engine over hand-written" in names
    assert "ResNet-50, engine, of 989 TFLOP/s of H200" in names
    assert all(row["measured"] >= 0 for row in rows)


def test_resnet50_is_the_one_of_the_paper(gpu: dict[str, Any]) -> None:
    """25,557,032 parameters, and 4.09 billion multiply-adds for a picture of 224 x 224."""
    with torch.device("meta"):
        model = gpu["example"]("resnet50", "resnet50").ResNet50()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224))
    assert sum(param.numel() for param in model.parameters()) == 25_557_032
    assert counter.get_total_flops() / 2e9 == pytest.approx(4.09, abs=0.01)
