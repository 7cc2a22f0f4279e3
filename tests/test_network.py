import math
import pickle

import pytest
import torch
from tools import refused
from torch import nn

from sklearn_colearn.losses import CoLearnLoss
from sklearn_colearn.network import (
    CoLearnNetwork,
    ModalityNetwork,
    ModalityOutput,
    NetworkOutput,
    choose_encoders,
    per_modality,
)

SHAPES = {"S1": (6, 2), "S2": (5, 3), "soil": (4,)}
B, D, K = 8, 10, 3
PRESENT = {
    "S1": torch.tensor([1, 1, 0, 1, 1, 0, 1, 1], dtype=torch.bool),
    "S2": torch.tensor([0, 1, 1, 1, 0, 1, 1, 1], dtype=torch.bool),
    "soil": torch.tensor([1, 1, 1, 1, 1, 1, 1, 0], dtype=torch.bool),
}
# The parts of the output that a modality's own network gives.
OWN = ("predictions", "specific", "unused", "shared")


def make_network(shapes=SHAPES, seed=0, **options):
    torch.manual_seed(seed)
    options = {"embedding_dim": D, "dropout": 0.0, **options}
    return CoLearnNetwork(shapes, K, **options)


def make_inputs(shapes=SHAPES, n=B, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(n, *s, generator=generator) for m, s in shapes.items()}


