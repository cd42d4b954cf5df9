"""Main memory: reuse of freed blocks, and how much a prediction needs.

glibc returns large blocks to the system by default, and the next batch pays for new pages.
"""

import ctypes
import platform

from icnet.config import Config

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of glibc's `mallopt`."""
NEVER = -1


def keep_freed_blocks() -> bool:
    """Let this process keep freed memory, as MALLOC_MMAP_MAX_=0 and a large MALLOC_TRIM_THRESHOLD_ would.

    On a CPU this saves a third of the time; memory use stays at its peak. Call it where a process starts. Returns
    False, without effect, where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, NEVER))


PROCESS_BYTES = 800 << 20
"""A process that predicts, without images: Python, PyTorch, Ray, the network, and the shards that it holds."""
IMAGE_BYTES = {"vgg16": 85 << 20, "dinov2_vits14": 12 << 20}
"""An image of 224 px in a batch, by backbone, at width 1; measured on a CPU in float32."""


def estimate_memory(config: Config, batch_size: int) -> int:
    """Estimate the bytes of main memory of a process that predicts batches of so many images on a CPU."""
    image = IMAGE_BYTES.get(config.backbone, IMAGE_BYTES["vgg16"]) * (config.size / 224) ** 2 * config.width
    return PROCESS_BYTES + round(batch_size * image)
