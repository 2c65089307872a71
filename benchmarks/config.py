"""Speed of drivetrain-config against doing it by hand, and against its peers where installed."""

# Configs are written with dict(), and an access alone is what is measured.
# ruff: noqa: B018, C408
from __future__ import annotations

import copy
import gc
import importlib.metadata
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivetrain.config import Config

LEVELS = 4
ROUNDS = 15


def _optimizer(level: int) -> str:
    lines = [
        f"    param_{index}=dict(lr_mult={level + index}.5, decay=0.01)," for index in range(40)
    ]
    return "optimizer = dict(\n    type='SGD',\n    lr=0.02,\n" + "\n".join(lines) + "\n)\n"


def _model(level: int) -> str:
    stages = []
    for index in range(24):
        stages.append(
            f"    stage_{index}=dict(\n"
            f"        type='Stage{level}', depth={index}, width={64 * (level + 1)},\n"
            f"        norm=dict(type='BN', requires_grad=True, eps=1e-5),\n"
            f"        act=dict(type='ReLU', inplace=True)),"
        )
    return "model = dict(\n    type='ResNet',\n" + "\n".join(stages) + "\n)\n"


def _pipelines(level: int) -> str:
    steps = "\n".join(
        f"    dict(type='Step{index}', scale=({index}, {level}), keep_ratio=True, p=0.5),"
        for index in range(25)
    )
    names = ("train", "val", "test")
    return "".join(
        f"{name}_pipeline_{level} = [\n{steps}\n]\n" for name in names[: 3 if level < 2 else 1]
    )


def write_chain(folder: Path) -> Path:
    """Four text-style files, each on top of the one before; about 1,100 leaves in the end."""
    for level in range(LEVELS):
        head = f"_base_ = ['level_{level - 1}.py']\n" if level else ""
        body = head + _optimizer(level) + _model(level) + _pipelines(level)
        (folder / f"level_{level}.py").write_text(body, encoding="utf-8")
    return folder / f"level_{LEVELS - 1}.py"


def load_by_hand(path: Path) -> dict[str, Any]:
    """The least that the same result needs: exec, and merging plain dicts."""
    namespace: dict[str, Any] = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
    own = {key: value for key, value in namespace.items() if not key.startswith("__")}
    merged: dict[str, Any] = {}
    for base in own.pop("_base_", []):
        merged.update(load_by_hand(path.parent / base))
    return _merge(merged, own)


def _merge(base: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in child.items():
        old = result.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        result[key] = _merge(old, value) if both else value
    return result


def _seconds(work: Callable[[], Any], rounds: int = ROUNDS, number: int = 1) -> float:
    """Median processor time of one call: what else runs on the machine counts less that way."""
    work()
    times = []
    for _ in range(rounds):
        gc.collect()
        start = time.process_time()
        for _ in range(number):
            work()
        times.append((time.process_time() - start) / number)
    return statistics.median(times)


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_leaves, value))
    return 1


def _import_ms(module: str, rounds: int = 9) -> float:
    """Processor time that importing ``module`` takes in a fresh Python that has its bytecode."""
    code = f"import time; s = time.process_time(); import {module}; print(time.process_time() - s)"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, check=True, env=environment
            ).stdout
        )
        for _ in range(rounds + 1)
    ]
    return statistics.median(times[1:]) * 1e3  # the first may have compiled


def _row(name: str, measured: float, unit: str, limit: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "measured": round(measured, 3),
        "unit": unit,
        "limit": limit,
        "ok": limit is None or measured <= limit,
    }


def _attribute_ns(kind: Callable[[dict[str, Any]], Any] = Config) -> float:
    """One level of ``cfg.a.b.c.d.e``, the loop itself taken off."""
    cfg = kind(dict(a=dict(b=dict(c=dict(d=dict(e=1))))))
    number = 100_000 if kind is Config else 5_000

    def nested() -> None:
        for _ in range(number):
            cfg.a.b.c.d.e

    def empty() -> None:
        for _ in range(number):
            cfg

    return (_seconds(nested, 7) - _seconds(empty, 7)) / number / 5 * 1e9


def _item_ns() -> float:
    """One level of ``plain["a"]["b"]...`` of plain dicts."""
    plain = dict(a=dict(b=dict(c=dict(d=dict(e=1)))))
    number = 100_000

    def nested() -> None:
        for _ in range(number):
            plain["a"]["b"]["c"]["d"]["e"]

    def empty() -> None:
        for _ in range(number):
            plain

    return (_seconds(nested, 7) - _seconds(empty, 7)) / number / 5 * 1e9


def _reference_rows(path: Path, plain: dict[str, Any], by_hand_s: float) -> list[dict[str, Any]]:
    from mmengine.config import Config as Reference

    reference = Reference(plain)
    plain_copy_s = _seconds(lambda: copy.deepcopy(plain))
    load_s = _seconds(lambda: Reference.fromfile(str(path)), 5)
    copy_s = _seconds(lambda: copy.deepcopy(reference), 5)
    dump_s = _seconds(lambda: reference.dump(str(path.with_name("peer.py"))), 3)
    peer = _peer("mmengine")
    return [
        _row(f"import, {peer}", _import_ms("mmengine.config"), "ms", None),
        _row(f"load, {peer}", load_s / by_hand_s, "x by hand", None),
        _row(f"nested attribute access, {peer}", _attribute_ns(Reference), "ns", None),
        _row(f"deepcopy, {peer}", copy_s / plain_copy_s, "x plain dict", None),
        _row(f"dump as Python, {peer}", dump_s * 1e3, "ms", None),
    ]


