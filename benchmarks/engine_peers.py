"""The figures of ``engine`` for other engines, in one process with ours and the loop by hand.

Each trains the same model on the same loader. "As it comes" is with the logging, timing and
progress that the engine offers without being asked for much: a line or a record every ten
iterations, no checkpoint within the measured time. What is not installed is left out.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, version

import torch
from benchmarks.engine import Tiny, by_engine, by_hand, difference_us, make_loader
from torch import nn
from torch.utils.data import DataLoader

ITERATIONS = 2_000
OFF = dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint"))


class _Clock:
    """CPU time between the first and the last iteration."""

    def __enter__(self) -> _Clock:
        self.started_s = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.spent_s = time.process_time() - self.started_s


def accelerate(loader: DataLoader) -> float:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = Tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model, optimizer, prepared = accelerator.prepare(model, optimizer, loader)
    model.train()
    with _Clock() as clock:
        for x, y in prepared:
            with accelerator.accumulate(model):
                loss = model(x, y, mode="loss")["loss"]
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
    return clock.spent_s


def ignite(loader: DataLoader, *, bare: bool = False) -> float:
    from ignite.engine import Engine, Events
    from ignite.metrics import RunningAverage

    model = Tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()

    def step(engine, batch):
        x, y = batch
        loss = model(x, y, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss if bare else loss.item()

    trainer = Engine(step)
    if not bare:
        RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
        out = io.StringIO()

        @trainer.on(Events.ITERATION_COMPLETED(every=10))
        def write(engine) -> None:
            out.write(f"{engine.state.iteration} {engine.state.metrics['loss']:.4f}\n")

    with _Clock() as clock:
        trainer.run(loader, max_epochs=1)
    return clock.spent_s


def lightning(loader: DataLoader, *, bare: bool = False) -> float:
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = Tiny()
            self.clock = _Clock()

        def on_train_epoch_start(self) -> None:
            self.clock.__enter__()

        def on_train_epoch_end(self) -> None:
            self.clock.__exit__()

        def training_step(self, batch, batch_idx):
            loss = self.model(*batch, mode="loss")["loss"]
            if not bare:
                self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    with tempfile.TemporaryDirectory() as folder:
        from lightning.pytorch.loggers import CSVLogger

        module = Module()
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False if bare else CSVLogger(folder),
            log_every_n_steps=10,
            enable_checkpointing=False,
            enable_progress_bar=not bare,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, loader)
    return module.clock.spent_s


def mmengine(loader: DataLoader, *, bare: bool = False) -> float:
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 2)

        def forward(self, x, y, mode="tensor"):
            return {"loss": nn.functional.mse_loss(self.layer(x), y)}

    with tempfile.TemporaryDirectory() as folder:
        hooks = {**OFF, "param_scheduler": None} if bare else {"checkpoint": None}
        runner = Runner(
            model=Model(),
            work_dir=folder,
            train_dataloader=loader,
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
            default_hooks=hooks,
            experiment_name=f"peer_{time.monotonic_ns()}",
        )
        run_epoch, clock = runner.train_loop.run_epoch, _Clock()

        def timed() -> None:
            with clock:
                run_epoch()

        runner.train_loop.run_epoch = timed
        runner.train()
        logging.shutdown()
    return clock.spent_s


PEERS = {
    "drivetrain": ("drivetrain-runner", by_engine),
    "drivetrain, optional hooks off": (
        "drivetrain-runner",
        lambda loader: by_engine(loader, default_hooks=OFF),
    ),
    "mmengine": ("mmengine", mmengine),
    "mmengine, hooks off": ("mmengine", lambda loader: mmengine(loader, bare=True)),
    "accelerate": ("accelerate", accelerate),
    "ignite": ("pytorch-ignite", ignite),
    "ignite, nothing attached": ("pytorch-ignite", lambda loader: ignite(loader, bare=True)),
    "lightning": ("lightning", lightning),
    "lightning, everything off": ("lightning", lambda loader: lightning(loader, bare=True)),
}


@contextlib.contextmanager
def _quiet():
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
    logging.disable(logging.NOTSET)


def _silenced(train):
    def run(loader: DataLoader) -> float:
        with _quiet() if "by_engine" not in train.__name__ else contextlib.nullcontext():
            return train(loader)

    return run


def run() -> list[dict]:
    """Rows for the table of all benchmarks."""
    torch.set_num_threads(1)
    loader = make_loader(ITERATIONS)
    rows = []
    for name, (distribution, train) in PEERS.items():
        try:
            installed = version(distribution)
        except PackageNotFoundError:
            print(f"{distribution} is not installed: left out", file=sys.stderr)
            continue
        measured = difference_us(_silenced(train), by_hand, loader)
        label = f"training iteration over a hand-written loop: {name} {installed}"
        rows.append(
            {"name": label, "measured": measured, "unit": "µs CPU", "limit": None, "ok": True}
        )
    return rows


if __name__ == "__main__":
    for line in run():
        print(f"{line['name']:<90} {line['measured']:>8.1f} {line['unit']}")
