"""What all figures share: an empty one, and colours that are told apart with every common kind of colour blindness."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "ORANGE", "RED", "SKY", "figure_of"]

# Okabe and Ito's palette.
BLACK, ORANGE, SKY, GREEN, BLUE, RED, GREY = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#767676",
)  # fmt: skip


def figure_of(width: float, height: float) -> Figure:
    """An empty figure, in inches; its axes and legends make room for each other."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib; pip install gpsym[plot]") from None
    return Figure(figsize=(width, height), layout="constrained")
