"""Published figures of later co-saliency methods, by the convention of the field, each with its source.

Only figures that were read in the named source stand here. DCFM, UFO, GCoNet+, CoRP and MCCL are missing: no source
with all their figures was at hand.
"""

from dataclasses import dataclass

from pipeline.papertables.figures import Printed

BENCHMARKS = {"cosal2015": "Cosal2015", "cosod3k": "CoSOD3k", "coca": "CoCA"}
"""The benchmarks of later papers. The key is the name of the dataset here, in any case."""


@dataclass(frozen=True)
class Published:
    """Max F, S and MAE on each of BENCHMARKS, and where they were read."""

    figures: Printed
    source: str


_MCCL = "github.com/ZhengPeng7/MCCL at 0947b80, README.md, table Current Performance"

METHODS: dict[str, Published] = {
    "GICD": Published(
        (0.844, 0.844, 0.071, 0.770, 0.797, 0.079, 0.513, 0.658, 0.126),
        "paperswithcode.com/paper/gradient-induced-co-saliency-detection, results of the paper",
    ),
    "ICNet": Published((0.855, 0.856, 0.058, 0.743, 0.780, 0.097, 0.506, 0.651, 0.148), _MCCL),
    "GCoNet": Published((0.847, 0.845, 0.068, 0.777, 0.802, 0.071, 0.544, 0.673, 0.105), _MCCL),
    "CADC": Published((0.862, 0.866, 0.064, 0.759, 0.801, 0.096, 0.548, 0.681, 0.132), _MCCL),
    "CoSformer": Published((0.891, 0.894, 0.047, 0.807, 0.835, 0.066, 0.603, 0.724, 0.103), _MCCL),
    "DMT": Published(
        (0.9035, 0.8963, 0.0462, 0.8360, 0.8516, 0.0631, 0.6207, 0.7275, 0.1069),
        "github.com/dragonlee258079/DMT at d5ee0d7, evaluation/result, CVPR2023_Final_Code",
    ),
    "CONDA": Published(
        (0.9142, 0.9045, 0.0416, 0.8446, 0.8572, 0.0594, 0.6723, 0.7540, 0.0948),
        "github.com/dragonlee258079/CONDA at 19aa5f9, evaluation/result, CONDA_duts_coco9k",
    ),
    "CONDA, COCO-SEG": Published(
        (0.9075, 0.9007, 0.0447, 0.8545, 0.8630, 0.0557, 0.6901, 0.7635, 0.0886),
        "github.com/dragonlee258079/CONDA at 19aa5f9, evaluation/result, CONDA_duts_cocoseg",
    ),
}
