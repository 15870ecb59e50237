"""Workers that do not hear Ctrl-C and say when one of them is killed; commands that can be interrupted."""

import multiprocessing
import signal
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import pool_tasks as tasks
from so101_eval.pool import as_they_end, deaf_to_ctrl_c, start_command, stop_commands, workers


def test_a_process_that_is_begun_deaf_stays_so_and_its_parent_hears_again():
    with deaf_to_ctrl_c():
        pool = multiprocessing.get_context("spawn").Pool(1)
    with pool:
        blocked = pool.apply(signal.pthread_sigmask, (signal.SIG_BLOCK, ()))
    assert signal.SIGINT in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_worker_begins_once_uses_one_thread_and_is_deaf_to_ctrl_c():
    with workers(1, tasks.begin, "begun") as submit:
        found = list(as_they_end([1, 2, 3], lambda number: submit(tasks.look, number), 2))
    assert sorted(found) == [(number, ["begun"], 1, True) for number in (1, 2, 3)]
    assert tasks.begun == []


def test_a_worker_that_is_killed_is_an_error():
    with pytest.raises(BrokenProcessPool), workers(1, tasks.begin, "begun") as submit:
        submit(tasks.die, 1).result()


def test_an_interrupted_command_may_save_what_it_has(tmp_path: Path):
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit('saved'))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    log = tmp_path / "log"
    process = start_command([sys.executable, "-c", program], log, {"OMP_NUM_THREADS": "1"})
    while "ready" not in log.read_text():
        assert process.poll() is None
    stop_commands([process])
    assert process.returncode == 1
    assert log.read_text() == "ready\nsaved\n"
