"""``drivetrain registry``."""

from __future__ import annotations

import json

from drivetrain.registry import listing


def list_text(name: str | None, *, as_json: bool) -> str:
    """The components of a registry, or of all, as text or JSON."""
    rows = listing.list_components(name)
    return json.dumps(rows, indent=2) if as_json else listing.render_list(rows)


def component_text(name: str, *, as_json: bool) -> str:
    """What a component is, as text or JSON."""
    found = listing.describe_component(name)
    return json.dumps(found, indent=2) if as_json else listing.render_component(found)
