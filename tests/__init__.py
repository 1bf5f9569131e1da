"""The tests."""

import gc

# The imports of the tests, and of the programs in tests/support, make a million objects, hardly any of them
# garbage: with Python's usual thresholds the search for it takes a quarter of their time. Programs that weigh
# themselves call gc.collect(); the tests run with what is usual (tests/conftest.py).
USUAL_THRESHOLD = gc.get_threshold()
gc.set_threshold(100_000, 50, 100)
