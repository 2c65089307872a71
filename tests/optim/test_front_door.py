from __future__ import annotations

import subprocess
import sys

import drivetrain.optim as front


def test_every_public_name_is_there_and_listed() -> None:
    assert all(hasattr(front, name) for name in front.__all__)
    exposed = {name for name, value in vars(front).items() if not name.startswith("_")}
    modules = {name for name in exposed if type(getattr(front, name)).__name__ == "module"}
    assert exposed - modules <= set(front.__all__)
    assert [name for name in modules if name != "torch_optimizers"] == []


def test_importing_the_package_imports_no_library_of_optimizers() -> None:
    code = (
        "import sys, drivetrain.optim; "
        "print([m for m in ('transformers', 'bitsandbytes', 'lion_pytorch', 'dadaptation',"
        " 'torch.distributed.fsdp') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
