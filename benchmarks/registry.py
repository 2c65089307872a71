"""What the registry costs: its import, a build, a nested build across scopes, a check.

Run ``python benchmarks/registry.py``. Peers on the same work, in the same run: a plain dict
look-up and call, and ``catalogue`` where it is installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any

from drivetrain.registry import Registry, check

CALLS = 20_000
REPEATS = 15
STARTS = 15


class Small:
    def __init__(self, depth: int, stages: int = 4) -> None:
        self.depth = depth
        self.stages = stages


class Shop:
    """A root registry with two projects below it; ``Outer`` of one holds ``Inner`` of the other."""

    def __init__(self) -> None:
        root: Registry[Any] = Registry("bench", scope="drivetrain")
        alpha: Registry[Any] = Registry("bench", parent=root, scope="alpha")
        beta: Registry[Any] = Registry("bench", parent=root, scope="beta")

        @alpha.register_module()
        class Outer:
            def __init__(self, inner: Any) -> None:
                self.inner = root.build(inner)

        @beta.register_module()
        class Inner:
            def __init__(self, depth: int) -> None:
                self.depth = depth

        root.register_module(module=Small)
        self.root = root


def seconds_per_call(work: Callable[[], object], calls: int = CALLS) -> float:
    work()
    # CPU time: what else runs on the machine does not count.
    times = timeit.repeat(work, timer=time.process_time, number=calls, repeat=REPEATS)
    return statistics.median(times) / calls


def import_cost_s(module: str) -> float:
    """CPU time of a new interpreter that imports ``module``, over one that does nothing."""
    _cpu_s(f"import {module}")
    bare = statistics.median(_cpu_s("pass") for _ in range(STARTS))
    return statistics.median(_cpu_s(f"import {module}") for _ in range(STARTS)) - bare


def _cpu_s(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # An installed package has its byte code beside it; so has this one, after the first start.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, "-c", statement], check=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def plain_build(names: dict[str, Callable[..., Any]], node: dict[str, Any]) -> Any:
    arguments = dict(node)
    return names[arguments.pop("type")](**arguments)


def row(name: str, measured: float, unit: str, limit: float | None) -> dict[str, Any]:
    ok = None if limit is None else measured <= limit
    return {"name": name, "measured": measured, "unit": unit, "limit": limit, "ok": ok}


def build_rows(shop: Shop) -> list[dict[str, Any]]:
    node = {"type": "Small", "depth": 3}
    prefixed = {"type": "alpha.Outer", "inner": {"type": "beta.Inner", "depth": 3}}
    scoped = {
        "type": "Outer",
        "_scope_": "alpha",
        "inner": {"type": "Inner", "_scope_": "beta", "depth": 3},
    }
    names = {"Small": Small}
    root = shop.root
    plain_s = seconds_per_call(lambda: plain_build(names, node))
    build_s = seconds_per_call(lambda: root.build(node))
    class_s = seconds_per_call(lambda: root.build({"type": Small, "depth": 3}))
    prefixed_s = seconds_per_call(lambda: root.build(prefixed))
    scoped_s = seconds_per_call(lambda: root.build(scoped))
    rows = [
        row("registry: plain look-up and call", plain_s * 1e6, "us", None),
        row("registry: build a small object", build_s * 1e6, "us", 1.5),
        row("registry: build, over plain look-up", build_s / plain_s, "x", None),
        row("registry: build a class given as type", class_s * 1e6, "us", None),
        row("registry: nested across scopes, by prefix", prefixed_s * 1e6, "us", 3.0),
        row("registry: nested across scopes, by _scope_", scoped_s * 1e6, "us", 3.0),
    ]
    if importlib.util.find_spec("catalogue") is not None:
        import catalogue

        peer = catalogue.create("drivetrain", "bench")
        peer.register("Small", func=Small)
        peer_s = seconds_per_call(lambda: peer.get("Small")(depth=3))
        rows += [
            row("registry: catalogue, get and call", peer_s * 1e6, "us", None),
            row("registry: build, over catalogue", build_s / peer_s, "x", None),
        ]
    return rows + reference_rows()


def reference_rows() -> list[dict[str, Any]]:
    """The same work by mmengine, where it can be imported: its registry asks for torch."""
    if importlib.util.find_spec("mmengine") is None:
        return []
    from mmengine.registry import Registry as Reference

    root = Reference("bench", scope="drivetrain")
    alpha = Reference("bench", parent=root, scope="alpha")
    beta = Reference("bench", parent=root, scope="beta")

    @alpha.register_module()
    class Outer:
        def __init__(self, inner: Any) -> None:
            self.inner = root.build(inner)

    @beta.register_module()
    class Inner:
        def __init__(self, depth: int) -> None:
            self.depth = depth

    root.register_module(module=Small)
    node = {"type": "Small", "depth": 3}
    prefixed = {"type": "alpha.Outer", "inner": {"type": "beta.Inner", "depth": 3}}
    build_s = seconds_per_call(lambda: root.build(node), calls=500)
    nested_s = seconds_per_call(lambda: root.build(prefixed), calls=200)
    peer = f"mmengine {importlib.metadata.version('mmengine')}"
    return [
        row(f"registry: build a small object, {peer}", build_s * 1e6, "us", None),
        row(f"registry: nested across scopes, {peer}", nested_s * 1e6, "us", None),
    ]


def check_row(shop: Shop) -> dict[str, Any]:
    cfg = {f"part{index}": {"type": "Small", "depth": index} for index in range(100)}
    roots = {"*": shop.root}
    check(cfg, roots)
    seconds = statistics.median(timeit.repeat(lambda: check(cfg, roots), number=1, repeat=9))
    return row("registry: check a config of 100 nodes", seconds * 1e3, "ms", 50.0)


def run() -> list[dict[str, Any]]:
    """Measure everything; rows of name, measured, unit, limit (or None) and ok (or None)."""
    shop = Shop()
    return [
        row(
            "registry: import, over bare Python",
            1e3 * import_cost_s("drivetrain.registry"),
            "ms",
            20,
        ),
        row(
            "registry: import typing + contextlib",
            1e3 * import_cost_s("typing, contextlib"),
            "ms",
            None,
        ),
        *build_rows(shop),
        check_row(shop),
    ]


def main() -> int:
    start = time.perf_counter()
    rows = run()
    width = max(len(r["name"]) for r in rows)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs; medians")
    for r in rows:
        limit = "" if r["limit"] is None else f"limit {r['limit']:g}"
        verdict = {None: "", True: "ok", False: "TOO MUCH"}[r["ok"]]
        print(f"{r['name']:{width}}  {r['measured']:8.2f} {r['unit']:2}  {limit:9}  {verdict}")
    print(f"measured in {time.perf_counter() - start:.0f} s")
    return 0 if all(r["ok"] is not False for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
