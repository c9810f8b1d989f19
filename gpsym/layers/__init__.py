"""Layers beyond h = W phi(h') + b, and what becomes of the theory there.

residual     sqrt(1 - alpha^2) h + alpha (W phi(h) + b): its maps, and how to choose alpha for a depth
fluctuation  the spread of variance and gradient of such layers at finite width, to leading order
padding      convolutions near the border: the variance at each position
gated        u phi(v): its maps and its edge of chaos
normalised   RMSNorm or LayerNorm before the activation: what is left
"""

from gpsym.layers import fluctuation, gated, normalised, padding, residual

__all__ = ["fluctuation", "gated", "normalised", "padding", "residual"]
