"""`python -m pipeline.sism`."""

from pipeline.runtime import entrypoint

if __name__ == "__main__":
    entrypoint.run_stage("sism")
