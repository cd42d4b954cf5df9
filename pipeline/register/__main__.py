"""`python -m pipeline.register`."""

from pipeline.runtime import entrypoint

if __name__ == "__main__":
    entrypoint.run_stage("register")
