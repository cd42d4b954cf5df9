"""The samples of a small collection are those that were stored with this OUTPUT_VERSION."""

from pathlib import Path

from icnet import images
from pipeline import tables
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from pipeline.sism.config import SismConfig
from pipeline.sism.samples import OUTPUT_VERSION, SamplesJob
from tests.helpers import golden, photographs

FILE = Path(__file__).with_name("golden.json")


def test_samples_change_only_with_the_output_version(tmp_path):
    root = photographs.write(tmp_path / "photos", {"apple": 2, "bear": 2})
    broken = root / "images" / "bear" / "0001.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    index = photographs.index(root, tmp_path / "index")
    with ThreadPool(2) as pool:
        SamplesJob(index, tmp_path / "samples", SismConfig(), 32).run(ThreadExecutor(pool))
    rows = tables.read_table(tmp_path / "samples").to_pylist()
    rejects = tables.read_rejects(tmp_path / "samples").to_pylist()
    output = {"columns": tables.SAMPLES.names, "rejects": [f"{row['path']}: {row['reason']}" for row in rejects]}
    for row in rows:
        key = f"{row['group']}/{row['name']}"
        output[f"{key} image"] = golden.summarize(images.decode(row["image"]))
        output[f"{key} sism"] = golden.summarize(images.decode_gray(row["sism"]))
        output[f"{key} mask"] = golden.summarize(images.decode_gray(row["mask"]))
        output[f"{key} size"] = [row["height"], row["width"]]
    golden.check(FILE, "samples", OUTPUT_VERSION, output, tolerance=1.5)
