"""Property tests try the same examples each time, so that a verdict belongs to the code and not to the day.

`pytest tests --hypothesis-profile=random` tries others; what it finds becomes an example of its own.
"""

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile("same")
