"""The package as a whole: what importing it gives, and what it leaves alone."""

import subprocess
import sys

IMPORT = """
import sys
import torch
before = set(torch._C._dispatch_get_all_op_names()) if hasattr(torch._C, "_dispatch_get_all_op_names") else set()
import icnet
after = set(torch._C._dispatch_get_all_op_names()) if hasattr(torch._C, "_dispatch_get_all_op_names") else set()
assert {"ICNet", "Config", "load"} <= set(dir(icnet))
print(sorted(name for name in after - before if name.startswith("torchvision")))
print(sorted({"torchvision", "cv2", "pandas", "pyarrow", "ray", "mlflow"} & set(sys.modules)))
"""


def test_importing_icnet_is_light_and_has_no_side_effects():
    """Nothing of torchvision is declared, and no library that only some parts need is loaded."""
    answer = subprocess.run([sys.executable, "-c", IMPORT], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert answer.splitlines() == ["[]", "[]"]


def test_the_models_of_torchvision_can_be_imported_beside_any_torch():
    code = "from icnet.torchvision_models import ResNet, vgg16; vgg16(weights=None)"
    subprocess.run([sys.executable, "-c", code], check=True)
