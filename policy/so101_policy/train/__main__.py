"""`python -m so101_policy.train` is `so101-train`."""

import sys

from so101_policy.cli import TRAIN

if __name__ == "__main__":
    sys.exit(TRAIN.main())
