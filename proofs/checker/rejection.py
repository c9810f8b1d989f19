"""Why a certificate is not accepted."""

from __future__ import annotations

__all__ = ["Rejected"]


class Rejected(ValueError):
    """A certificate does not prove what it claims; the message says where, and what failed."""
