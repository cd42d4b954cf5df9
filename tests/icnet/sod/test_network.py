"""Every network against its authors' program, with weights and inputs made by a formula."""

import numpy as np
import pytest
import torch

from icnet.sod import basnet, cpd, egnet, f3net, network, u2net

NETWORKS = {
    "U2NetP": (lambda state: u2net.U2Net(u2net.SMALL), "d0", {"s0": 2e-5, "s1": 2e-5, "big": 2e-5}),
    "U2Net": (lambda state: u2net.U2Net(u2net.FULL), "d0", {"s0": 2e-5, "s1": 2e-5, "big": 2e-5}),
    "EGNet_vgg": (lambda state: egnet.EGNet(), "sal2_4", {"s0": 1e-4, "s1": 1e-4}),
    "F3Net": (lambda state: f3net.F3Net(), "pred2", {"s0": 3e-4, "s1": 3e-4}),
    "CPD_vgg": (cpd.build, "detection", {"s0": 1e-4, "big": 3e-4}),
    "CPD_resnet": (cpd.build, "detection", {"s0": 1e-4, "big": 3e-4}),
    "BASNet": (lambda state: basnet.BASNet(), "dout", {"s0": 1e-5}),
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_network_gives_its_authors_maps_in_single_and_double_precision(
    name, references, formula_state, formula_input
):
    build, output, tolerances = NETWORKS[name]
    reference = np.load(references / f"{name}.npz")
    made = network.assemble(build, formula_state(name), name)
    for double in (False, True):
        made = made.double() if double else made
        for case, tolerance in tolerances.items():
            x = formula_input(case)
            got = network.resize(made(x.double() if double else x), x.shape[-2:]).numpy()
            if not double:
                np.testing.assert_allclose(got, reference[f"{case}/{output}"], rtol=0, atol=tolerance)
            elif case == "big":
                np.testing.assert_allclose(got, reference[f"big/{output}_f64_as_f32"], rtol=6e-8, atol=1e-9)
            else:
                np.testing.assert_allclose(got, reference[f"{case}/{output}_f64"], rtol=0, atol=1e-9)
