"""Figures of designs, of training runs and of diagnoses, as Matplotlib `Figure`s that no global state knows of.

Save one with `figure.savefig("name.svg")`.  Matplotlib is imported when a figure is asked for.
"""

from gpsym.plot.diagnosis import diagnosis_figure
from gpsym.plot.phase import phase_figure
from gpsym.plot.spread import spread_figure
from gpsym.plot.training import Run, read_run, training_figure
from gpsym.plot.variance import variance_map_figure

__all__ = [
    "Run",
    "diagnosis_figure",
    "phase_figure",
    "read_run",
    "spread_figure",
    "training_figure",
    "variance_map_figure",
]
