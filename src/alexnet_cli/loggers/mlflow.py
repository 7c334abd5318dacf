"""MLflow. MLFLOW_TRACKING_URI says where to; without it, into files below RUN/logs/mlflow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alexnet_cli.loggers.find import require_package
from alexnet_cli.loggers.protocol import Beginning, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ID = "run-id.txt"
_EXPERIMENT = "alexnet"


class MLflow:
    """Scalars as metrics, pictures and the recipe as artifacts, hyperparameters as parameters."""

    def __init__(self) -> None:
        require_package("mlflow")
        self._client: Any = None
        self._id = ""

    def begin(self, run: Beginning) -> None:
        """Begin a run, or resume the one whose ID the folder holds."""
        from mlflow import MlflowClient

        run.folder.mkdir(parents=True, exist_ok=True)
        store = f"sqlite:///{(run.folder / 'mlflow.db').resolve()}"
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(tracking_uri=given or store)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        place = None if given else (run.folder / "artifacts").resolve().as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment(name, artifact_location=place)
        file = run.folder / _ID
        if run.step and file.is_file():
            self._id = file.read_text(encoding="utf-8").strip()
            self._client.set_terminated(self._id, "RUNNING")
        else:
            self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
            file.write_text(f"{self._id}\n", encoding="utf-8")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """As metrics."""
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """As an artifact with the step in its name."""
        self._client.log_image(self._id, picture, artifact_file=f"{name}-{step:08d}.png")

    def text(self, name: str, text: str) -> None:
        """As an artifact."""
        self._client.log_text(self._id, text, f"{name}.json")

    def hparams(self, values: Mapping[str, Value]) -> None:
        """As parameters."""
        for name, value in values.items():
            self._client.log_param(self._id, name, value)

    def finish(self) -> None:
        """The run has ended."""
        self._client.set_terminated(self._id)
