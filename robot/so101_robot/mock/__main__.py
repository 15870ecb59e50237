"""`python -m so101_robot.mock` is `so101-mock`."""

import sys

from so101_robot.cli import MOCK

if __name__ == "__main__":
    sys.exit(MOCK.main())
