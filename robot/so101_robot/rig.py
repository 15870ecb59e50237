"""`python -m so101_robot.rig FILE` is `python -m so101_robot.guard.rig FILE`, as it was spelled in 0.1."""

import sys

from so101_robot.guard.rig import main

if __name__ == "__main__":
    sys.exit(main())
