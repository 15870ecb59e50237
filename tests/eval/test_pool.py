"""Processes that do not hear Ctrl-C."""

import multiprocessing
import signal

from so101_eval.pool import deaf_to_ctrl_c


def test_a_process_that_is_begun_deaf_stays_so_and_its_parent_hears_again():
    with deaf_to_ctrl_c():
        pool = multiprocessing.get_context("spawn").Pool(1)
    with pool:
        blocked = pool.apply(signal.pthread_sigmask, (signal.SIG_BLOCK, ()))
    assert signal.SIGINT in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
