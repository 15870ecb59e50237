"""The virtual SO-101: a mock at the wire, backed by physics. Asked for by name (`port=mock`); nothing falls back to it."""

from so101_robot.mock.backend import let_mujoco_import

let_mujoco_import()
