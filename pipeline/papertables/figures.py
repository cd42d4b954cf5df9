"""The figures that the paper prints in Tables 1 to 4."""

from collections.abc import Mapping

BENCHMARKS = {"cosal2015": "Cosal2015", "icoseg": "iCoseg", "msrc": "MSRC"}
"""The paper's benchmarks in the order of its columns. The key is the name of the dataset here, in any case."""

Printed = tuple[float, ...]
"""Max F, S and MAE on each of BENCHMARKS: nine figures."""

TITLES = {
    1: "Co-saliency methods",
    2: "Variants of ICNet",
    3: "SOD methods, alone and with ICNet",
    4: "Images in a training batch and in a test batch",
    5: "Later co-saliency methods, by the convention of the field",
}
"""Tables 1 to 4 are the paper's. Table 5 is ours."""

LATER = 5

METHODS: dict[str, Printed] = {
    "CBCS": (0.539, 0.546, 0.234, 0.728, 0.673, 0.165, 0.639, 0.516, 0.279),
    "CSHS": (0.568, 0.596, 0.310, 0.766, 0.750, 0.176, 0.740, 0.694, 0.260),
    "CoDW": (0.672, 0.651, 0.273, 0.783, 0.753, 0.177, 0.786, 0.721, 0.252),
    "UCSG": (0.745, 0.756, 0.158, 0.836, 0.825, 0.117, 0.847, 0.806, 0.164),
    "CSMG": (0.787, 0.778, 0.130, 0.833, 0.815, 0.104, 0.861, 0.767, 0.153),
    "MGLCN": (0.791, 0.804, 0.128, 0.867, 0.863, 0.076, 0.862, 0.816, 0.160),
    "GICD": (0.835, 0.837, 0.072, 0.821, 0.819, 0.069, 0.812, 0.753, 0.131),
    "EGNet": (0.753, 0.805, 0.103, 0.798, 0.833, 0.069, 0.834, 0.789, 0.122),
    "SCRN": (0.769, 0.813, 0.097, 0.796, 0.836, 0.066, 0.847, 0.791, 0.124),
    "ICNet": (0.860, 0.855, 0.058, 0.874, 0.862, 0.048, 0.869, 0.814, 0.097),
}

VARIANTS: dict[str, Printed] = {
    "1 NF": (0.788, 0.789, 0.098, 0.752, 0.755, 0.083, 0.759, 0.706, 0.154),
    "2 NF, CFM": (0.815, 0.823, 0.081, 0.726, 0.763, 0.081, 0.782, 0.742, 0.139),
    "3 NF, CFM, SISMs": (0.824, 0.833, 0.076, 0.864, 0.862, 0.047, 0.830, 0.789, 0.114),
    "4 SCF": (0.767, 0.787, 0.105, 0.804, 0.804, 0.070, 0.772, 0.717, 0.148),
    "5 SCF, CFM": (0.817, 0.824, 0.078, 0.813, 0.815, 0.067, 0.839, 0.789, 0.113),
    "6 SCF, CFM, SISMs": (0.855, 0.850, 0.060, 0.857, 0.848, 0.048, 0.872, 0.807, 0.100),
    "7 RSCF, CFM, SISMs": METHODS["ICNet"],
}

SODS: dict[str, tuple[Printed, Printed]] = {
    "GC": (
        (0.640, 0.682, 0.149, 0.698, 0.708, 0.124, 0.755, 0.691, 0.160),
        (0.854, 0.852, 0.064, 0.859, 0.853, 0.056, 0.878, 0.826, 0.093),
    ),
    "EGNet": (METHODS["EGNet"], METHODS["ICNet"]),
    "BASNet": (
        (0.790, 0.821, 0.096, 0.855, 0.866, 0.054, 0.869, 0.821, 0.098),
        (0.858, 0.849, 0.059, 0.862, 0.852, 0.053, 0.867, 0.810, 0.101),
    ),
    "CPD": (
        (0.761, 0.807, 0.100, 0.802, 0.834, 0.063, 0.849, 0.791, 0.116),
        (0.857, 0.851, 0.060, 0.857, 0.850, 0.051, 0.870, 0.815, 0.097),
    ),
    "F3Net": (
        (0.810, 0.840, 0.084, 0.844, 0.864, 0.052, 0.864, 0.822, 0.103),
        (0.856, 0.850, 0.059, 0.864, 0.855, 0.048, 0.865, 0.813, 0.097),
    ),
}
"""The method alone, and ICNet with its SISMs."""

BATCHES: dict[str, Printed] = {
    "n_train = 5": (0.858, 0.854, 0.058, 0.866, 0.854, 0.050, 0.868, 0.812, 0.098),
    "n_train = 10": METHODS["ICNet"],
    "n_train = 15": (0.857, 0.850, 0.060, 0.863, 0.853, 0.052, 0.876, 0.813, 0.096),
    "n_test = 5": (0.844, 0.846, 0.066, 0.865, 0.856, 0.050, 0.870, 0.815, 0.097),
    "n_test = 10": (0.851, 0.849, 0.063, 0.874, 0.862, 0.048, 0.869, 0.814, 0.097),
    "n_test = 20": (0.856, 0.852, 0.061, 0.873, 0.862, 0.048, 0.869, 0.815, 0.097),
}


def match_benchmark(benchmark: str, benchmarks: Mapping[str, str] = BENCHMARKS) -> str:
    """The key of `benchmarks` that is printed next to one of our benchmarks: the same one, or else the first."""
    return benchmark.lower() if benchmark.lower() in benchmarks else next(iter(benchmarks))


def select_figures(
    printed: Printed | None, benchmark: str, benchmarks: Mapping[str, str] = BENCHMARKS
) -> Printed | None:
    """Max F, S and MAE on one of `benchmarks`."""
    place = 3 * list(benchmarks).index(benchmark)
    return None if printed is None else printed[place : place + 3]
