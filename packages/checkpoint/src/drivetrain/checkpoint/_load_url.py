"""Loading what lies at a URL, the way ``torch.hub`` does."""

from __future__ import annotations

from typing import Any

import torch


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
) -> Any:
    """Download a file once, and load it; only tensors and plain data are accepted.

    Args:
        url: Where it is.
        model_dir: Folder to keep it in; by default that of ``torch.hub``. A file that is there
            already is not downloaded again.
        map_location: As for ``torch.load``.
        progress: Show a bar on stderr.
        check_hash: The name ends in ``-<sha256>.<ending>``, the first eight or more digits; compare
            them.
        file_name: Name in the folder; by default that in the URL.

    Raises:
        RuntimeError: If the hash is another one.
    """
    return torch.hub.load_state_dict_from_url(
        url, model_dir, map_location, progress, check_hash, file_name, weights_only=True
    )
