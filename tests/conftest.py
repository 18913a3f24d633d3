"""Tests try the same numbers each time, in any order, so that a verdict belongs to the code and not to the day.

`pytest tests --hypothesis-profile=random` tries other examples; what it finds becomes an example of its own.
"""

import pytest
import torch
from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def seed():
    """Torch's own numbers start anew in each test: which tests ran before on this processor changes nothing."""
    torch.manual_seed(0)
