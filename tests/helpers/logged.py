"""What an MLflow run has logged."""

from mlflow.tracking import MlflowClient


def curve(client: MlflowClient, run_id: str, key: str) -> dict[int, float]:
    """A metric's values by step; a step that was logged twice is an error."""
    points = [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)]
    assert len({step for step, _ in points}) == len(points)
    return dict(sorted(points))
