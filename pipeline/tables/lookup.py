"""Find the rows of one table in another by their key (group, name)."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def find_positions(keys: pa.Table, others: pa.Table) -> np.ndarray:
    """The row of `others` with the group and name of each row of `keys`, int64 [rows of `keys`]; -1 if there is none.

    Time and memory grow in proportion to the rows: nothing becomes a Python object.
    """
    columns = ["group", "name"]
    left = keys.select(columns).append_column("row", pa.array(np.arange(len(keys))))
    right = others.select(columns).append_column("position", pa.array(np.arange(len(others))))
    found = left.join(right, keys=columns, join_type="left outer")
    positions = np.empty(len(keys), np.int64)
    positions[found["row"].to_numpy()] = pc.fill_null(found["position"], -1).to_numpy()
    return positions
