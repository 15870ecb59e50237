"""python -m so101_eval.demos"""

import sys

from so101_eval.demos.command import main

if __name__ == "__main__":
    sys.exit(main())
