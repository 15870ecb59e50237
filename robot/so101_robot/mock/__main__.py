"""`python -m so101_robot.mock` is `so101-mock`."""

from so101_robot.mock.serve import main

if __name__ == "__main__":
    main()
