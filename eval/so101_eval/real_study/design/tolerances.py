"""How exact a start has to be, and a placement."""

from dataclasses import dataclass

from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.tasks import POSITION_TOLERANCE_MM, YAW_TOLERANCE_DEG


@dataclass(frozen=True)
class Tolerances:
    """Raises `ConfigError` for what is not above zero."""

    reset_mm: float = 3.0
    reset_deg: float = 5.0
    still_s: float = 1.0
    """The picture has not changed for so long."""
    placed_mm: float = POSITION_TOLERANCE_MM
    placed_deg: float = YAW_TOLERANCE_DEG

    def __post_init__(self) -> None:
        for name in ("reset_mm", "reset_deg", "placed_mm", "placed_deg"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"tolerances.{name} is {getattr(self, name):g}, expected more than 0")
        if self.still_s < 0:
            raise ConfigError(f"tolerances.still_s is {self.still_s:g}, expected 0 or more")
