"""Options of stage train: sections `train` and `model` of params.yaml."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from icnet.config import BackboneName
from pipeline.runtime import params

Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class TrainConfig(params.Section):
    """How the model is trained. The defaults are the paper's (section 4.1)."""

    renamed: ClassVar[dict[str, str]] = {
        "colour": "color_jitter",
        "disturb": "sism_noise",
        "optimiser": "optimizer",
        "rate": "lr",
        "backbone_rate": "backbone_lr",
        "clip": "grad_clip_norm",
        "accumulate": "grad_accum_steps",
        "ema": "ema_decay",
        "best": "best_metric",
        "workers": "num_workers",
        "gpus": "use_gpu",
        "loaders": "prefetch_threads",
        "retries": "max_failures",
    }

    dataset: str | list[str] = Field(
        "", description="name in `datasets` to train on, or a list of names; groups of equal names stay apart"
    )
    seed: int = Field(0, ge=0, description="seed of the first weights, the split, the order and the augmentation")
    validation: Share | list[str] = Field(
        0.15, description="share of the groups held out for validation, or a list of their names"
    )
    batch_size: int = Field(10, ge=2, description="images in a batch, all of one group")
    min_batch_size: int | None = Field(
        None,
        ge=2,
        description="`sampling: groups`: smallest batch; sizes vary up to `batch_size`. null: every batch has"
        " `batch_size` images",
    )
    sampling: Literal["images", "groups"] = Field(
        "images",
        description="`images`: every image once an epoch; `groups`: each batch draws a group, large groups more often,"
        " in proportion to the square root of their size",
    )
    epochs: Count = Field(60, description="passes over the training images")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    crop: Share = Field(0.0, description="largest share of a side that a random crop removes")
    color_jitter: Share = Field(0.0, description="largest change of brightness, contrast and saturation, as a share")
    sism_noise: Share = Field(
        0.0, description="share of the SISMs that lose a rectangle, are faded, or also show another image's objects"
    )
    zooms: int = Field(
        0,
        ge=0,
        le=8,
        description="fixed crops around the object of each image; each time, one of them or the whole image is seen",
    )
    pasted_groups: Share = Field(
        0.0, description="share of the batches whose objects are pasted on images of other groups, which keep their own"
    )
    distractors: Share = Field(
        0.0, description="share of the other images that get an object of another group, which is not in the mask"
    )
    unpasted_epochs: int = Field(
        0, ge=0, description="the last epochs, in which no objects are pasted: `pasted_groups` and `distractors` are 0"
    )
    siv_masks: Share = Field(0.0, description="share of the batches whose SIVs are pooled from the masks")
    siv_looks: Share = Field(
        0.0,
        description="share of the batches whose SIVs are pooled from the maps of an earlier look, not from the SISMs",
    )

    loss: Literal["iou", "combined", "structure"] = Field(
        "iou",
        description="equation 3; `combined`: cross-entropy with the IoU losses of foreground and background;"
        " `structure`: the same, with more weight near edges",
    )
    optimizer: Literal["adam", "adamw"] = Field("adam", description="Adam (coupled weight decay) or AdamW")
    lr: Rate = Field(1e-5, description="learning rate")
    backbone_lr: Rate | None = Field(
        None, description="learning rate of the pretrained backbone; null: `lr`. Its new sixth stage always uses `lr`"
    )
    freeze: list[str] = Field(
        [],
        description="parts that are not trained and whose batch norms do not change: `backbone`, `compress` ..., or"
        " stages of VGG-16, `conv1` to `conv5`",
    )
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    decay_all: bool = Field(
        True,
        description="weight decay on every parameter, as in the authors' program; false: not on biases, batch norms and"
        " alpha",
    )
    schedule: Literal["constant", "cosine", "one_cycle"] = Field("constant", description="shape of the learning rate")
    warmup: Share = Field(
        0.0, description="share of the steps in which the learning rate rises (with `one_cycle`, 0 means 0.3)"
    )
    grad_clip_norm: Rate | None = Field(None, description="largest norm of the gradient; null: no limit")
    grad_accum_steps: Count = Field(1, description="batches per step and worker")
    joint_batches: bool = Field(
        False,
        description="the batches of a step go through the network together, each still as a group of its own: faster"
        " where batches are small, and batch norms see all their images",
    )
    ema_decay: Share | None = Field(
        None, description="decay of averaged weights, which are then validated and kept; null: no averaging"
    )
    batch_norm: Literal["per_rank", "sync"] = Field(
        "per_rank", description="`sync`: batch statistics over all workers (GPUs only)"
    )
    best_metric: Literal["max_f", "s", "mae", "loss"] = Field(
        "max_f", description="validation score that chooses the epoch to keep"
    )

    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "float32",
        description="autocast to `bf16` or `fp16`; `auto`: bf16 where the device has it in hardware, else float32;"
        " correlations and sorting stay in float32",
    )
    channels_last: bool | None = Field(
        None,
        description="memory format of images and convolutions: channels last, or contiguous; null: the one"
        " that is faster here",
    )
    compile: bool = Field(False, description="compile backbone and decoder with torch.compile")
    num_workers: Count | None = Field(
        None, description="Ray workers; null: one for each GPU of the cluster, one without GPUs"
    )
    use_gpu: bool | None = Field(None, description="true: GPUs only; false: CPUs only; null: GPUs where there are any")

    store_features: bool = Field(
        False,
        description="compute the features of a frozen backbone once an image; a flipped image gets mirrored features."
        " Needs `crop: 0` and `color_jitter: 0`",
    )
    prefetch_threads: Count | None = Field(
        None, description="threads per worker that decode batches; null: 1 on a CPU, up to 8 beside a GPU"
    )
    validate_every: Count = Field(1, description="epochs between validations")
    panels_every: Count = Field(10, description="epochs between pictures of the validation groups in MLflow")
    num_panels: int = Field(20, ge=0, description="validation groups with pictures in MLflow, evenly spaced")
    checkpoint_every: Count = Field(1, description="epochs between checkpoints; the best epoch always has one")
    checkpoint_steps: Count | None = Field(None, description="steps between checkpoints within an epoch; null: none")
    max_failures: int = Field(3, ge=0, description="restarts from the last checkpoint after a worker died")

    @property
    def datasets(self) -> list[str]:
        """The names in `dataset`."""
        return [self.dataset] if isinstance(self.dataset, str) else self.dataset

    @model_validator(mode="after")
    def _check_options(self) -> "TrainConfig":
        names = self.datasets
        if not names or len(set(names)) < len(names):
            raise ValueError(f"dataset must be a name, or a list of different names, got {names}")
        if self.min_batch_size is not None and self.min_batch_size > self.batch_size:
            raise ValueError(f"min_batch_size {self.min_batch_size} is above batch_size {self.batch_size}")
        if self.min_batch_size is not None and self.sampling != "groups":
            raise ValueError("min_batch_size needs sampling: groups")
        if self.unpasted_epochs >= self.epochs:
            raise ValueError(f"unpasted_epochs {self.unpasted_epochs} must be below epochs {self.epochs}")
        if self.siv_masks + self.siv_looks > 1:
            raise ValueError("siv_masks and siv_looks are shares of the same batches: their sum must not be above 1")
        if self.store_features and (self.crop or self.color_jitter):
            raise ValueError("store_features needs crop 0 and color_jitter 0: both change the features")
        return self


