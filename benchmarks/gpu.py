"""How fast the engine trains on a GPU: over a hand-written loop, and of what the device can do.

The character model and ResNet-50 of ``examples/``, in bfloat16, on batches that are on the device
already: loading is measured elsewhere. Both loops are run in turn, on the same model. Refuses with
one line where there is no CUDA device.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from drivetrain.dist import get_device, get_max_memory, reset_peak_memory
from drivetrain.runner import Runner

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ROUNDS = 5
# Multiply-adds of dense bfloat16 matrices that makers state, as 10^12 operations a second.
PEAKS = {
    "A10": 125, "A100": 312, "A30": 165, "A40": 150, "B200": 2250, "H100 PCIe": 756, "H100": 989,
    "H200": 989, "L4": 121, "L40": 181, "L40S": 362, "RTX 4090": 165, "RTX 3090": 71, "MI250X": 383,
    "MI300X": 1307,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model with batches to train it on.

    Attributes:
        name: What the table calls it.
        build: Makes the model.
        batch: Makes one batch of ``size`` samples.
        size: Samples of a batch.
        iterations: Steps of one round.
    """

    name: str
    build: Callable[[], nn.Module]
    batch: Callable[[int], dict[str, torch.Tensor]]
    size: int
    iterations: int


def example(folder: str, name: str) -> Any:
    """The module of an example; once, for it registers its parts."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def cases(*, tiny: bool = False) -> list[Case]:
    """The two examples, in sizes for a large device, or in such that any device can do quickly."""
    charlm, resnet50 = example("charlm", "charlm"), example("resnet50", "resnet50")
    length = 16 if tiny else 1024
    lm = {"channels": 16, "layers": 1, "heads": 2} if tiny else {"channels": 1024, "layers": 12}
    heads = {} if tiny else {"heads": 16}
    side = 32 if tiny else 224

    def texts(size: int) -> dict[str, torch.Tensor]:
        codes = torch.randint(len(charlm.ALPHABET), (size, length + 1))
        return {"inputs": codes[:, :-1].contiguous(), "targets": codes[:, 1:].contiguous()}

    def images(size: int) -> dict[str, torch.Tensor]:
        return {"inputs": torch.randn(size, 3, side, side), "label": torch.randint(1000, (size,))}

    steps = 1 if tiny else 50
    return [
        Case(
            "charlm",
            lambda: charlm.CharLM(**lm, **heads, length=length),
            texts,
            2 if tiny else 16,
            steps,
        ),
        Case("ResNet-50", resnet50.ResNet50, images, 2 if tiny else 256, steps),
    ]


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def by_hand(case: Case, model: nn.Module, batches: list[Any], device: str) -> float:
    """Seconds of one round of the loop that one would write."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    model.train()
    synchronize(device)
    started_s = time.perf_counter()
    for batch in batches:
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(**batch, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    synchronize(device)
    return time.perf_counter() - started_s


def by_engine(case: Case, model: nn.Module, batches: list[Any], device: str) -> float:
    """Seconds of one round of the engine with its default hooks, but for checkpoints."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        runner = Runner(
            model,
            folder,
            train_dataloader=DataLoader(batches, batch_size=None),
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={
                "type": "AmpOptimWrapper",
                "dtype": "bfloat16",
                "optimizer": {"type": "SGD", "lr": 1e-3, "momentum": 0.9},
            },
            default_hooks={"checkpoint": None},
            env_cfg={"cudnn_benchmark": True},
            randomness={"seed": 0},
        )
        loop = runner.train_loop
        spent = {}
        run_epoch = loop.run_epoch

        def timed() -> None:
            synchronize(device)
            started_s = time.perf_counter()
            run_epoch()
            synchronize(device)
            spent["s"] = time.perf_counter() - started_s

        loop.run_epoch = timed
        runner.train()
    return spent["s"]


def operations(model: nn.Module, batch: dict[str, torch.Tensor]) -> int:
    """Floating-point operations of one step, counted as it runs."""
    with FlopCounterMode(display=False) as counter:
        model(**batch, mode="loss")["loss"].backward()
    model.zero_grad()
    return counter.get_total_flops()


def peak_tflops(name: str) -> int | None:
    """What the maker states of the device, if it is one that we know."""
    fits = [known for known in PEAKS if known in name]
    return PEAKS[max(fits, key=len)] if fits else None


def row(name: str, measured: float, unit: str, limit: float | None = None) -> dict[str, Any]:
    ok = limit is None or measured >= limit
    return {"name": name, "measured": measured, "unit": unit, "limit": limit, "ok": ok}


def measure(case: Case, device: str, device_name: str) -> list[dict[str, Any]]:
    """Rows of one model."""
    torch.manual_seed(0)
    model = case.build().to(device)
    batch = {name: value.to(device) for name, value in case.batch(case.size).items()}
    batches = [batch] * case.iterations
    flops = operations(model, batch)
    by_hand(case, model, batches[:5], device)  # until algorithms are chosen and memory is there
    by_engine(case, model, batches[:5], device)
    reset_peak_memory()
    hand, engine = [], []
    for _ in range(ROUNDS):
        hand.append(by_hand(case, model, batches, device))
        engine.append(by_engine(case, model, batches, device))
    samples = case.size * case.iterations
    ours_s, theirs_s = statistics.median(engine), statistics.median(hand)
    rows = [
        row(f"{case.name}, hand-written", samples / theirs_s, "samples/s"),
        row(f"{case.name}, engine", samples / ours_s, "samples/s"),
        row(f"{case.name}, engine over hand-written", theirs_s / ours_s, "x", 0.98),
        row(f"{case.name}, peak of memory", get_max_memory(), "MB"),
    ]
    done_tflops = flops * case.iterations / ours_s / 1e12
    peak = peak_tflops(device_name)
    if peak is None:
        return [*rows, row(f"{case.name}, engine", done_tflops, "TFLOP/s")]
    share = 100 * done_tflops / peak
    return [*rows, row(f"{case.name}, engine, of {peak} TFLOP/s of {device_name}", share, "%")]


def run() -> list[dict[str, Any]]:
    """Rows for the table of all benchmarks; none without a CUDA device."""
    if get_device() != "cuda":
        print("gpu: no CUDA device here, nothing is measured", file=sys.stderr)
        return []
    torch.backends.cudnn.benchmark = True
    name = torch.cuda.get_device_name()
    return [line for case in cases() for line in measure(case, "cuda", name)]


if __name__ == "__main__":
    for line in run():
        limit = "" if line["limit"] is None else f"limit {line['limit']}"
        print(f"{line['name']:<60} {line['measured']:>10.4g} {line['unit']:<10} {limit}")
