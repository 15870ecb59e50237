"""Colours of the dashboard, in a terminal and in its exported picture."""

from rich.terminal_theme import TerminalTheme

ACCENT, QUIET, GOOD, WARN, BAD = "cyan", "grey50", "green", "yellow", "bold red"
SHARE_STYLES = {"latent": "grey62", "state": "yellow3", "environment": "orange3"}
CAMERA_STYLES = ("deep_sky_blue1", "medium_spring_green", "orchid1", "light_slate_blue")

THEME = TerminalTheme(
    (16, 20, 26),
    (208, 214, 222),
    [
        (40, 44, 52),
        (224, 108, 117),
        (130, 200, 130),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 192, 212),
        (208, 214, 222),
    ],
    [
        (92, 99, 112),
        (240, 120, 128),
        (152, 220, 152),
        (240, 208, 140),
        (120, 190, 250),
        (210, 140, 235),
        (110, 210, 228),
        (255, 255, 255),
    ],
)
"""Colours of the exported picture: calm on a dark ground."""
