"""`python -m pipeline.demo`."""

from pipeline.runtime import entrypoint

if __name__ == "__main__":
    entrypoint.run_stage("demo")
