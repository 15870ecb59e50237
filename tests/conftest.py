"""For all rooms."""

import signal

from hypothesis import settings

# The first example of a compiled function compiles it, and a busy machine stands still now and then: hypothesis' limit
# of 0.2 s an example says nothing about our code. Each test as a whole has a limit (pyproject.toml).
settings.register_profile("so101", deadline=None)
settings.load_profile("so101")

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that: tests that press it, and
# the programs that they start, would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)