OPERATIONAL = {"prefetch_threads", "panels_every", "num_panels", "checkpoint_every", "checkpoint_steps", "max_failures"}
"""Options that cannot change the model: a training continues, and a finished one stays valid, when they change."""


class ModelConfig(params.Section):
    """The network: the fields of `icnet.config.Config`, and the weights that it starts from."""

    renamed: ClassVar[dict[str, str]] = {"summed": "cfm_sum"}
    renamed_values: ClassVar[dict[str, dict[str, str]]] = {
        "cfm_sum": {"normalised": "normalized"},
    }

    weights: str | None = Field(
        None,
        description="null: random weights; `torchvision`: VGG-16's ImageNet weights, downloaded; or a file: published"
        " weights of the backbone, or a checkpoint of ICNet",
    )
    backbone: BackboneName = Field(
        "vgg16", description="pretrained network below the co-saliency blocks: the paper's VGG-16, or DINOv2 ViT-S/14"
    )
    size: int = Field(
        224, description="side of the input, px, with dinov2_vits14 a multiple of 14; part of the weights"
    )
    width: float = Field(1.0, description="multiplies the channels of every layer; pretrained weights need 1.0")
    depths: list[int] = Field(
        [8, 10, 12], description="dinov2_vits14: the three transformer blocks that feed the co-saliency blocks, from 1"
    )
    looks: int = Field(
        1,
        description="how many times (1 to 3) the group is compared: first by the SISMs, then by the coarsest maps",
    )
    features: Literal["scf", "nf"] = Field(
        "scf", description="Table 2: self-correlation features or l2-normalized features"
    )
    fusion: Literal["cfm", "mean"] = Field("cfm", description="Table 2: correlation fusion module, or the mean SIV")
    sisms: bool = Field(True, description="Table 2: false replaces the SISMs by maps of ones")
    rearranged: bool = Field(True, description="Table 2: SCF channels in the order of the CSA map")
    similarity_maps: bool = Field(
        False, description="give the blocks the CSA maps and each cell's similarity to the group's and the image's SIV"
    )
    residual_maps: bool = Field(False, description="finer maps of the decoder are corrections of coarser ones")
    object_maps: int = Field(
        0,
        ge=0,
        le=512,
        description="maps of the features themselves that are added to the co-saliency features: few, as 8",
    )
    alpha: Literal["learned", "one"] = Field(
        "learned", description="equation 2: alpha of the paper, or the program's 1"
    )
    cfm_sum: Literal["normalized", "raw"] = Field(
        "normalized", description="correlation maps that the CFM sums: normalized (program) or raw (paper)"
    )
    output: Literal["finest", "mean"] = Field(
        "finest", description="co-saliency map: the decoder's finest map, or the mean of its four maps"
    )
    sharpness: float = Field(
        1.0, gt=0, le=10, description="factor of the co-saliency map's logits; above 1, soft maps become harder"
    )
    init: Literal["program", "paper", "he", "whitened", "delta"] = Field(
        "program",
        description="new layers: N(0, 0.01), N(0, 0.1) or He's; `whitened`: He's, with stages 4 and 5 compressed to"
        " principal components of training features; `delta`: the same above a random, local, orthogonal VGG-16",
    )
