"""`python -m pipeline.group`."""

from pipeline.runtime import entrypoint

if __name__ == "__main__":
    entrypoint.run_stage("group")