def _write_yaml_levels(path: Path, folder: Path) -> list[Path]:
    """What each file of the chain says itself, as YAML: for peers that read no Python files."""
    from omegaconf import OmegaConf

    levels = [_own_content(path.with_name(f"level_{level}.py")) for level in range(LEVELS)]
    files = [folder / f"level_{level}.yaml" for level in range(LEVELS)]
    for file, level in zip(files, levels, strict=True):
        OmegaConf.save(OmegaConf.create(level), file)
    return files


def _omegaconf_rows(path: Path, by_hand_s: float) -> list[dict[str, Any]]:
    """OmegaConf knows no Python files and no ``_base_``: the same four levels as YAML, merged."""
    from omegaconf import OmegaConf

    files = _write_yaml_levels(path, path.parent)

    def load() -> Any:
        return OmegaConf.merge(*(OmegaConf.load(file) for file in files))

    node = load()
    plain = OmegaConf.to_container(node)
    load_s = _seconds(load, 3)
    copy_s = _seconds(lambda: copy.deepcopy(node), 5)
    plain_copy_s = _seconds(lambda: copy.deepcopy(plain))
    peer = _peer("omegaconf")
    return [
        _row(f"import, {peer}", _import_ms("omegaconf"), "ms", None),
        _row(f"load as YAML, {peer}", load_s / by_hand_s, "x by hand", None),
        _row(f"nested attribute access, {peer}", _attribute_ns(OmegaConf.create), "ns", None),
        _row(f"deepcopy, {peer}", copy_s / plain_copy_s, "x plain dict", None),
    ]


def _hydra_rows(path: Path, plain: dict[str, Any], by_hand_s: float) -> list[dict[str, Any]]:
    """Hydra: the same four levels as YAML, each with the one before in its ``defaults``."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    folder = path.with_name("hydra")
    folder.mkdir()
    for level, file in enumerate(_write_yaml_levels(path, folder)):
        head = f"defaults:\n- level_{level - 1}\n- _self_\n" if level else ""
        file.write_text(head + file.read_text(encoding="utf-8"), encoding="utf-8")

    def load() -> Any:
        with initialize_config_dir(str(folder), version_base=None):
            return compose(f"level_{LEVELS - 1}")

    if _leaves(OmegaConf.to_container(load())) != _leaves(plain):
        raise RuntimeError("Hydra composes another config: nothing to compare")
    peer = _peer("hydra-core")
    return [
        _row(f"import, {peer}", _import_ms("hydra"), "ms", None),
        _row(f"load as YAML, {peer}", _seconds(load, 3) / by_hand_s, "x by hand", None),
    ]


def _own_content(path: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(path.read_text(encoding="utf-8"), namespace)
    return {key: value for key, value in namespace.items() if not key.startswith("_")}


def _peer(name: str) -> str:
    return f"{name} {importlib.metadata.version(name)}"


def _peer_rows(path: Path, plain: dict[str, Any], by_hand_s: float) -> list[dict[str, Any]]:
    peers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "mmengine": lambda: _reference_rows(path, plain, by_hand_s),
        "omegaconf": lambda: _omegaconf_rows(path, by_hand_s),
        "hydra": lambda: _hydra_rows(path, plain, by_hand_s),
    }
    rows = []
    for name, measure in peers.items():
        if importlib.util.find_spec(name):
            rows += measure()
        else:
            print(f"{name} is not installed: not compared with", file=sys.stderr)
    return rows


def run() -> list[dict[str, Any]]:
    """Measure, and compare with the limits."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_chain(Path(folder))
        plain = load_by_hand(path)
        cfg = Config.fromfile(path)
        if cfg.to_dict() != plain:
            raise RuntimeError("the chain loads differently by hand: nothing to compare")
        by_hand_s = _seconds(lambda: load_by_hand(path))
        load_s = _seconds(lambda: Config.fromfile(path))
        plain_copy_s = _seconds(lambda: copy.deepcopy(plain))
        copy_s = _seconds(lambda: copy.deepcopy(cfg))
        dump_s = _seconds(lambda: cfg.dump(Path(folder, "dump.py")))
        rows = [
            _row("leaves of the config", _leaves(plain), "leaves", None),
            _row("import drivetrain.config", _import_ms("drivetrain.config"), "ms", 40),
            _row("load by hand", by_hand_s * 1e3, "ms", None),
            _row("load", load_s / by_hand_s, "x by hand", 2.5),
            _row("nested attribute access, per level", _attribute_ns(), "ns", 100),
            _row("the same of plain dicts, by item", _item_ns(), "ns", None),
            _row("deepcopy", copy_s / plain_copy_s, "x plain dict", 2),
            _row("dump as Python", dump_s * 1e3, "ms", 10),
        ]
        return rows + _peer_rows(path, plain, by_hand_s)


def main() -> None:
    """Print the table."""
    print(f"{'what':42} {'measured':>10} {'limit':>8}")
    for row in run():
        limit = "" if row["limit"] is None else row["limit"]
        verdict = "" if row["ok"] else "  MISSED"
        print(f"{row['name']:42} {row['measured']:>10} {limit:>8} {row['unit']}{verdict}")


if __name__ == "__main__":
    main()
