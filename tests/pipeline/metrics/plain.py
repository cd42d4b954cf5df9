"""The measures of salient object detection in plain numpy, written from their papers: a second program for tests.

Everything is computed pixel by pixel and threshold by threshold, without histograms.
"""

import numpy as np
from scipy import ndimage

EPS = np.spacing(1)


def stretch(found):
    """A uint8 map as float in [0, 1], stretched to the full range: MATLAB's im2double and mapminmax, in this order.

    The order matters: a value just below a threshold would otherwise be rounded to the other side.
    """
    found = found / 255
    low, high = found.min(), found.max()
    return found if low == high else (found - low) / (high - low)


def f_measure(salient, mask, beta_squared=0.3):
    """Achanta et al., Frequency-tuned salient region detection, CVPR 2009."""
    hits = (salient & mask).sum()
    if not hits:
        return 0.0
    precision, recall = hits / salient.sum(), hits / mask.sum()
    return (1 + beta_squared) * precision * recall / (beta_squared * precision + recall)


def e_measure(salient, mask):
    """Fan et al., Enhanced-alignment measure for binary foreground map evaluation, IJCAI 2018, with its N - 1."""
    if not mask.any():
        enhanced = 1.0 - salient
    elif mask.all():
        enhanced = 1.0 * salient
    else:
        one, two = salient - salient.mean(), mask - mask.mean()
        enhanced = (2 * one * two / (one**2 + two**2 + EPS) + 1) ** 2 / 4
    return enhanced.sum() / (mask.size - 1 + EPS)


def s_measure(found, mask, alpha=0.5):
    """Fan et al., Structure-measure: a new way to evaluate foreground maps, ICCV 2017."""
    share = mask.mean()
    if share == 0:
        return 1 - found.mean()
    if share == 1:
        return found.mean()
    objects = share * _similar_object(found[mask]) + (1 - share) * _similar_object(1 - found[~mask])
    return max(0.0, alpha * objects + (1 - alpha) * _similar_regions(found, mask))


def weighted_f(found, mask):
    """Margolin et al., How to evaluate foreground maps, CVPR 2014, with beta = 1."""
    if not mask.any():
        return 0.0
    distance, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
    error = np.abs(found - mask)
    spread = np.where(mask, error, error[tuple(nearest)])
    offsets = np.arange(-3, 4)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 5**2))
    smooth = ndimage.convolve(spread, kernel / kernel.sum(), mode="constant")
    least = np.where(mask & (smooth < error), smooth, error)
    weighted = least * np.where(mask, 1.0, 2 - np.exp(np.log(0.5) / 5 * distance))
    hits = mask.sum() - weighted[mask].sum()
    recall, precision = 1 - weighted[mask].mean(), hits / (hits + weighted[~mask].sum() + EPS)
    return 2 * recall * precision / (recall + precision + EPS)


def score(pairs):
    """All measures of pairs of a uint8 map and a uint8 mask, by the convention of published tables."""
    rows, curves = [], []
    for map_, gray in pairs:
        found, mask = stretch(map_), gray > 128
        levels = np.floor(found * 255)
        steps = [levels >= level for level in range(256)]
        adaptive = found >= min(2 * found.mean(), 1)
        one = f_measure(adaptive, mask), e_measure(adaptive, mask), s_measure(found, mask), weighted_f(found, mask)
        rows.append([*one, np.abs(found - mask).mean()])
        curves.append([[f_measure(step, mask) for step in steps], [e_measure(step, mask) for step in steps]])
    names = ("adaptive_f", "adaptive_e", "s", "weighted_f", "mae")
    f, e = np.mean(curves, axis=0)
    found = dict(zip(names, np.mean(rows, axis=0), strict=True))
    return found | {"max_f": f.max(), "mean_f": f.mean(), "max_e": e.max(), "mean_e": e.mean()}


def _similar_object(values):
    mean, deviation = values.mean(), values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation + EPS)


def _similar_regions(found, mask):
    row, column = (int(np.round(place.mean())) + 1 for place in np.nonzero(mask))
    total = 0.0
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            part = mask[rows, columns]
            if part.size:
                total += part.size / mask.size * _similar_structure(found[rows, columns], part)
    return total


def _similar_structure(found, mask):
    x, y, count = found.mean(), mask.mean(), found.size - 1
    if count == 0:
        return 1.0
    spread = ((found - x) ** 2).sum() / count, ((mask - y) ** 2).sum() / count
    both = ((found - x) * (mask - y)).sum() / count
    above, below = 4 * x * y * both, (x**2 + y**2) * sum(spread)
    return above / (below + EPS) if above else float(below == 0)
