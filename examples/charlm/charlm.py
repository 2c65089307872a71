"""What the character model adds to the engine: text, network, metric, and three small hooks."""

from __future__ import annotations

import functools
import math
import resource
import string
import sys
import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drivetrain.dist import all_reduce, get_max_memory, get_world_size
from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.registry import DATASETS, HOOKS, METRICS, MODELS
from drivetrain.runner.hooks import Hook

# B batch, T characters of a text, C channels, V characters of the alphabet

ALPHABET = string.printable[:95] + "\n"
UNKNOWN = ALPHABET.index("?")
PACKAGES = ("asyncio", "collections", "concurrent", "email", "http", "json", "logging", "xml", "")


@functools.cache
def stdlib_text(max_chars: int) -> Tensor:
    """``(max_chars,)`` uint8: the sources of Python's own library, as places in ``ALPHABET``."""
    folder = Path(sysconfig.get_path("stdlib"))
    codes = torch.full((256,), UNKNOWN, dtype=torch.uint8)
    for place, char in enumerate(ALPHABET):
        codes[ord(char)] = place
    parts: list[Tensor] = []
    missing = max_chars
    for package in PACKAGES:
        for file in sorted((folder / package).glob("*.py")):
            text = file.read_text(encoding="utf-8", errors="replace").expandtabs(4)
            raw = bytearray(text.encode("latin-1", errors="replace"))[:missing]
            if raw:
                parts.append(codes[torch.frombuffer(raw, dtype=torch.uint8).long()])
            missing -= len(raw)
            if missing == 0:
                return torch.cat(parts)
    raise ValueError(f"StdlibText: the library has {max_chars - missing} characters, not that many")


@DATASETS.register_module()
class StdlibText(torch.utils.data.Dataset):
    """Pieces of Python's standard library, each with the characters that come next.

    Args:
        split: ``"train"`` (the first nine tenths) or ``"val"``.
        length: Characters of a piece.
        max_chars: How much of the library is read.
    """

    def __init__(self, split: str, length: int, max_chars: int = 2_000_000) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"StdlibText: split is 'train' or 'val', got {split!r}")
        text = stdlib_text(max_chars)
        border = max_chars * 9 // 10
        self.text = text[:border] if split == "train" else text[border:]
        self.length = length

    def __len__(self) -> int:
        return (len(self.text) - 1) // self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        start = index * self.length
        piece = self.text[start : start + self.length + 1].long()
        return {"inputs": piece[:-1], "targets": piece[1:]}


class Block(nn.Module):
    """Attention to earlier characters, then a small network for each; both added to the input."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 4 * channels)
        self.down = nn.Linear(4 * channels, channels)

    def forward(self, x_BTC: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x_BTC)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTC = x_BTC + self.out(mixed.transpose(1, 2).flatten(2))
        return x_BTC + self.down(F.gelu(self.up(self.mlp_norm(x_BTC))))


@MODELS.register_module()
class CharLM(BaseModel):
    """A decoder-only transformer over characters.

    Args:
        channels: Width.
        layers: Number of blocks.
        heads: Attention heads of a block.
        length: Longest text.
    """

    def __init__(
        self, channels: int = 128, layers: int = 4, heads: int = 4, length: int = 128, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.length = length
        self.chars = nn.Embedding(len(ALPHABET), channels)
        self.places = nn.Embedding(length, channels)
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, len(ALPHABET), bias=False)

    def init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for block in self.blocks:  # so that the sum over layers starts as wide as one of them
            for last in (block.out, block.down):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * len(self.blocks)))

    def forward(self, inputs: Tensor, targets: Tensor | None = None, mode: str = "tensor"):
        places = torch.arange(inputs.shape[1], device=inputs.device)
        x_BTC = self.chars(inputs) + self.places(places)
        for block in self.blocks:
            x_BTC = block(x_BTC)
        logits_BTV = self.head(self.norm(x_BTC))
        if mode == "loss":
            return {"loss": F.cross_entropy(logits_BTV.flatten(0, 1), targets.flatten())}
        if mode == "predict":  # a loss for each text
            losses = F.cross_entropy(logits_BTV.transpose(1, 2), targets, reduction="none")
            return list(losses.mean(dim=1))
        return logits_BTV


@METRICS.register_module()
class BitsPerChar(BaseMetric):
    """How many bits the model needs, on average, to tell the next character."""

    def process(self, data_batch, data_samples) -> None:
        self.results += [float(loss) for loss in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"bits_per_char": math.fsum(results) / len(results) / math.log(2)}


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Log the loss over the batches of all ranks as ``global_loss``, every ``interval_iters``."""

    priority = "NORMAL"  # before the logger reads it

    def __init__(self, interval_iters: int) -> None:
        self.interval_iters = interval_iters

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.every_n_train_iters(runner, self.interval_iters):
            loss = outputs["loss"].detach().clone()
            all_reduce(loss, "mean")
            runner.message_hub.update_scalar("train/global_loss", loss)


