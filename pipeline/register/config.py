"""Parameters of stage register."""

from pydantic import Field

from pipeline.register.gate import Criterion


class RegisterConfig(Criterion):
    """What is registered under which `name`, the SOD method inside (null: that of stage sism, or gc where that one
    reads maps made elsewhere), tags about licences, and the criterion of the gate."""

    name: str = Field("icnet", pattern=r"^[^/:]+$")
    sod: str | None = None
    licence: str = "MIT"
    data_licence: str = "see the dataset"
