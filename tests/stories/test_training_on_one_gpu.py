"""A training run on a machine with one GPU: data is prepared side by side, trainings take turns, the best is chosen."""

import json
from typing import Any

MERKLFILE = """
    import fcntl, time

    # What a training would meet if another had the GPU: a device that is busy.
    gpu = '''exec 9>> gpu; flock -n 9 || { echo "CUDA error: device busy" >&2; exit 1; }; echo "$EPOCHREALTIME + train" >> times'''

    def note(sign, what):
        with open("times", "a") as file:
            file.write(f"{time.time():.6f} {sign} {what}\\n")

    @task
    def prepared(path):
        note("+", "prepare")
        time.sleep(0.3)
        note("-", "prepare")
        return [int(line) for line in open(path)]

    @task(resources={"gpu": 1})
    def trained(data, rate, epochs=3):
        with open("gpu", "a") as device:
            fcntl.flock(device, fcntl.LOCK_EX | fcntl.LOCK_NB)
            note("+", "train")
            weights = 0.0
            for _ in range(epochs):
                time.sleep(0.05)
                weights += rate * (sum(map(sum, data)) - weights)
            note("-", "train")
        return [rate, weights]

    exported = bash_task(
        gpu + "; sleep 0.1; { echo exported; cat {file_arg('weights', '.json')}; } > {out_file_arg('model', '.onnx')}"
        '; echo "$EPOCHREALTIME - train" >> times',
        resources={"gpu": 1},
    )

    @task
    def best(*runs):
        return max(runs, key=lambda run: run[1])

    rates = [0.1, 0.2, 0.3]

    @target(default=True)
    def sweep():
        data = [prepared(path) for path in files("data/*.txt")]
        runs = [trained(data, rate) for rate in rates]
        for rate, run in zip(rates, runs):
            exported(run) > f"models/{rate}.onnx"
        best(*runs) > "best.json"
"""


def most_at_once(project: Any, what: str) -> int:
    """The largest number of tasks of one kind that ran at one time."""
    changes = sorted(line.split() for line in project.read("times").splitlines())
    running = most = 0
    for _, sign, kind in changes:
        if kind == what:
            running += 1 if sign == "+" else -1
            most = max(most, running)
    assert running == 0
    return most


def test_trainings_take_turns_on_the_only_gpu_and_everything_else_runs_beside_them(project: Any) -> None:
    project.merklfile(MERKLFILE)
    project.write("merkl.yaml", "resources:\n  gpu: 1\n")
    for n in range(3):
        project.write(f"data/{n}.txt", f"{n + 1}\n{n + 2}\n")

    first = project.build("-j4")
    assert sorted(first) == ["best", *["exported"] * 3, *["prepared"] * 3, *["trained"] * 3]
    assert most_at_once(project, "prepare") > 1
    assert most_at_once(project, "train") == 1
    assert json.loads(project.read("best.json"))[0] == 0.3
    assert project.read("models/0.1.onnx").startswith("exported\n")

    # One more rate is tried: only what is new runs, still one at a time.
    project.write(
        "Merklfile.py", project.read("Merklfile.py").replace("[0.1, 0.2, 0.3]", "[0.1, 0.2, 0.3, 0.4]")
    )
    assert sorted(project.build("-j4")) == ["best", "exported", "trained"]
    assert most_at_once(project, "train") == 1
    assert json.loads(project.read("best.json"))[0] == 0.4

    # On a machine with two, the same work is the same: what a task takes is not in its key.
    project.write("merkl.yaml", "resources:\n  gpu: 2\n")
    assert project.build("-j4") == []


def test_a_training_that_needs_more_gpus_than_there_are_is_refused_before_anything_runs(project: Any) -> None:
    project.merklfile(MERKLFILE.replace('@task(resources={"gpu": 1})', '@task(resources={"gpu": 2})'))
    project.write("merkl.yaml", "resources:\n  gpu: 1\n")
    project.write("data/0.txt", "1\n")

    said = project.merkl("build", "-j4", code=2).stderr

    assert "trained" in said and "gpu" in said and "merkl.yaml" in said
    assert not (project.path / "times").exists()
