"""LeRobot's versions: which ones this project works with (`version`), and the names that moved between them (`moved`).

Everything else that is imported from LeRobot is where it was in all of these versions. Names that moved are imported
from `moved` and from nowhere else, so a new version of LeRobot is met in one place.
"""
