"""An HTTP endpoint: `serve run pipeline.serve:app` (docs/serving.md)."""

from pipeline.serve.application import app, build

__all__ = ["app", "build"]
