"""`python -m so101_calibration` is `so101-calibrate`."""

import sys

from so101_calibration.cli import CALIBRATE

if __name__ == "__main__":
    sys.exit(CALIBRATE.main())
