"""What the figures without labels are worth: `python -m benchmarks.quality --output=DIR`.

Trains runs of very different quality, 12 on the embedded patterns and 12 on CIFAR-10, measures the
encoder of each with labels and without, and prints how the figures rank the runs beside how the
labels do. A run that is in DIR is not trained again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks import command

DATASETS = {"patterns": ("quickstart", 200), "cifar10": ("cifar10_cpu", 400)}  # recipe, steps
RUNS: dict[str, list[str]] = {
    "as the recipe": [],
    "half the steps": [],
    "a tenth of the steps": [],
    "rate / 1000": ["--learning_rate=0.004"],
    "rate x 100": ["--learning_rate=400"],
    "no colour distortion": ["--color_jitter_strength=0"],
    "crops only, whole images": ["--views=flip"],
    "colours only": ["--views=color(0.5)"],
    "no head": ["--proj_head_mode=none"],
    "temperature 0.01": ["--temperature=0.01"],
    "temperature 10": ["--temperature=10"],
    "weight decay 1": ["--weight_decay=1"],
}
SHORTER = {"half the steps": 2, "a tenth of the steps": 10}

ACCURACIES = {
    "kNN": "eval/knn_20_accuracy",
    "logistic regression": "eval/linear_probe_accuracy",
    "untrained kNN": "untrained/knn_20_accuracy",
    "untrained regression": "untrained/linear_probe_accuracy",
}


def _train(folder: str, words: list[str]) -> None:
    with open(f"{folder}.log", "w") as log:
        subprocess.run(
            [sys.executable, "run.py", "--mode=train_then_eval", *words, "--report=False",
             f"--model_dir={folder}"], stdout=log, stderr=log, check=True,
        )  # fmt: skip


def _measured(folder: str) -> dict[str, float]:
    """Accuracies and figures of a run, kept beside it."""
    path = f"{folder}.json"
    if os.path.exists(path):
        with open(path) as file:
            return json.load(file)
    import simclr_tf

    run = simclr_tf.open_run(folder)
    found = {name: run.result[key] for name, key in ACCURACIES.items()}
    quality = run.quality
    for kind in ("trained", "untrained", "projected"):
        of_kind = getattr(quality, kind)
        found |= {f"{kind} {k}": v for k, v in of_kind._asdict().items()} if of_kind else {}
    with open(path, "w") as file:
        json.dump(found, file, indent=1)
    return found


def _print(dataset: str, found: dict[str, dict[str, float]]) -> None:
    """A table of the runs, and how the figures rank them beside the mean of both accuracies."""
    from scipy import stats

    from simclr_tf.evaluation import verdict
    from simclr_tf.evaluation.quality import Quality
    from simclr_tf.units import format_percent as percent

    def quality(run: dict[str, float], kind: str) -> Quality | None:
        names = [f"{kind} {name}" for name in Quality._fields]
        return Quality(*(run[name] for name in names)) if names[0] in run else None

    print(f"| {dataset} | kNN | regression | h: views found | crops found | effective dimensions "
          "| verdict |\n|---|---|---|---|---|---|---|")  # fmt: skip
    ranked = sorted(found, key=lambda name: -accuracy(found[name]))
    for name in ranked:
        run = found[name]
        h, untrained = quality(run, "trained"), quality(run, "untrained")
        assert h is not None and untrained is not None
        judged = verdict.judge(h, untrained, quality(run, "projected"))
        print(f"| {name} | {percent(run['kNN'])} | {percent(run['logistic regression'])} "
              f"| {percent(h.retrieval)} | {percent(h.crop_retrieval)} | {h.effective_rank:.1f} "
              f"| {judged.kind} |")  # fmt: skip
    print("\n| rank correlation with accuracy | h | z |\n|---|---|---|")
    scores = [accuracy(run) for run in found.values()]
    for name in (one for one in Quality._fields if one != "num_images"):
        cells = []
        for kind in ("trained", "projected"):
            pairs = [(score, run[f"{kind} {name}"])
                     for score, run in zip(scores, found.values(), strict=True)
                     if f"{kind} {name}" in run]  # fmt: skip
            cells.append(f"{stats.spearmanr(*zip(*pairs, strict=True)).statistic:+.2f}")
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    print()


def accuracy(run: dict[str, float]) -> float:
    """The mean of kNN and logistic regression."""
    return (run["kNN"] + run["logistic regression"]) / 2


def main() -> int:
    """The command line."""
    parser = command.Parser(description=__doc__)
    parser.add_argument("--output", required=True, help="folder of the runs")
    parser.add_argument("--data_dir", help="TFDS folder that holds cifar10")
    given = parser.parse_args()
    os.makedirs(given.output, exist_ok=True)
    for dataset, (recipe, steps) in DATASETS.items():
        found = {}
        for name, flags in RUNS.items():
            folder = os.path.join(given.output, f"{dataset} {name}".replace("/", "by"))
            if not os.path.exists(os.path.join(folder, "result.json")):
                data = [f"--data_dir={given.data_dir}"] if dataset == "cifar10" else []
                words = [f"--recipe={recipe}", "--width_multiplier=0.125",
                         f"--train_steps={steps // SHORTER.get(name, 1)}"]  # fmt: skip
                _train(folder, [*words, *data, *flags])
            found[name] = _measured(folder)
        _print(dataset, found)
    return 0


if __name__ == "__main__":
    command.end(main)
