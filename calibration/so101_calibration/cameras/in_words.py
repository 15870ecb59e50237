"""Lenses and poses of cameras in words."""

from rich.table import Table

from so101_calibration.cameras.intrinsics import PARAMETERS, Intrinsics
from so101_calibration.cameras.poses import Placed


def lens_table(found: Intrinsics) -> Table:
    """Every parameter of a lens with its standard deviation."""
    across, down = found.field_deg
    table = Table(
        title=f"field of view {across:.1f} x {down:.1f} deg, {found.rms_px:.3f} px rms", title_justify="left"
    )
    for heading in ("", "value", "standard deviation"):
        table.add_column(heading, justify="right")
    for name, sd in zip(PARAMETERS, found.sd, strict=True):
        digits = 2 if name[0] in "fc" else 5
        table.add_row(name, f"{getattr(found, name):.{digits}f}", f"{sd:.{digits}f}")
    return table


def pose_line(name: str, frame: str, placed: Placed) -> str:
    """Where something is in a frame, with standard deviations."""
    x, y, z = (placed.X[:3, 3] * 1000).tolist()
    sd_mm, sd_deg = placed.sd_mm.tolist(), placed.sd_deg.tolist()
    return (
        f"{name} in the {frame} frame: x {x:.1f} ± {sd_mm[0]:.1f}, y {y:.1f} ± {sd_mm[1]:.1f}, z {z:.1f} ± "
        f"{sd_mm[2]:.1f} mm; turned ± {max(sd_deg):.2f} deg; {placed.rms:.2f} px residual (rms) in "
        f"{placed.views} {'view' if placed.views == 1 else 'views'} (± is one standard deviation)"
    )
