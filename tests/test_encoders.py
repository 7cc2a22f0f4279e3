import functools
import math
import pickle

import pytest
import torch
from torch import nn

from sklearn_colearn.encoders import (
    ENCODERS,
    GRUEncoder,
    LinearEncoder,
    MLPEncoder,
    TempCNNEncoder,
    choose_encoder,
    make_encoder,
)

D = 6
TIME_SERIES = {"tempcnn", "gru"}
SERIES_SHAPES = [(6, 2), (1, 3), (1, 1), (12, 1), (5, 200), (365, 2)]
OTHER_SHAPES = [(1,), (8,), (200,), (4, 5, 3)]
CASES = [
    (name, shape)
    for name in ENCODERS
    for shape in SERIES_SHAPES + ([] if name in TIME_SERIES else OTHER_SHAPES)
]
# Narrow, as it is the shapes that are tested.
PARAMS = {
    "linear": {},
    "mlp": {"hidden_dims": [9, 7]},
    "tempcnn": {"n_channels": 8},
    "gru": {"hidden_dim": 8},
}

every_case = pytest.mark.parametrize(
    ("name", "shape"), CASES, ids=lambda v: v if isinstance(v, str) else str(v)
)
every_encoder = pytest.mark.parametrize("name", list(ENCODERS))


def make(name, shape=(6, 2), embedding_dim=D, **options):
    torch.manual_seed(0)
    return make_encoder(
        name, shape, embedding_dim, encoder_params=PARAMS[name], **options
    )


def batch(n, shape, seed=1):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def error_of(error, call, *args, **options):
    """Return the text of the error that a call raises, to compare it whole."""
    with pytest.raises(error) as caught:
        call(*args, **options)
    return str(caught.value)


# What all encoders have in common


@every_case
def test_output_shape(name, shape):
    encoder = make(name, shape)
    assert encoder.training
    for training in (True, False):
        output = encoder.train(training)(batch(5, shape))
        assert output.shape == (5, D)
        assert output.dtype == torch.float32
        assert torch.isfinite(output).all()
    assert encoder(batch(1, shape)).shape == (1, D)


@every_case
def test_gradients_reach_every_parameter(name, shape):
    encoder = make(name, shape, dropout=0.0)
    # Two batches: a ReLU may be off for a whole one.
    for seed in (1, 2):
        (encoder(batch(16, shape, seed)) * torch.arange(1.0, D + 1)).sum().backward()
    for parameter, p in encoder.named_parameters():
        assert p.grad is not None, parameter
        assert torch.isfinite(p.grad).all(), parameter
        # Over one time step a GRU never uses its hidden state: it begins with zero.
        if not (name == "gru" and shape[0] == 1 and "weight_hh" in parameter):
            assert p.grad.any(), parameter


@every_case
def test_a_row_does_not_depend_on_its_batch_mates(name, shape):
    encoder = make(name, shape).eval()
    x = batch(5, shape)
    together = encoder(x)
    for i in range(5):
        torch.testing.assert_close(encoder(x[i : i + 1])[0], together[i])
    # Rows differ, so that this says something.
    assert (together[0] - together[1]).abs().max() > 1e-4


@every_encoder
def test_every_value_of_a_row_counts(name):
    encoder = make(name, dropout=0.0).eval()
    x = batch(3, (6, 2)).requires_grad_()
    encoder(x).abs().sum().backward()
    assert (x.grad != 0).all()


@every_encoder
def test_pickle(name):
    encoder = make(name).eval()
    x = batch(3, (6, 2))
    assert torch.equal(pickle.loads(pickle.dumps(encoder))(x), encoder(x))


@every_encoder
def test_state_dict_round_trip(name):
    encoder, other = (
        make(name),
        make_encoder(name, (6, 2), D, encoder_params=PARAMS[name]),
    )
    x = batch(8, (6, 2))
    encoder(x)  # moves the running statistics
    assert not torch.equal(encoder.eval()(x), other.eval()(x))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(x), other(x))


