"""Lens and place of cameras: boards, views, intrinsics, poses."""
