"""`python -m so101_eval` is `so101-eval`."""

import sys

from so101_eval.cli import EVAL

if __name__ == "__main__":
    sys.exit(EVAL.main())