@every_encoder
def test_dropout_is_for_training(name):
    encoder, x = make(name, dropout=0.5), batch(4, (6, 2))
    rates = {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)}
    assert rates == (set() if name == "linear" else {0.5})
    assert torch.equal(encoder.train()(x), encoder(x)) == (name == "linear")
    assert torch.equal(encoder.eval()(x), encoder(x))


@every_encoder
def test_making_one_draws_only_its_weights(name):
    """The trial run on zeros is no training, and costs no random numbers."""
    made = make(name, dropout=0.5)
    after = torch.rand(1)
    torch.manual_seed(0)
    plain = ENCODERS[name]((6, 2), D, **PARAMS[name])
    assert torch.equal(torch.rand(1), after)
    assert made.state_dict().keys() == plain.state_dict().keys()
    for key, value in made.state_dict().items():
        assert torch.equal(value, plain.state_dict()[key]), key


# The architectures


def count(encoder):
    return sum(p.numel() for p in encoder.parameters())


def kinds(module):
    return [type(m) for m in module.modules() if not list(m.children())]


@pytest.mark.parametrize(("n_timesteps", "n_bands", "dim"), [(4, 8, 128), (12, 2, 64)])
def test_tempcnn_is_the_published_one(n_timesteps, n_bands, dim):
    encoder = make_encoder("tempcnn", (n_timesteps, n_bands), dim)
    by_hand = (
        (n_bands * 5 * 128 + 128)  # first convolution
        + 2 * 128
        + (128 * 5 * 128 + 128)  # second convolution
        + 2 * 128
        + (128 * n_timesteps * 512 + 512)  # dense layer of 4 * 128
        + 2 * 512
        + (512 * dim + dim)  # to the embedding
    )
    assert count(encoder) == by_hand
    assert kinds(encoder) == [
        *[nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.Dropout] * 2,
        *[nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Linear],
    ]
    assert {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)} == {0.2}


def test_tempcnn_sees_the_order_of_time():
    encoder = make("tempcnn").eval()
    x = batch(2, (6, 2))
    assert not torch.allclose(encoder(x), encoder(x.flip(1)))


def test_tempcnn_convolves_over_time_and_not_over_bands():
    encoder = make_encoder("tempcnn", (7, 2), D, encoder_params={"kernel_size": 3})
    seen = []
    encoder.convolutions[0].register_forward_hook(lambda *call: seen.append(call[-1]))
    x = batch(1, (7, 2))
    encoder.eval()(x)
    x[0, 2] += 1  # the third time step, of both bands
    encoder(x)
    before, after = seen  # (1, C, T)
    changed = (before != after).any(dim=1)[0]
    assert changed.tolist() == [False, True, True, True, False, False, False]


def test_tempcnn_parameters():
    params = {"n_channels": 16, "n_layers": 3, "kernel_size": 3}
    encoder = make_encoder("tempcnn", (9, 4), D, encoder_params=params)
    by_hand = (
        (4 * 3 * 16 + 16)
        + 2 * (16 * 3 * 16 + 16)
        + 3 * 2 * 16
        + (16 * 9 * 64 + 64)
        + 2 * 64
        + (64 * D + D)
    )
    assert count(encoder) == by_hand


def test_mlp_parameters():
    by_hand = (8 * 128 + 128) + 256 + (128 * 128 + 128) + 256 + (128 * D + D)
    assert count(make_encoder("mlp", (8,), D)) == by_hand
    assert count(make_encoder("mlp", (4, 2), D)) == by_hand
    one = make_encoder("mlp", (8,), D, encoder_params={"hidden_dims": (5,)})
    assert count(one) == (8 * 5 + 5) + 10 + (5 * D + D)
    none = make_encoder("mlp", (8,), D, encoder_params={"hidden_dims": ()})
    assert count(none) == 8 * D + D


