"""`python -m pipeline.train`."""

from pipeline.runtime import entrypoint

if __name__ == "__main__":
    entrypoint.run_stage("train")
