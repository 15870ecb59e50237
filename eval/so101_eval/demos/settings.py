"""What is asked for: the settings that make a dataset what it is."""

from dataclasses import dataclass

from so101_eval.episode.episode import FPS
from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.draw import DEMO_SEEDS, check_seed
from so101_eval.palletizing.scene.scenarios import NOMINAL, load_scenario
from so101_eval.palletizing.scene.tasks import load_task

LEAST_PIXELS, MOST_PIXELS = 16, 4096


@dataclass(frozen=True)
class Settings:
    """What makes a dataset what it is. Jobs do not."""

    task: str
    episodes: int
    scenario: str = NOMINAL
    level: int = 0
    seed: int = 0
    """Counted from the first demonstration seed."""
    width: int = 96
    height: int = 96
    fps: int = int(FPS)
    recovery: float = 0.0
    """Share of the episodes that start off the nominal path and are pushed off it."""
    moved: float = 0.0
    """Share of the episodes in which a box or the pallet is moved while the hand comes near."""
    teleop: bool = False
    """As a person would do it."""
    keep_failures: bool = False
    shadows: bool = False

    def check(self) -> None:
        """Raises `ConfigError` for what cannot be."""
        load_task(self.task)
        load_scenario(self.scenario).knobs(self.level)
        if self.fps < 1 or FPS % self.fps:
            possible = [n for n in range(1, int(FPS) + 1) if FPS % n == 0]
            raise ConfigError(
                f"--fps {self.fps}: the expert works at {FPS:.0f} ticks per second, of which every one, every second "
                f"... can be recorded; possible are {', '.join(map(str, possible))}"
            )
        for name in ("width", "height"):
            pixels = getattr(self, name)
            if pixels % 2 or not LEAST_PIXELS <= pixels <= MOST_PIXELS:
                raise ConfigError(
                    f"--{name} {pixels}: video needs an even number of pixels, {LEAST_PIXELS} to {MOST_PIXELS}"
                )
        for name in ("recovery", "moved"):
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"--{name} {share}: possible is a share of the episodes, 0 to 1")
        if self.episodes < 1:
            raise ConfigError(f"--episodes {self.episodes}: expected 1 or more")
        if self.seed < 0 or self.seed + self.episodes > len(DEMO_SEEDS):
            raise ConfigError(
                f"--seed {self.seed}: with {self.episodes} episodes possible are 0 to {len(DEMO_SEEDS) - self.episodes}"
            )

    @property
    def first_seed(self) -> int:
        """The first demonstration seed that is played."""
        return check_seed(DEMO_SEEDS.start + self.seed, "demo")