def test_linear_is_linear():
    encoder = make_encoder("linear", (2, 3), D)
    x = batch(4, (2, 3))
    expected = x.reshape(4, 6) @ encoder.linear.weight.T + encoder.linear.bias
    torch.testing.assert_close(encoder(x), expected)
    assert count(encoder) == 6 * D + D


def test_gru_parameters():
    params = {"hidden_dim": 5, "n_layers": 2}
    encoder = make_encoder("gru", (9, 4), D, dropout=0.3, encoder_params=params)
    first, second = (3 * 5 * (width + 5) + 2 * 3 * 5 for width in (4, 5))
    assert count(encoder) == first + second + (5 * D + D)
    assert encoder.gru.dropout == 0.3


def test_gru_reads_the_whole_series_in_order():
    encoder = make("gru").eval()
    x = batch(2, (6, 2))
    assert not torch.allclose(encoder(x), encoder(x.flip(1)))
    states, last = encoder.gru(x)
    torch.testing.assert_close(encoder(x), encoder.head(last[0]))
    torch.testing.assert_close(states[:, -1], last[0])


# Choosing one


@pytest.mark.parametrize(
    ("shape", "name", "kind"),
    [((8,), "mlp", MLPEncoder), ((12, 3), "tempcnn", TempCNNEncoder)],
)
def test_auto(shape, name, kind):
    assert choose_encoder(shape) == name
    assert type(make_encoder("auto", shape, D)) is kind


def test_auto_has_nothing_for_images():
    message = (
        "encoder='auto' is for tables (n_samples, n_features) and time series "
        "(n_samples, n_timesteps, n_bands); for the shape (n_samples, 4, 5, 3) give an "
        "encoder: 'mlp', 'linear', or a torch.nn.Module class."
    )
    assert error_of(ValueError, choose_encoder, (4, 5, 3)) == message
    assert error_of(ValueError, make_encoder, "auto", (4, 5, 3), D) == message


def test_names():
    kinds_by_name = {name: type(make(name)) for name in ENCODERS}
    assert kinds_by_name == {
        "linear": LinearEncoder,
        "mlp": MLPEncoder,
        "tempcnn": TempCNNEncoder,
        "gru": GRUEncoder,
    }


def test_unknown_name():
    assert error_of(ValueError, make_encoder, "lstm", (6, 2), D) == (
        "Unknown encoder 'lstm'; valid names are ['auto', 'linear', 'mlp', 'tempcnn', "
        "'gru'], or give a torch.nn.Module class or factory."
    )


@pytest.mark.parametrize("name", sorted(TIME_SERIES))
@pytest.mark.parametrize(("shape", "text"), [((8,), "8"), ((4, 5, 3), "4, 5, 3")])
def test_time_series_encoder_for_another_rank(name, shape, text):
    assert error_of(ValueError, make_encoder, name, shape, D) == (
        f"Encoder {name!r} reads time series (n_samples, n_timesteps, n_bands); the "
        f"modality has the shape (n_samples, {text})."
    )


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("linear", []),
        ("mlp", ["hidden_dims", "dropout"]),
        ("tempcnn", ["n_channels", "n_layers", "kernel_size", "dropout"]),
        ("gru", ["hidden_dim", "n_layers", "dropout"]),
    ],
)
def test_unknown_parameter(name, valid):
    params = {"n_heads": 4, **dict.fromkeys(valid, 1)}
    text = error_of(ValueError, make_encoder, name, (6, 2), D, encoder_params=params)
    assert text == (
        f"Unknown encoder_params ['n_heads'] for the encoder {name!r}; valid are "
        f"{valid}."
    )


# A user's own


class MeanEncoder(nn.Module):
    def __init__(self, input_shape, embedding_dim, dropout=0.0, scale=1.0):
        super().__init__()
        self.input_shape, self.dropout, self.scale = input_shape, dropout, scale
        self.linear = nn.Linear(input_shape[-1], embedding_dim)

    def forward(self, x):
        return self.linear(x.mean(dim=1)) * self.scale