@HOOKS.register_module()
class FootprintHook(Hook):
    """Log what training costs on each device: characters per second, and memory.

    ``state_mb`` is what a rank keeps of parameters, gradients and the optimizer's state; it is what
    the strategies differ in. ``peak_mb`` is the peak of the accelerator's memory, or of the whole
    process where there is none.

    Args:
        skip_iters: Iterations at the start that do not count.
    """

    def __init__(self, skip_iters: int = 5) -> None:
        self.skip_iters = skip_iters
        self._seconds = 0.0
        self._chars = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter >= self.skip_iters:
            self._seconds += float(runner.message_hub.get_scalar("train/time").current())
            self._chars += data_batch["inputs"].numel() * get_world_size()

    def after_train(self, runner) -> None:
        speed = self._chars / self._seconds if self._seconds else 0.0
        runner.logger.info(
            f"Footprint: {speed:.0f} chars/s, state_mb {state_mb(runner):.2f}, "
            f"peak_mb {peak_mb():.0f}"
        )


def state_mb(runner) -> float:
    """Megabytes of parameters, gradients and optimizer state on this rank."""
    held = []
    for param in runner.model.parameters():
        held += [param, param]  # its gradient is as large
        held += list(runner.optim_wrapper.optimizer.state[param].values())
    tensors = [getattr(t, "_local_tensor", t) for t in held if isinstance(t, Tensor)]
    return sum(tensor.nbytes for tensor in tensors) / 1e6


def peak_mb() -> float:
    """Peak memory of this rank, in megabytes."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return get_max_memory() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@HOOKS.register_module()
class SampleTextHook(Hook):
    """Write text that the model makes up, when training is over.

    Args:
        prompt: How the text begins.
        num_chars: How many characters to add.
        temperature: Below 1 the likely ones get likelier.
    """

    def __init__(
        self, prompt: str = "def ", num_chars: int = 200, temperature: float = 0.7
    ) -> None:
        self.prompt, self.num_chars, self.temperature = prompt, num_chars, temperature

    def after_train(self, runner) -> None:
        # On every rank, by one seed: a model in shards needs all of them for each character.
        generator = torch.Generator().manual_seed(0)
        text = [ALPHABET.index(char) for char in self.prompt]
        device = next(runner.model.parameters()).device
        runner.model.eval()
        for _ in range(self.num_chars):
            logits = next_char(runner.model, torch.tensor([text], device=device))
            chances = (logits.float().cpu() / self.temperature).softmax(dim=0)
            text.append(int(torch.multinomial(chances, 1, generator=generator)))
        runner.model.train()
        made = "".join(ALPHABET[place] for place in text)
        runner.logger.info(f"Sample:\n{made}")


@torch.no_grad()
def next_char(model: nn.Module, text_BT: Tensor) -> Tensor:
    """``(V,)`` logits of what comes after the first text of a batch."""
    length = getattr(model, "module", model).length
    return model(text_BT[:, -length:], mode="tensor")[0, -1]
