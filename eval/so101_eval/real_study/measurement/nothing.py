"""A measurement that measures nothing, and says why."""

from so101_eval.palletizing.scene.draw import Reset
from so101_eval.real_study.measurement.protocol import Offset, Outline, Pictures, Placed, Placement
from so101_robot.preflight.findings import Finding, Level

NOT_BUILT = "this version does not measure with the camera"


class Nothing:
    """In place of a measurement."""

    available = False

    def __init__(self, why: str = NOT_BUILT) -> None:
        self.why = why

    def rig_check(self, pictures: Pictures) -> list[Finding]:
        """One warning."""
        return [
            Finding(
                Level.WARN, "measurement", "", f"{self.why}; starts and placements are the operator's word"
            )
        ]

    def outlines(self, reset: Reset) -> dict[int, Outline]:
        """None."""
        return {}

    def reset_offsets(self, pictures: Pictures, reset: Reset) -> list[Offset]:
        """Null for each box."""
        return [Offset(box, None, None, None, self.why) for box in range(len(reset.boxes))]

    def placement(self, before: Pictures, after: Pictures, reset: Reset) -> Placement:
        """Null for each box."""
        boxes = tuple(Placed(box, None, None, None, self.why) for box in range(len(reset.boxes)))
        return Placement(boxes, None, None)
