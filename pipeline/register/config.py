"""Parameters of stage register."""

from pydantic import Field

from pipeline.register.gate import Criterion


class RegisterConfig(Criterion):
    """The registered model, and the test that decides whether a version becomes champion."""

    name: str = Field("icnet", pattern=r"^[^/:]+$", description="name of the registered model")
    sod: str | None = Field(
        None,
        description="SOD method inside the registered model, for photographs without SISMs. null: the method of stage"
        " sism, or `gc` if that one reads maps from a folder",
    )
    licence: str = Field("MIT", description="tag of a version: licence of the code and the weights")
    data_licence: str = Field("see the dataset", description="tag of a version: licence of the training data")
