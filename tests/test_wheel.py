"""The wheel alone, outside the checkout, has all that `cosal` and `import icnet` need."""

import os
import subprocess
import sys
import zipfile

import pytest


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory):
    """The folder that the wheel was installed to. What it depends on is that of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    subprocess.run(["git", "clone", "-q", str(root), str(checkout)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", str(checkout), "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("icnet-*.whl")
    subprocess.run([*pip, "install", str(wheel), "--no-deps", "--target", str(folder / "site")], check=True)
    return folder / "site"


def run(installed, folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def test_the_wheel_holds_weights_templates_and_types(installed):
    for file in ("weights/icnet.safetensors", "weights/u2netp.onnx", "weights/README.md", "icnet/py.typed"):
        assert (installed / file).is_file(), file
    assert len(list((installed / "pipeline" / "gallery").glob("*.jinja"))) == 1
    assert not (installed / "tests").exists() and not (installed / "benchmarks").exists()


def test_photographs_are_predicted_outside_the_checkout(root, installed, tmp_path):
    place = run(installed, tmp_path, "-c", "import icnet; print(icnet.__file__)").strip()
    assert place.startswith(str(installed))
    assert "predict" in run(installed, tmp_path, installed / "bin" / "cosal", "--help")
    with zipfile.ZipFile(tmp_path / "photographs.zip", "w") as archive:
        for file in sorted((root / "docs" / "photographs" / "windmill").glob("*.webp"))[:2]:
            archive.write(file, f"windmill/{file.name}")
    made = run(installed, tmp_path, installed / "bin" / "cosal", "predict", "photographs.zip", "maps")
    assert made.startswith("2 co-saliency maps of 1 group") and (tmp_path / "maps" / "index.html").is_file()
