"""Hypothesis profiles: quick and repeatable for every change, deep and random for `make test-deep`."""

import os

from hypothesis import settings

settings.register_profile("quick", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("deep", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("GPSYM_TEST_PROFILE", "quick"))
