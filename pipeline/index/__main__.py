"""`python -m pipeline.index`."""

from pipeline.runtime import entrypoint

if __name__ == "__main__":
    entrypoint.run_stage("index")