def flat(input_shape, embedding_dim):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), embedding_dim))


def test_class():
    encoder = make_encoder(
        MeanEncoder, (6, 2), D, dropout=0.7, encoder_params={"scale": 3.0}
    )
    assert type(encoder) is MeanEncoder
    assert (encoder.input_shape, encoder.dropout, encoder.scale) == ((6, 2), 0.7, 3.0)


def test_dropout_of_the_encoder_itself_goes_first():
    params = {"dropout": 0.1}
    encoder = make_encoder(MeanEncoder, (6, 2), D, dropout=0.7, encoder_params=params)
    assert encoder.dropout == 0.1
    assert params == {"dropout": 0.1}


def test_function_without_dropout():
    encoder = make_encoder(flat, (6, 2), D, dropout=0.7)
    assert encoder(batch(3, (6, 2))).shape == (3, D)


def test_partial():
    encoder = make_encoder(functools.partial(MeanEncoder, scale=2.0), (6, 2), D)
    assert encoder.scale == 2.0


def test_factory_with_any_parameters():
    seen = []

    def factory(input_shape, embedding_dim, **params):
        seen.append(params)
        return flat(input_shape, embedding_dim)

    make_encoder(factory, (6, 2), D, encoder_params={"anything": 1})
    make_encoder(factory, (6, 2), D)
    assert seen == [{"anything": 1}, {}]


def test_unknown_parameter_of_a_class():
    assert error_of(
        ValueError, make_encoder, MeanEncoder, (6, 2), D, encoder_params={"depth": 1}
    ) == (
        "Unknown encoder_params ['depth'] for the encoder 'MeanEncoder'; valid are "
        "['dropout', 'scale']."
    )


@pytest.mark.parametrize(
    "encoder",
    [nn.Linear(2, 3), nn.ReLU(), 3, None],
    ids=["module", "relu", "3", "None"],
)
def test_what_makes_no_encoder(encoder):
    assert error_of(TypeError, make_encoder, encoder, (6, 2), D) == (
        "An encoder is a name, or a class or factory that makes a torch.nn.Module (a "
        f"modality needs two of them); got {encoder!r}."
    )


def test_factory_of_something_else():
    def linear(input_shape, embedding_dim):
        return "linear"

    assert error_of(TypeError, make_encoder, linear, (6, 2), D) == (
        "Encoder 'linear' has to make a torch.nn.Module; it made 'linear'."
    )


class Returns(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output(x)


def pair(x):
    return x, x


@pytest.mark.parametrize(
    ("output", "got"),
    [
        (lambda x: torch.zeros(len(x), 5), "(2, 5)"),
        (lambda x: torch.zeros(len(x), 3, D), "(2, 3, 6)"),
        (lambda x: torch.zeros(D), "(6,)"),
        (pair, "tuple"),
    ],
    ids=["width", "rank", "no batch", "tuple"],
)
def test_output_of_another_shape(output, got):
    def factory(input_shape, embedding_dim):
        return Returns(output)

    assert error_of(ValueError, make_encoder, factory, (6, 2), D) == (
        f"Encoder 'factory' has to map (B, 6, 2) to (B, 6); for B = 2 it gave {got}."
    )


def test_the_trial_run_leaves_mode_and_statistics():
    class Normalised(nn.Module):
        def __init__(self, input_shape, embedding_dim):
            super().__init__()
            self.norm = nn.BatchNorm1d(input_shape[0])
            self.linear = nn.Linear(input_shape[0], embedding_dim)

        def forward(self, x):
            return self.linear(self.norm(x))

    encoder = make_encoder(Normalised, (4,), D)
    assert encoder.training
    assert encoder.norm.training
    assert encoder.norm.num_batches_tracked == 0
