from __future__ import annotations

import drivetrain.model as front


def test_every_public_name_is_there_and_listed() -> None:
    assert all(hasattr(front, name) for name in front.__all__)
    exposed = {
        name
        for name, value in vars(front).items()
        if not name.startswith("_") and type(value).__name__ != "module"
    }
    assert exposed <= set(front.__all__)
