"""Run a stage of the study of levers, or go on with it: python -m experiments.levers.run screening --folder DIR

Every piece (a dataset, a training, a run of episodes) is made by the command that everybody uses, in a process of its
own, and kept; what is there already is not made again, so the same line after Ctrl-C, a power cut or kill -9 goes on.
Run it from a worktree of one commit: `so101-eval` refuses to mix episodes of different code.

The table at the end has only cells that are whole: all scenes, all training seeds.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.levers import levers
from experiments.levers.levers import LEVERS, STOCK, Lever
from so101_eval.evaluation.records import read_episodes
from so101_eval.evaluation.run_folder import EPISODES
from so101_eval.statistics.resampling import cluster_bootstrap
from so101_policy.files.whole_files import write_text

NOMINAL = "nominal"
SECONDS = {"demonstrations": 700.0, "training": 600.0, "episode": 0.6}
"""Of one core, for the hours that are told beforehand: 300 demonstrations, 9000 steps, one episode (docs/speed.md)."""


class Stage:
    """One stage in one folder.

    Args:
        name: of `levers.STAGES`.
        only: names of levers; `stock` is always among them.
        jobs: trainings at a time, and processes of an evaluation.
        task: one of the stage's.
    """

    def __init__(
        self, name: str, folder: Path, only: Sequence[str], jobs: int, task: str = levers.TASK
    ) -> None:
        self.name, self.jobs, self.task = name, jobs, task
        self.folder = folder.resolve() if task == levers.TASK else folder.resolve() / task
        self.levers = {key: lever for key, lever in LEVERS.items() if key == STOCK or key in (only or LEVERS)}
        self.scenes, self.seeds, _, apart, self.corrected = levers.STAGES[name]
        self.cells = (NOMINAL, *levers.SHIFTS, *apart)

    def run(self) -> None:
        """All of it."""
        print(self.forecast(), flush=True)
        for data in dict.fromkeys(self._trained(key).data for key in self.levers):
            self._demonstrate(data)
        wanted = [(key, seed) for seed in self.seeds for key in self.levers if not self.levers[key].of]
        wanted += [(lever.of, seed) for seed in self.seeds for lever in self.levers.values() if lever.of]
        self._train([run for run in dict.fromkeys(wanted) if not self.checkpoint(*run).exists()])
        for key in self.levers:
            self._play(key)
            print(self.table(), flush=True)

    def forecast(self) -> str:
        """How many core-hours what is not there yet will take."""
        sets = {self._trained(key).data for key in self.levers}
        made = sum((self.data(data) / "meta" / "info.json").exists() for data in sets)
        runs = {(lever.of or key, seed) for key, lever in self.levers.items() for seed in self.seeds}
        steps = sum(LEVERS[key].steps for key, seed in runs if not self.checkpoint(key, seed).exists())
        episodes = sum(len(self._played(key)) for key in self.levers) * len(self.seeds) * len(self.scenes)
        hours = {
            "demonstrations": (len(sets) - made) * SECONDS["demonstrations"],
            "training": steps / levers.STEPS * SECONDS["training"],
            "episodes": (episodes - sum(1 for _ in self._records())) * SECONDS["episode"],
        }
        told = ", ".join(f"{stage} {seconds / 3600:.1f}" for stage, seconds in hours.items())
        return f"{self.name}, {self.task}: core-hours left: {told}; {self.jobs} at a time"

    def table(self) -> str:
        """Markdown: successes by cell, the mean over the shifts, and the differences to stock."""
        apart = self.cells[1 + len(levers.SHIFTS) :]
        means = [f"mean of the {len(levers.SHIFTS)} shifts", "against stock", "nominal against stock"]
        means += ["mean of the unseen", "against stock"] if apart else []
        lines = [f"| lever | {' | '.join((*self.cells, *means))} |"]
        lines += ["|---|" + "---:|" * (len(self.cells) + len(means))]
        found = {key: self._successes(key) for key in self.levers}
        stock_CSN = found[STOCK]
        for key, cell_CSN in found.items():
            if cell_CSN is None:
                continue
            figures = [f"{int(cell_SN.sum())}/{cell_SN.size}" for cell_SN in cell_CSN]
            nominal, shifts, unseen = np.split(np.arange(len(self.cells)), [1, 1 + len(levers.SHIFTS)])
            figures += [f"{100 * cell_CSN[shifts].mean():.0f}", self._gap(cell_CSN, stock_CSN, shifts)]
            figures += [self._gap(cell_CSN, stock_CSN, nominal)]
            if apart:
                figures += [f"{100 * cell_CSN[unseen].mean():.0f}", self._gap(cell_CSN, stock_CSN, unseen)]
            lines.append(f"| **{key}**: {self.levers[key].says} | {' | '.join(figures)} |")
        text = "\n".join(lines) + "\n"
        write_text(self.folder / f"{self.name}.md", text)
        return text

    def _gap(
        self,
        cell_CSN: NDArray[np.float64],
        stock_CSN: NDArray[np.float64] | None,
        cells: NDArray[np.intp],
    ) -> str:
        """Points over stock, in the mean over those cells, with the interval over training seeds and scenes."""
        if stock_CSN is None or np.array_equal(stock_CSN, cell_CSN) or len(self.seeds) < 2:
            return ""
        gap = cluster_bootstrap(cell_CSN[cells].mean(axis=0), stock_CSN[cells].mean(axis=0))
        return f"{100 * gap.difference:+.0f} [{100 * gap.interval.low:+.0f}, {100 * gap.interval.high:+.0f}]"

    def _successes(self, key: str) -> NDArray[np.float64] | None:
        """(cells, seeds, scenes) of 0 and 1; None where anything is missing.

        A cell that a corrected lever does not play is that of the same policies without the correction.
        """
        played = self._played(key)
        won = self._won(key)
        if len(played) < len(self.cells):
            won |= {
                cell: hit for cell, hit in self._won(self.levers[key].of).items() if cell[0] not in played
            }
        try:
            return np.array([[[won[c, s, n] for n in self.scenes] for s in self.seeds] for c in self.cells])
        except KeyError:
            return None

    def _won(self, key: str) -> dict[tuple[str, int, int], float]:
        """(scenario, training seed, scene) -> 0 or 1, as far as it was played."""
        if not (file := self._evaluation(key) / EPISODES).exists():
            return {}
        return {
            (r.scenario, int(r.policy.partition(":")[2]), r.seed): float(bool(r.success))
            for r in read_episodes(file)
        }

    def _played(self, key: str) -> tuple[str, ...]:
        """The cells that this lever plays itself."""
        return self.corrected if self.corrected and self.levers[key].correct else self.cells

    def _records(self) -> Iterator[str]:
        for key in self.levers:
            if (file := self._evaluation(key) / EPISODES).exists():
                yield from file.read_text().splitlines()

    def _demonstrate(self, data: str) -> None:
        if (self.data(data) / "meta" / "info.json").exists():
            return
        flags = levers.demonstration_flags(data, self.data(data), self.task)
        flags += [f"--num_workers={self.jobs}"]
        _command("so101-demos", flags)

    def _train(self, wanted: list[tuple[str, int]]) -> None:
        """`self.jobs` at a time, one core each."""
        running: list[subprocess.Popen[bytes]] = []
        try:
            while wanted or running:
                while wanted and len(running) < self.jobs:
                    running.append(self._start_training(*wanted.pop(0)))
                time.sleep(1)
                for process in [process for process in running if process.poll() is not None]:
                    running.remove(process)
                    if process.returncode:
                        raise SystemExit(f"a training failed; its log is in {self.folder / 'training'}")
        finally:
            for process in running:
                process.terminate()
                process.wait()

    def _start_training(self, key: str, seed: int) -> subprocess.Popen[bytes]:
        lever, out = LEVERS[key], self.folder / "training" / f"{key}-s{seed}"
        out.parent.mkdir(parents=True, exist_ok=True)
        if (last := out / "checkpoints" / "last" / "pretrained_model" / "train_config.json").exists():
            flags = [f"--config_path={last}", "--resume=true"]
        else:
            shutil.rmtree(out, ignore_errors=True)
            flags = levers.training_flags(lever, seed, self.data(lever.data), out)
        print(f"training {out.name}", flush=True)
        with out.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(
                [_program("so101-train"), *flags], stdout=log, stderr=log, env=_one_thread()
            )

    def _play(self, key: str) -> None:
        lever, policies = self.levers[key], []
        for seed in self.seeds:
            policies.append(f"{key}:{seed}={self._as_played(key, lever, seed)}")
        flags = [
            "--policies",
            *policies,
            f"--task={self.task}",
            f"--scenarios={','.join(self._played(key))}",
            f"--level={levers.LEVEL}",
        ]
        flags += [
            f"--episodes={len(self.scenes)}",
            f"--first_seed={self.scenes.start}",
            f"--num_workers={self.jobs}",
        ]
        flags += [
            f"--output_dir={self._evaluation(key)}",
            *(["--camera_correction=auto"] if lever.correct else []),
        ]
        _command("so101-eval", ["run", *flags])

    def _as_played(self, key: str, lever: Lever, seed: int) -> Path:
        """The checkpoint, or a copy of it that is played in another way."""
        trained = self.checkpoint(lever.of or key, seed)
        if not lever.play:
            return trained
        copy = self.folder / "played" / f"{key}-s{seed}"
        if not copy.exists():
            shutil.copytree(trained, making := copy.with_name(f".{copy.name}.making"), dirs_exist_ok=True)
            config = json.loads((making / "config.json").read_text())
            (making / "config.json").write_text(json.dumps(config | dict(lever.play), indent=2))
            making.rename(copy)
        return copy

    def _trained(self, key: str) -> Lever:
        return LEVERS[self.levers[key].of or key]

    def data(self, data: str) -> Path:
        """The folder of those demonstrations."""
        return self.folder / "demonstrations" / data

    def _evaluation(self, key: str) -> Path:
        return self.folder / "evaluation" / self.name / key

    def checkpoint(self, key: str, seed: int) -> Path:
        """Of the last step; before that there is none."""
        return (
            self.folder
            / "training"
            / f"{key}-s{seed}"
            / "checkpoints"
            / f"{LEVERS[key].steps:06d}"
            / "pretrained_model"
        )


def _command(name: str, flags: Sequence[str]) -> None:
    print(f"$ {name} {' '.join(flags)}", flush=True)
    subprocess.run([_program(name), *flags], check=True)


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=list(levers.STAGES))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument(
        "--only", nargs="*", default=[], choices=sorted(LEVERS), help="these and stock (default: all)"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="of what is there, and nothing else")
    options = parser.parse_args()
    stages = [
        Stage(options.stage, options.folder, options.only, options.jobs, task)
        for task in levers.STAGES[options.stage].tasks
    ]
    if not options.table:
        print(*(stage.forecast() for stage in stages), sep="\n", flush=True)
    for stage in stages:
        if options.table:
            print(stage.forecast(), stage.table(), sep="\n")
        else:
            stage.run()


if __name__ == "__main__":
    main()
