"""How many threads inference may use: one core is the loop's."""

import cv2
import torch

from so101_policy.machine import cores


def leave_a_core() -> None:
    """One core is the loop's: torch computes on the others, OpenCV in the thread that calls it. Threads that wait for
    each other on busy cores cost far more than they bring."""
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores() - 1)))
    cv2.setNumThreads(1)
