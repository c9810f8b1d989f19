"""Hypothesis profiles: quick and repeatable for every change, deep and random for `make test-deep`.

Each has a companion, named after what is expensive, for tests that cost much more than others:
`@settings.get_profile("two-inputs")` above `@given`.  A test that is marked `deep` runs in the deep profile alone.
"""

import os

import pytest
import torch
from hypothesis import settings

EXAMPLES = {
    "quick": {"any": 30, "one-input": 4, "two-inputs": 3},
    "deep": {"any": 500, "one-input": 500, "two-inputs": 100},
}
CHOSEN = os.environ.get("GPSYM_TEST_PROFILE", "quick")

for name, examples in EXAMPLES.items():
    settings.register_profile(name, max_examples=examples["any"], deadline=None, derandomize=name == "quick")
settings.load_profile(CHOSEN)
for cost in ("one-input", "two-inputs"):
    settings.register_profile(cost, settings.get_profile(CHOSEN), max_examples=EXAMPLES[CHOSEN][cost])


def pytest_collection_modifyitems(config, items):
    """Tests marked `deep` run in the deep profile alone."""
    if CHOSEN == "deep":
        return
    deep = [item for item in items if item.get_closest_marker("deep")]
    config.hook.pytest_deselected(items=deep)
    items[:] = [item for item in items if item not in deep]


# A script for another interpreter, one that has neural-tangents.
collect_ignore = ["bench/neural_tangents_peer.py"]


@pytest.fixture
def one_thread():
    """One thread of torch and fresh random numbers, for small tensors: threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
