"""Run folders written by hand, file by file, as `docs/run_folder.md` describes them: small, quick, without training."""

import json
import math
from pathlib import Path

import yaml

CLASSES = ("Sky", "Building", "Pole", "Road", "Sidewalk", "Tree", "Sign", "Fence", "Car", "Pedestrian", "Train")
NASTY_NAME = "<img src=x onerror=alert(1)> :red[hot] $x^2$ [link](javascript:alert(1))"


def write_run(
    root: Path,
    name: str,
    state: str = "finished",
    steps: int = 400,
    step: int | None = None,
    method: str = "scl",
    seed: int = 0,
    gain: float = 0.0,
    classes: tuple[str, ...] = CLASSES,
    list_hash: str = "0123456789ab",
    evaluate_every: int = 100,
    reason: str | None = None,
) -> Path:
    """A run that came as far as `step`, with evaluations of two networks; `gain` shifts every other class up."""
    step = steps if step is None else step
    run = root / name
    run.mkdir(parents=True)
    settings = {"seed": seed, "device": "cpu", "run_dir": str(run), "data": {"name": "scenes", "labeled": 12}}
    settings |= {
        "method": {"name": method, "structured_weight": 2.0 + gain},
        "train": {"steps": steps, "batch_labeled": 4},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    write_json(
        run / "environment.json", {"torch": "2.13.0", "world_size": 1, "argv": ["python", "-m", "scl_core.train"]}
    )
    (run / "resolved.txt").write_text("[labeled] 12\nscene 0\n")
    status = {"state": state, "step": step, "steps": steps} | ({"reason": reason} if reason else {})
    write_json(run / "status.json", status)
    (run / "log.txt").write_text("".join(f"{n}/{steps}  loss {1 / n:.4f}\n" for n in range(1, step + 1, 10)))
    write_lines(run / "metrics.jsonl", [metrics_row(n, steps) for n in range(1, step + 1)])
    networks = ("student",) if method == "supervised" else ("teacher", "student")
    rows = [
        evaluation_row(n, steps, network, gain, classes, list_hash)
        for n in range(evaluate_every, step + 1, evaluate_every)
        for network in networks
    ]
    write_lines(run / "evaluations.jsonl", rows)
    return run


def metrics_row(step: int, steps: int) -> dict:
    """Falling losses with a little wave on them; the unlabeled terms start at a fifth of the steps."""
    wave = 0.1 * math.sin(step * 1.7) + 0.05 * math.sin(step * 0.31)
    fall = math.exp(-3 * step / steps)
    late = step >= steps / 5
    return {
        "step": step,
        "loss": 0.3 + 2.2 * fall + wave,
        "supervised": 0.2 + 2.0 * fall + wave,
        "consistency": 0.05 + 0.1 * fall + 0.1 * wave**2 if late else None,
        "structured": 0.02 + 0.04 * fall + 0.1 * wave**2 if late else None,
        "learning_rate": 0.02 * (1 - (step - 1) / steps) ** 0.9,
        "seconds": 0.4 + 0.05 * wave,
        "data_seconds": 0.05,
    }


def evaluation_row(step: int, steps: int, network: str, gain: float, classes: tuple[str, ...], list_hash: str) -> dict:
    """IoU that rises with the steps; the last class is absent."""
    risen = 1 - math.exp(-3 * step / steps)
    scores: dict[str, float | None] = {}
    for index, name in enumerate(classes):
        base = 0.9 - 0.07 * index + (0.02 if network == "teacher" else 0.0) + gain * (1 if index % 2 else -0.4)
        scores[name] = round(risen * max(base, 0.03), 4)
    if len(classes) > 1:
        scores[classes[-1]] = None
    known = [score for score in scores.values() if score is not None]
    return {
        "step": step,
        "split": "val",
        "network": network,
        "mean_iou": sum(known) / len(known),
        "per_class_iou": scores,
        "protocol": "128 x 256, void counts as miss",
        "list_hash": list_hash,
        "pictures": 100,
    }


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
