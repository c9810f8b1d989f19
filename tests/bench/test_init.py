"""The bench of initializers finds weights that are planted wrong, and nothing where they are right."""

from dataclasses import replace

import pytest

from gpsym import edge_of_chaos
from gpsym.torch import init_
from tests.bench.init import Setting, activation_class, predicted, sample

DESIGN = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
SMALL = [Setting("MLP", 100, 30), Setting("CNN", 100, 10, is_flat=True), Setting("CNN", 100, 10)]


pytestmark = pytest.mark.usefixtures("one_thread")


def lines(setting, design):
    found = sample(setting, activation_class(DESIGN), lambda model, _: init_(model, design), 60)
    return list(predicted(setting.name, DESIGN, setting, found))


@pytest.mark.parametrize("setting", SMALL, ids=str)
def test_what_init_draws_is_what_is_predicted(setting):
    judged = [line for line in lines(setting, DESIGN) if line.met is not None]
    assert len(judged) == 5
    assert all(line.met for line in judged), [str(line) for line in judged]


@pytest.mark.parametrize(("setting", "factor"), list(zip(SMALL, (1.1, 0.9, 0.9), strict=True)), ids=str)
def test_weights_of_another_variance_are_found(setting, factor):
    missed = {line.what for line in lines(setting, replace(DESIGN, sigma_w2=factor * DESIGN.sigma_w2)) if not line.met}
    assert f"{setting.name} zeros, mean of layers" in missed
    assert setting == SMALL[2] or f"{setting.name} gradient, mean log" in missed  # the band of the last is wide


def test_networks_that_die_are_counted():
    """20 units, 2.7 of them in the linear range: most networks of 30 layers have a layer without one."""
    dead, *rest = lines(Setting("MLP", 20, 30), DESIGN)
    assert dead.met
    assert float(dead.note.split()[0]) > 0.5
    assert rest == []