def running_statistics(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def assert_same_tensors(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


# Shapes and parts


@pytest.mark.parametrize("training", [True, False])
def test_shapes(training):
    output = make_network().train(training)(make_inputs())
    widths = {
        "predictions": K,
        "specific": D // 2,
        "unused": D // 2,
        "shared": D // 2,
        "auxiliary_from_specific": K,
        "auxiliary_from_shared": K,
        "modality_from_specific": 3,
        "modality_from_unused": 3,
    }
    assert set(widths) | {"present", "teacher"} == set(NetworkOutput._fields)
    for field, width in widths.items():
        part = getattr(output, field)
        assert list(part) == list(SHAPES)
        assert {tuple(z.shape) for z in part.values()} == {(B, width)}, field
    assert output.present is None
    assert output.teacher is None


def test_halves_of_the_unique_embedding_and_the_common_heads():
    network = make_network().eval()
    inputs = make_inputs()
    output = network(inputs)
    for number, modality in enumerate(SHAPES):
        own = network.networks[number]
        embedding = own.unique_encoder(inputs[modality])
        specific, unused = embedding[:, : D // 2], embedding[:, D // 2 :]
        shared = own.shared(own.common_encoder(inputs[modality]))
        expected = {
            "specific": specific,
            "unused": unused,
            "shared": shared,
            # The head sees [specific, shared], in this order.
            "predictions": torch.cat([specific, shared], 1) @ own.head.weight.T
            + own.head.bias,
            "auxiliary_from_specific": network.auxiliary_head(specific),
            "auxiliary_from_shared": network.auxiliary_head(shared),
            "modality_from_specific": network.specific_modality_head(specific),
            "modality_from_unused": network.unused_modality_head(unused),
        }
        for field, value in expected.items():
            torch.testing.assert_close(getattr(output, field)[modality], value)


def test_the_two_encoders_of_a_modality_differ():
    own = make_network().network("S1")
    assert own.unique_encoder is not own.common_encoder
    x = make_inputs()["S1"]
    assert not torch.allclose(own.unique_encoder(x), own.common_encoder(x))


def test_shared_representations_are_not_negative():
    shared = make_network()(make_inputs()).shared
    for z in shared.values():
        assert (z >= 0).all()
        assert (z == 0).any()
        assert (z > 0).any()


def test_the_prediction_does_not_use_the_unused_half():
    network = make_network(encoder="linear").eval()
    inputs = make_inputs()
    before = network(inputs)
    with torch.no_grad():
        for own in network.networks:
            own.unique_encoder.linear.weight[D // 2 :] += 1
    after = network(inputs)
    for m in SHAPES:
        assert not torch.equal(before.unused[m], after.unused[m])
        assert torch.equal(before.predictions[m], after.predictions[m])
        assert torch.equal(before.specific[m], after.specific[m])


def test_a_modality_network_alone_gives_the_same_outputs():
    network = make_network().eval()
    inputs = make_inputs()
    output = network(inputs)
    for m in SHAPES:
        alone = network.network(m)(inputs[m])
        assert isinstance(alone, ModalityOutput)
        for field, z in zip(OWN, alone, strict=True):
            assert torch.equal(z, getattr(output, field)[m])


def test_modalities_keep_their_order():
    reversed_shapes = dict(reversed(SHAPES.items()))
    network = make_network(reversed_shapes)
    # The order of the inputs does not count, the order of the network does.
    output = network(make_inputs())
    assert network.modalities == ("soil", "S2", "S1")
    assert all(list(part) == ["soil", "S2", "S1"] for part in output[:8])
    assert network.network("soil") is network.networks[0]


@pytest.mark.parametrize(
    "names", [("S.1", ""), ("type", "input_ids"), ("self", "forward"), ("a b", "é")]
)
def test_unusual_modality_names(names):
    network = make_network({names[0]: (4, 2), names[1]: (3,)})
    inputs = make_inputs({names[0]: (4, 2), names[1]: (3,)})
    output = network(inputs)
    assert list(output.predictions) == list(names)
    again = make_network({"A": (4, 2), "B": (3,)}, seed=5)
    again.load_state_dict(network.state_dict())  # whose keys hold no name
    expected = again({"A": inputs[names[0]], "B": inputs[names[1]]})
    torch.testing.assert_close(output.predictions[names[1]], expected.predictions["B"])


def test_one_modality():
    output = make_network({"S1": (6, 2)})(make_inputs({"S1": (6, 2)}))
    assert output.predictions["S1"].shape == (B, K)
    assert output.modality_from_specific["S1"].shape == (B, 1)


def test_pickle():
    network = make_network().eval()
    again = pickle.loads(pickle.dumps(network))
    inputs = make_inputs()
    assert_same_tensors(network(inputs).predictions, again(inputs).predictions)


# Gradients


def test_main_term_of_one_modality_leaves_the_others():
    network = make_network()
    output = network(make_inputs())
    output.predictions["S1"].square().sum().backward()
    touched = {
        name.split(".")[1] if name.startswith("networks.") else name.split(".")[0]
        for name, p in network.named_parameters()
        if p.grad is not None and p.grad.any()
    }
    assert touched == {"0"}


def test_every_parameter_learns_from_the_whole_loss():
    network = make_network()
    target = torch.arange(B) % K
    CoLearnLoss("cross_entropy")(network(make_inputs()), target).backward()
    idle = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.any()
    ]
    # Batch normalisation takes the mean away, and with it the bias before it: its
    # gradient is rounding, which may be zero.
    assert [name for name in idle if not name.endswith("bias")] == []


def test_the_teacher_sees_what_the_predictions_of_all_modalities_use():
    network = make_network(teacher=True).eval()
    output = network(make_inputs())
    seen = torch.cat([*output.specific.values(), *output.shared.values()], dim=1)
    assert torch.equal(output.teacher, network.teacher_head(seen))
    assert output.teacher.shape == (B, K)


def test_a_teacher_does_not_change_other_outputs():
    network = make_network(teacher=True).eval()
    without = make_network().eval()
    without.load_state_dict(network.state_dict(), strict=False)
    inputs = make_inputs()
    for a, b in zip(network(inputs)[:8], without(inputs)[:8], strict=True):
        assert_same_tensors(a, b)


def test_one_modality_has_no_teacher():
    network = CoLearnNetwork({"S1": (3,)}, K, teacher=True)
    assert network.teacher_head is None
    assert network({"S1": torch.zeros(2, 3)}).teacher is None


def test_every_parameter_learns_from_the_whole_loss_with_a_teacher():
    network = make_network(teacher=True)
    target = torch.arange(B) % K
    loss = CoLearnLoss("cross_entropy", distillation_weight=1.0)
    loss(network(make_inputs()), target).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.teacher_head.weight.grad.any()


def test_the_unused_half_learns_from_the_modality_head_alone():
    target = torch.arange(B) % K
    grads = {}
    for weight in (0.0, 1.0):
        network = make_network(encoder="linear")
        loss = CoLearnLoss("cross_entropy", discriminative_weight=weight)
        loss(network(make_inputs()), target).backward()
        grads[weight] = network.networks[0].unique_encoder.linear.weight.grad
    assert not grads[0.0][D // 2 :].any()
    assert grads[1.0][D // 2 :].any()
    assert grads[0.0][: D // 2].any()


# A batch of one


@pytest.mark.parametrize("encoder", ["linear", "mlp", "tempcnn", "gru"])
def test_batch_of_one_in_training(encoder):
    shapes = {"A": (6, 2), "B": (5, 3)}
    network = make_network(shapes, encoder=encoder).train()
    network(make_inputs(shapes))  # so that the statistics are not what they begin with
    before = running_statistics(network)
    output = network(make_inputs(shapes, n=1))
    output.predictions["A"].sum().backward()
    assert_same_tensors(running_statistics(network), before)
    assert all(module.training for module in network.modules())
    expected = network.eval()(make_inputs(shapes, n=1))
    assert_same_tensors(output.predictions, expected.predictions)


def test_batch_of_one_leaves_frozen_layers_in_eval_mode():
    network = make_network().train()
    frozen = network.networks[0].shared[1].eval()
    network(make_inputs(n=1))
    assert not frozen.training
    assert network.networks[1].shared[1].training


def test_batch_of_one_restores_the_mode_after_an_error():
    network = make_network().train()
    inputs = make_inputs(n=1)
    inputs["S1"] = torch.zeros(1, 6, 9)  # nine bands instead of two
    with pytest.raises(RuntimeError):
        network(inputs)
    assert all(module.training for module in network.modules())


def test_a_larger_batch_does_change_the_statistics():
    network = make_network().train()
    before = running_statistics(network)
    network(make_inputs(n=2))
    after = running_statistics(network)
    assert not torch.equal(
        before["networks.0.shared.1.running_mean"],
        after["networks.0.shared.1.running_mean"],
    )


# Rows that lack a modality


def run_and_learn(inputs, present, training=True, **options):
    """Return the output, gradients and statistics of one step."""
    network = make_network(**options).train(training)
    output = network(inputs, present)
    target = torch.arange(B) % K
    CoLearnLoss("cross_entropy")(output, target).backward()
    # A parameter that no row has reached has no gradient, or a zero one.
    grads = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in network.named_parameters()
    }
    return output, grads, running_statistics(network)


@pytest.mark.parametrize("training", [True, False])
def test_rows_that_lack_a_modality_are_zero(training):
    inputs = make_inputs()
    network = make_network().train(training)
    output = network(inputs, PRESENT)
    assert output.present is PRESENT
    for m, present in PRESENT.items():
        for field in OWN:
            z = getattr(output, field)[m]
            assert z.shape[0] == B
            assert (z[~present] == 0).all(), (field, m)
            # A ReLU may switch off a whole row of the shared one.
            some = z[present].any(dim=1)
            assert some.any() if field == "shared" else some.all(), (field, m)


def test_present_rows_do_not_depend_on_absent_ones():
    inputs = make_inputs()
    network = make_network().train()
    output = network(inputs, PRESENT)
    for m, present in PRESENT.items():
        expected = network.network(m)(inputs[m][present])
        for field, z in zip(OWN, expected, strict=True):
            torch.testing.assert_close(getattr(output, field)[m][present], z)


@pytest.mark.parametrize("garbage", [0.0, 1e30, math.inf, math.nan])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("encoder", ["auto", "linear", "mlp"])
def test_values_of_absent_rows_have_no_effect(garbage, training, encoder):
    inputs = make_inputs()
    other = {m: x.clone() for m, x in inputs.items()}
    for m, x in other.items():
        x[~PRESENT[m]] = garbage
    a = run_and_learn(inputs, PRESENT, training, encoder=encoder)
    b = run_and_learn(other, PRESENT, training, encoder=encoder)
    for field in a[0]._fields[:8]:
        assert_same_tensors(getattr(a[0], field), getattr(b[0], field))
    assert_same_tensors(a[1], b[1])
    assert_same_tensors(a[2], b[2])
    assert all(torch.isfinite(grad).all() for grad in b[1].values())


def test_all_rows_present_equals_no_mask():
    inputs = make_inputs()
    everywhere = dict.fromkeys(SHAPES, torch.ones(B, dtype=torch.bool))
    a, b = run_and_learn(inputs, everywhere), run_and_learn(inputs, None)
    for field in OWN:
        assert_same_tensors(getattr(a[0], field), getattr(b[0], field))
    assert_same_tensors(a[2], b[2])
    for name, grad in a[1].items():
        torch.testing.assert_close(grad, b[1][name], rtol=1e-4, atol=1e-4)


def test_a_modality_that_the_whole_batch_lacks():
    inputs = make_inputs()
    inputs["S2"][:] = math.nan
    present = {**PRESENT, "S2": torch.zeros(B, dtype=torch.bool)}
    fresh = make_network().train()
    before = running_statistics(fresh.network("S2"))
    network_output = fresh(inputs, present)
    for field in OWN:
        z = getattr(network_output, field)["S2"]
        assert z.shape == getattr(network_output, field)["S1"].shape
        assert not z.any()
    assert_same_tensors(running_statistics(fresh.network("S2")), before)
    output, grads, _ = run_and_learn(inputs, present)
    assert torch.isfinite(output.predictions["S1"]).all()
    for name, grad in grads.items():
        assert torch.isfinite(grad).all(), name
        if name.startswith("networks.1."):
            assert not grad.any(), name


def test_a_single_present_row_does_not_change_the_statistics():
    present = {**PRESENT, "S2": torch.arange(B) == 3}
    network = make_network().train()
    before = running_statistics(network.network("S2"))
    output = network(make_inputs(), present)
    assert_same_tensors(running_statistics(network.network("S2")), before)
    assert output.predictions["S2"][3].any()
    assert not output.predictions["S2"][:3].any()


# Encoders of each modality


def test_an_encoder_for_all_or_for_each():
    def kinds(**options):
        network = make_network(**options)
        return [type(own.unique_encoder).__name__ for own in network.networks]

    assert kinds() == ["LTAEEncoder", "LTAEEncoder", "MLPEncoder"]
    assert kinds(encoder="linear") == ["LinearEncoder"] * 3
    each = {"soil": "linear", "S1": "gru", "S2": "auto"}
    found = ["GRUEncoder", "LTAEEncoder", "LinearEncoder"]
    assert kinds(encoder=each) == found


def test_encoder_params_for_all_or_for_each():
    shapes = {"S1": (6, 2), "S2": (5, 3)}
    every = make_network(shapes, encoder="tempcnn", encoder_params={"n_channels": 6})
    assert [
        own.unique_encoder.convolutions[0].out_channels for own in every.networks
    ] == [6, 6]
    each = make_network(
        encoder={"S1": "tempcnn", "S2": "tempcnn"},
        encoder_params={"soil": {"hidden_dims": [7]}, "S2": {"n_channels": 6}},
    )
    assert each.network("S1").common_encoder.convolutions[0].out_channels == 128
    assert each.network("S2").common_encoder.convolutions[0].out_channels == 6
    assert each.network("soil").unique_encoder.layers[1].out_features == 7


def test_dropout_reaches_the_encoders_and_only_in_training():
    network = make_network(dropout=0.75)
    rates = {m.p for m in network.modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.75}
    inputs = make_inputs()
    network.train()
    assert not torch.equal(
        network(inputs).specific["S1"], network(inputs).specific["S1"]
    )
    network.eval()
    assert torch.equal(network(inputs).specific["S1"], network(inputs).specific["S1"])


@pytest.mark.parametrize(
    "encoder",
    [{"S1": "mlp", "S2": "mlp", "soil": "mlp", "S3": "mlp"}, {"S3": "mlp"}],
    ids=["unknown", "other"],
)
def test_encoders_of_unknown_modalities(encoder):
    expected = "encoder ... ['S3'] ... ['S1', 'S2', 'soil']"
    refused(make_network, encoder=encoder, says=expected)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"S1": {"n_channels": 6}, "S3": {}}, "['S3'] ... ['S1', 'S2', 'soil']"),
        ({"S3": {"n_channels": 6}}, "'S1' ... ['S3'] ... 'model_dim'"),
        ({"depth": 6}, "'S1' ... ['depth'] ... 'ltae' ... 'model_dim'"),
    ],
    ids=["unknown", "other", "of no encoder"],
)
def test_unknown_encoder_params(params, expected):
    refused(make_network, encoder_params=params, says="encoder_params ... " + expected)


def test_a_factory_that_gives_one_module_twice():
    """Unique and common encoder would be one, and say so nowhere."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, D))
    with pytest.raises(ValueError, match=r"new module|twice"):
        make_network({"S1": (6, 2)}, encoder=lambda input_shape, embedding_dim: module)


def test_per_modality():
    names = ("S1", "S2")
    assert per_modality("encoder", "mlp", names) == {"S1": "mlp", "S2": "mlp"}
    assert per_modality("encoder", {"S2": "gru"}, names) == {"S1": "auto", "S2": "gru"}
    assert per_modality("encoder", {}, names) == {"S1": "auto", "S2": "auto"}
    assert per_modality("encoder_params", None, names) == {"S1": None, "S2": None}
    params = {"n_layers": 3}
    assert per_modality("encoder_params", params, names) == {"S1": params, "S2": params}
    assert per_modality("encoder_params", {"S2": params}, names) == {
        "S1": None,
        "S2": params,
    }


def test_modality_network_takes_any_two_encoders():
    own = ModalityNetwork(nn.Linear(4, 6), nn.Linear(4, 6), 6, 2)
    output = own(torch.randn(5, 4))
    assert [tuple(z.shape) for z in output] == [(5, 2), (5, 3), (5, 3), (5, 3)]


# One encoder for both embeddings


def test_a_shared_encoder_gives_both_embeddings():
    network = make_network(share_encoder=True).eval()
    own, x = network.network("S1"), make_inputs()["S1"]
    assert own.common_encoder is None
    both = own.unique_encoder(x)
    assert both.shape == (B, 2 * D)
    output = own(x)
    assert torch.equal(torch.cat([output.specific, output.unused], 1), both[:, :D])
    assert torch.equal(output.shared, own.shared(both[:, D:]))


def test_a_shared_encoder_halves_the_parameters():
    def count(**options):
        network = CoLearnNetwork({"S1": (12, 4)}, K, encoder="tempcnn", **options)
        own = network.network("S1")
        encoders = [own.unique_encoder, own.common_encoder]
        return sum(p.numel() for e in encoders if e for p in e.parameters())

    apart, shared = count(), count(share_encoder=True)
    assert shared == apart / 2 + 512 * 128 + 128  # the last layer is twice as wide


def test_every_parameter_learns_with_a_shared_encoder():
    network = make_network(share_encoder=True)
    target = torch.arange(B) % K
    CoLearnLoss("cross_entropy")(network(make_inputs()), target).backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert name.endswith("bias") or p.grad.any(), name


# Times and gaps


class Step(nn.Module):
    """Sums what it is given."""

    def __init__(self, input_shape, embedding_dim):
        super().__init__()
        self.linear = nn.Linear(3, embedding_dim, bias=False)

    def forward(self, x, mask=None, times=None):
        mask = x.new_zeros(len(x), 1) if mask is None else mask
        times = x.new_zeros(len(x), 1) if times is None else times
        parts = [x.sum(dim=(1, 2)), mask.sum(dim=1), times.sum(dim=1)]
        return self.linear(torch.stack(parts, dim=1).float())


@pytest.mark.parametrize("present", [None, PRESENT])
@pytest.mark.parametrize("share_encoder", [True, False])
def test_each_encoder_is_given_the_steps_of_its_rows(present, share_encoder):
    encoder = {"S1": Step, "S2": "gru", "soil": "mlp"}
    network = make_network(encoder=encoder, share_encoder=share_encoder).eval()
    assert [own.takes for own in network.networks] == [("mask", "times"), ("mask",), ()]
    inputs = make_inputs()
    times = torch.arange(B * 6.0).view(B, 6)
    steps = {"S1": {"times": times, "mask": times % 5 > 0}}
    output = network(inputs, present, steps)
    rows = torch.arange(B) if present is None else present["S1"].nonzero()[:, 0]
    alone = network.network("S1")(
        inputs["S1"][rows], times=times[rows], mask=times[rows] % 5 > 0
    )
    for field, z in zip(OWN, alone, strict=True):
        torch.testing.assert_close(getattr(output, field)["S1"][rows], z)
    without = network(inputs, present)
    assert not torch.allclose(output.specific["S1"], without.specific["S1"])
    for m in ("S2", "soil"):
        assert torch.equal(output.specific[m], without.specific[m])


def test_choosing_encoders():
    shapes = {**SHAPES, "image": (5, 5, 3)}
    expected = {"S1": "ltae", "S2": "ltae", "soil": "mlp", "image": "resnet"}
    assert choose_encoders("auto", shapes) == expected
    each = {"S1": "auto", "S2": "gru", "soil": Step}
    assert choose_encoders(each, SHAPES) == {**each, "S1": "ltae"}
    before = {"S1": "mlp", "S2": "mlp", "soil": "mlp"}
    assert choose_encoders(each, SHAPES, before) == {**each, "S1": "mlp"}
    cube = {"cube": (2, 3, 4, 5)}
    refused(choose_encoders, "auto", cube, says="'cube' ... 'auto'")
