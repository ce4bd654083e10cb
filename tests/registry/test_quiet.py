"""MLflow is loaded in quiet surroundings, whoever loads it first."""

import os
import subprocess
import sys
from pathlib import Path

from pipelines._code import ROOT

QUIET = """
import os, sys
from pathlib import Path
from compass_ops.registry.artifacts import files_at
from compass_ops.registry.location import RegistryLocation
assert "mlflow" not in sys.modules
files_at(RegistryLocation("sqlite:///none.db", "compass", Path()), Path().resolve().as_uri())
from mlflow.telemetry.client import get_telemetry_client
print(get_telemetry_client(), os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"])
"""


def test_whatever_loads_mlflow_first_sends_nothing_and_opens_no_pickle(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", QUIET]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["None", "false"]
