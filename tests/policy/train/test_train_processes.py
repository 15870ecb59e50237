"""Two processes on one joint batch: the losses of one process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Train = Callable[..., Path]
Flags = Callable[..., list[str]]
Losses = Callable[[Path], list[float]]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_have_the_losses_of_one_with_the_joint_batch(
    tmp_path: Path, train: Train, flags: Flags, losses: Losses
):
    # Without the draws that each process makes for itself: dropout, and the latent's noise. Short last batches of an
    # epoch and padding at the end of episodes, which differs between the parts of a batch, are what is looked at.
    quiet = ("--policy.dropout=0", "--policy.use_vae=false", "--steps=12", "--eval_steps=4", "--save_freq=4")
    one = train(tmp_path / "one", *quiet)
    arguments = [f for f in flags(tmp_path / "two", *quiet) if not f.startswith("--batch_size")]
    # What `accelerate launch` runs for several GPUs; for processors it would start a single process.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, "-m", "so101_policy.train", *arguments, "--batch_size=2"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(one), rel=1e-5)
    assert (
        tmp_path / "two" / "checkpoints" / "last" / "training_state" / "rng_state_1.safetensors"
    ).is_file()
