import math

import pytest

from gpsym import edge_of_chaos
from gpsym.bifurcation import barrier, flat_slope, fold
from gpsym.stability import basin, fixed_points

CLIPPED = ("clipped-relu", "clipped-soft-threshold")


@pytest.mark.parametrize(("name", "sparsity"), [("crelu", 0.6), ("crelu", 0.85), ("cst", 0.5), ("cst", 0.95)])
def test_the_fold_parts_designs_with_one_fixed_point_from_those_with_three(name, sparsity):
    found = fold(name, sparsity)
    assert found is not None
    for slope, count in ((found.slope - 1e-4, 1), (found.slope + 1e-4, 3)):
        points = fixed_points(edge_of_chaos(name, sparsity=sparsity, slope=slope, q_star=2.0))
        assert len(points) == count
    # The two that were just born lie on both sides of the double one.
    assert points[1].q < 2.0 * found.q < points[2].q


@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize("sparsity", [0.55, 0.7, 0.85, 0.9])
def test_the_curvature_vanishes_at_the_flat_slope_below_the_fold(name, sparsity):
    slope, found = flat_slope(name, sparsity), fold(name, sparsity)
    design = edge_of_chaos(name, sparsity=sparsity, slope=slope)
    assert abs(design.curvature) < 1e-12
    assert found is not None
    assert slope < found.slope


def test_both_curves_fall_and_are_those_of_tau():
    sparsities = (0.6, 0.7, 0.8, 0.9, 0.95)
    slopes = [[f(s) for s in sparsities] for f in (lambda s: flat_slope("crelu", s), lambda s: fold("crelu", s).slope)]
    for curve in slopes:
        assert curve == sorted(curve, reverse=True)
    # Both sides cut off twice as much as one: sparsity 2 s - 1 has the threshold of s.
    assert fold("cst", 0.7).slope == pytest.approx(fold("crelu", 0.85).slope, rel=1e-10)


def test_the_ends():
    assert fold("crelu", 0.5) is None
    assert flat_slope("crelu", 0.5) == 1
    beyond = 1 - math.erfc(math.sqrt(3 / 2)) / 2 + 1e-9
    assert flat_slope("crelu", beyond) == 0
    assert 0 < flat_slope("crelu", beyond - 1e-4) < 0.01


@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize("share", [1e-6, 0.3, 0.99])
def test_the_barrier_is_the_end_of_the_basin(name, share):
    """From next to the fold to the steepest slopes, at another scale."""
    born = fold(name, 0.9)
    assert born is not None
    design = edge_of_chaos(name, sparsity=0.9, slope=born.slope + share * (1 - born.slope), q_star=4.0)
    assert barrier(design, 0.9) == pytest.approx(basin(design)[1], rel=1e-9)
    below = edge_of_chaos(name, sparsity=0.9, slope=born.slope - 1e-6)
    assert barrier(below, 0.9) is None
    assert basin(below)[1] is None


def test_other_activations_have_no_diagram():
    with pytest.raises(ValueError, match="need clipped-relu or clipped-soft-threshold, got soft-threshold"):
        fold("soft-threshold", 0.5)
    with pytest.raises(ValueError, match=r"need sparsity in \[0.5, 1\)"):
        flat_slope("crelu", 0.4)
