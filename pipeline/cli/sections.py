"""The sections of params.yaml and the class that checks each."""

from pipeline.demo.config import DemoConfig
from pipeline.evaluate.config import EvaluateConfig
from pipeline.group.config import GroupConfig
from pipeline.index.config import IndexConfig
from pipeline.predict.config import PredictConfig
from pipeline.register.config import RegisterConfig
from pipeline.runtime.params import Section
from pipeline.sism.config import SismConfig
from pipeline.train.config import ModelConfig, TrainConfig

SECTIONS: dict[str, type[Section]] = {
    "demo": DemoConfig,
    "index": IndexConfig,
    "sism": SismConfig,
    "model": ModelConfig,
    "group": GroupConfig,
    "train": TrainConfig,
    "predict": PredictConfig,
    "evaluate": EvaluateConfig,
    "register": RegisterConfig,
}
