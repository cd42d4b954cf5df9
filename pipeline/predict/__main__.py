"""`python -m pipeline.predict`."""

from pipeline.runtime import entrypoint

if __name__ == "__main__":
    entrypoint.run_stage("predict")
