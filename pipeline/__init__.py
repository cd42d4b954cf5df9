"""The machinery around `icnet`: one module per stage, in the order of the data. Stages meet on disk."""
