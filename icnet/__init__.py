"""ICNet: Intra-saliency Correlation Network for Co-Saliency Detection (Jin et al., NeurIPS 2020), in pure PyTorch.

Shapes in this package: n images in a group, m SIVs, c channels, h x w cells, p = h * w, s the side of the input in px.
"""

from icnet.config import Config
from icnet.model import ICNet
from icnet.photographs import load

__all__ = ["Config", "ICNet", "load"]
