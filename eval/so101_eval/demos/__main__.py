"""python -m so101_eval.demos"""

import sys

from so101_eval.cli import DEMOS

if __name__ == "__main__":
    sys.exit(DEMOS.main())
