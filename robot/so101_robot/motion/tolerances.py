"""How near is near, for joints: one place for the tolerances of about five degrees, each with its reason.

Degrees, and percent where a gripper is compared too. Loads nothing large: the watchdog process uses them.
"""

HOLD_AT_GOAL_DEG = 5.0
"""A joint this close to its last command is held at that command and not where it hangs below it: its droop under load
is what makes the servo push, and taking the droop as the new goal would let it sink again. A P-only servo droops by 1
to 2 degrees."""

AT_HOME = 5.0
"""A joint this close to home is at home [deg, percent of the gripper]: more than the droop, and from there nothing
falls far."""

OUTSIDE_RANGE_DEG = 5.0
"""How far outside its calibrated range a joint may be at the start: backlash, a careless recording of the range, a bent
stop. Farther out the calibration is another arm's, and moving the goal into the range would be a leap."""

AT_FIRST_POSE = 5.0
"""A policy whose first pose is this close drives at once [deg, percent of the gripper]: the guard's step for one
tick."""
