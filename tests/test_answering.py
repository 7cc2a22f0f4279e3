"""Networks folded for prediction answer as whole ones do."""

import pytest
import torch
from torch import nn

from sklearn_colearn.answering import _Folded, answering
from sklearn_colearn.encoders import ENCODERS
from sklearn_colearn.network import make_modality_network

SMALL = {
    "convtran": {"model_dim": 8, "n_heads": 2},
    "ltae": {"model_dim": 16, "n_heads": 4},
    "tae": {"model_dim": 16, "n_heads": 4},
    "inceptiontime": {"n_channels": 4},
    "tempcnn": {"n_channels": 8},
    "presto": {"weights": "random", "band_names": ["VV", "VH"], "month": 1},
}


def trained(encoder, shape, share, params=None):
    """Make a network with statistics of batches and weights of no special kind."""
    torch.manual_seed(0)
    network = make_modality_network(
        encoder,
        shape,
        3,
        encoder_params=params,
        embedding_dim=8,
        dropout=0.2,
        share_encoder=share,
    )
    for _ in range(3):
        network(3 * torch.randn(20, *shape) + 1)
    return network.eval()


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_is_folded(encoder, share):
    others = {"mlp": (5,), "resnet": (5, 5, 3), "presto": (6, 2)}
    shape = others.get(encoder, (6, 3))
    network = trained(encoder, shape, share, SMALL.get(encoder))
    x, steps = torch.randn(9, *shape), {}
    if "mask" in network.takes:
        steps["mask"] = torch.rand(9, 6) > 0.3
        steps["mask"][:, 0] = True
    state = torch.get_rng_state()
    with torch.inference_mode():
        folded = answering(network, x, steps)
        assert isinstance(folded, _Folded)
        assert answering(network, x, steps) is folded
        assert torch.equal(torch.get_rng_state(), state)
        for some in (x, torch.randn(4, *shape)):
            own = {name: t[: len(some)] for name, t in steps.items()}
            torch.testing.assert_close(
                folded(some, **own),
                network(some, **own).prediction,
                rtol=1e-4,
                atol=1e-5,
            )


class EndsInTanh(nn.Module):
    def __init__(self, input_shape, embedding_dim):
        super().__init__()
        self.linear = nn.Linear(input_shape[0], embedding_dim)

    def forward(self, x):
        return self.linear(x).tanh()


class NormsAnotherWay(nn.Module):
    """Its layers do not run in the order of the Sequential that holds them."""

    def __init__(self, input_shape, embedding_dim):
        super().__init__()
        n = input_shape[0]
        self.layers = nn.Sequential(nn.Linear(n, n), nn.BatchNorm1d(n))
        self.head = nn.Linear(n, embedding_dim)

    def forward(self, x):
        return self.head(self.layers[1](self.layers[0](x).relu()))


@pytest.mark.parametrize("encoder", [EndsInTanh, NormsAnotherWay])
def test_encoders_without_a_last_linear_layer_are_not_folded(encoder):
    network = trained(encoder, (5,), share=True)
    x = torch.randn(9, 5)
    with torch.inference_mode():
        found = answering(network, x, {})
        assert not isinstance(found, _Folded)
        assert torch.equal(found(x), network(x).prediction)


def test_an_encoder_that_is_one_linear_layer():
    def factory(input_shape, embedding_dim):
        return nn.Linear(input_shape[0], embedding_dim, bias=False)

    network = trained(factory, (5,), share=True)
    x = torch.randn(9, 5)
    with torch.inference_mode():
        folded = answering(network, x, {})
        assert isinstance(folded, _Folded)
        torch.testing.assert_close(folded(x), network(x).prediction)


def test_new_weights_are_noticed():
    network, x = trained("mlp", (5,), share=True), torch.randn(9, 5)
    with torch.inference_mode():
        before = answering(network, x, {})(x)
    other = trained("mlp", (5,), share=True, params={"hidden_dims": (128, 128)})
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
    network.load_state_dict(other.state_dict())
    with torch.inference_mode():
        after = answering(network, x, {})(x)
        torch.testing.assert_close(after, other(x).prediction)
    assert not torch.allclose(before, after)
