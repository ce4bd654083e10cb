"""The benchmarks' pipelines are ones that DVC takes: each stage's parameters are there."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PIPELINES = sorted(path.relative_to(ROOT) for path in ROOT.glob("benchmarks/*/dvc.yaml"))


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_every_parameter_of_a_stage_stands_in_its_params_file(pipeline: Path) -> None:
    """``dvc repro`` would refuse the stage otherwise, after the stages before it."""
    for stage in yaml.safe_load((ROOT / pipeline).read_text("utf-8"))["stages"].values():
        for item in stage["foreach"]:
            folder = (ROOT / pipeline).parent / stage["do"]["wdir"].replace("${item}", item)
            for param in stage["do"]["params"]:
                [(name, keys)] = param.items() if isinstance(param, dict) else [("params.yaml", [param])]
                value = yaml.safe_load((folder / name).read_text("utf-8"))
                for key in keys or ():
                    place = value
                    for part in key.split("."):
                        assert part in place, f"{pipeline}: {item} has no {key} in {name}"
                        place = place[part]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_dvc_reads_the_pipeline(pipeline: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", str(pipeline)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "@" in done.stdout
