"""`python -m so101_policy.train` is `so101-train`."""

import sys

from so101_policy.train.command import main

if __name__ == "__main__":
    sys.exit(main())
