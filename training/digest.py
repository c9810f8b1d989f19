"""A fingerprint of a network's weights."""

from __future__ import annotations

import hashlib

from torch import nn

__all__ = ["digest"]


def digest(model: nn.Module) -> str:
    """SHA-256 of all parameters, in order, as float32 bytes."""
    sha = hashlib.sha256()
    for parameter in model.parameters():
        sha.update(parameter.detach().float().cpu().numpy().tobytes())
    return sha.hexdigest()
