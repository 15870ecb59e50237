"""`python -m so101_robot.mock` is `so101-mock`."""

from so101_robot.mock.serve.command import main

if __name__ == "__main__":
    main()
