"""For all rooms."""

import signal

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that: tests that press it, and
# the programs that they start, would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)
