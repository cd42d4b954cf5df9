"""ICNet on the Hugging Face Hub: `from_pretrained`, `save_pretrained` and `push_to_hub`.

Needs the package huggingface_hub: `pip install 'icnet[hub]'`. A repository holds `model.safetensors`, the checkpoint
that `icnet.checkpoint` saves, with `config.json` and a model card.
"""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet

MODEL_FILE = "model.safetensors"


class HubICNet(
    ICNet,
    PyTorchModelHubMixin,
    library_name="icnet",
    license="mit",
    pipeline_tag="image-segmentation",
    tags=["co-saliency"],
):
    """An `ICNet` with the methods of the Hub."""

    def __init__(self, config: Config = Config()) -> None:  # noqa: B008 (frozen)
        super().__init__(config)

    @classmethod
    def copy(cls, network: ICNet) -> "HubICNet":
        """A copy of a network, in evaluation mode: `HubICNet.copy(icnet.checkpoint.load()).push_to_hub(NAME)`."""
        model = cls(network.config)
        model.load_state_dict(network.state_dict())
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        checkpoint.save(self, save_directory / MODEL_FILE)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, map_location: torch.device | str = "cpu", strict: bool = True, **options: Any
    ) -> "HubICNet":
        """The network of a folder or a repository. The checkpoint holds its config, so `config.json` is not read.

        Raises CheckpointError where the checkpoint is damaged, and the Hub's own errors where there is none.
        """
        file = Path(model_id, MODEL_FILE)
        if not Path(model_id).is_dir():
            names = ("revision", "cache_dir", "force_download", "token", "local_files_only")
            given = {name: options[name] for name in names if name in options}
            file = Path(hf_hub_download(repo_id=model_id, filename=MODEL_FILE, **given))
        return cls.copy(checkpoint.load(file, map_location)).to(map_location)
