import functools
import math
import pickle
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from tools import refused
from torch import nn

from sklearn_colearn import CoLearnClassifier, ModalityDict
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.encoders import (
    ENCODERS,
    PretrainedEncoder,
    choose_encoder,
    make_encoder,
    takes,
)
from sklearn_colearn.encoders.steps import (
    Dropout,
    convolved,
    max_of_three,
    normalized,
    positions,
    sinusoids,
)

D = 6
ANY_RANK = ("linear", "mlp")
IMAGES = ("resnet",)
PRESTO = "presto"  # reads the bands that it knows
TIME_SERIES = tuple(name for name in ENCODERS if name not in ANY_RANK + IMAGES)
SERIES_SHAPES = [(6, 2), (1, 3), (1, 1), (12, 1), (5, 200), (365, 2)]
PRESTO_SHAPES = [(6, 2), (1, 2), (24, 2)]
IMAGE_SHAPES = [(4, 5, 3), (1, 1, 1), (9, 9, 200), (16, 7, 1)]
CASES = [
    (name, shape)
    for name in ENCODERS
    for shape in (
        *(SERIES_SHAPES if name not in (*IMAGES, PRESTO) else ()),
        *(PRESTO_SHAPES if name == PRESTO else ()),
        *([(1,), (8,), (200,), (4, 5, 3)] if name in ANY_RANK else ()),
        *(IMAGE_SHAPES if name in IMAGES else ()),
    )
]
SHAPE = {name: (4, 5, 3) if name in IMAGES else (6, 2) for name in ENCODERS}
RECURRENT = {"hidden_dim": 8}
# Narrow, as it is the shapes that are tested.
PARAMS = {
    "linear": {},
    "mlp": {"hidden_dims": [9, 7]},
    "tempcnn": {"n_channels": 8},
    "rnn": RECURRENT,
    "lstm": RECURRENT,
    "gru": RECURRENT,
    "tae": {"model_dim": 8, "n_heads": 2, "key_dim": 4, "hidden_dim": 16},
    "ltae": {"model_dim": 16, "n_heads": 4, "key_dim": 3, "hidden_dim": 16},
    "transformer": {"model_dim": 8, "n_heads": 2, "hidden_dim": 16},
    "convtran": {"model_dim": 8, "n_heads": 2, "kernel_size": 3, "hidden_dim": 16},
    "inceptiontime": {"n_channels": 4},
    "resnet": {"n_channels": (6, 8)},
    "presto": {"weights": "random", "band_names": ["VV", "VH"], "month": 1},
}
# Over one time step a recurrent network never uses its state, which begins with zero,
# and attention has nothing to choose from.
IDLE_OVER_ONE_STEP = ("weight_hh", "query", "key", "master")

every_case = pytest.mark.parametrize(
    ("name", "shape"), CASES, ids=lambda v: v if isinstance(v, str) else str(v)
)
every_encoder = pytest.mark.parametrize("name", list(ENCODERS))


def make(name, shape=None, embedding_dim=D, seed=0, params=None, **options):
    torch.manual_seed(seed)
    return make_encoder(
        name,
        shape or SHAPE[name],
        embedding_dim,
        encoder_params={**PARAMS[name], **(params or {})},
        **options,
    )


def batch(n, shape, seed=1):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


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
        if not (
            shape[0] == 1 and any(word in parameter for word in IDLE_OVER_ONE_STEP)
        ):
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
    x = batch(3, SHAPE[name]).requires_grad_()
    encoder(x).abs().sum().backward()
    assert (x.grad != 0).all()


@every_encoder
def test_pickle(name):
    encoder = make(name).eval()
    x = batch(3, SHAPE[name])
    assert torch.equal(pickle.loads(pickle.dumps(encoder))(x), encoder(x))


@every_encoder
def test_state_dict_round_trip(name):
    encoder, other = make(name), make(name, seed=1)
    x = batch(8, SHAPE[name])
    encoder(x)  # moves the running statistics
    assert not torch.equal(encoder.eval()(x), other.eval()(x))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(x), other(x))


@every_encoder
def test_dropout_is_for_training(name):
    encoder, x = make(name, dropout=0.5), batch(4, SHAPE[name])
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
    plain = ENCODERS[name](SHAPE[name], D, **PARAMS[name])
    assert torch.equal(torch.rand(1), after)
    assert made.state_dict().keys() == plain.state_dict().keys()
    for key, value in made.state_dict().items():
        assert torch.equal(value, plain.state_dict()[key]), key


@every_encoder
def test_bfloat16_autocast(name):
    encoder, x = make(name, dropout=0.0), batch(8, SHAPE[name])
    inputs = gaps(8, 6) if takes(encoder) else {}
    inputs = {key: inputs[key] for key in takes(encoder)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trained = encoder(x, **inputs)
        answer = encoder.eval()(x, **inputs)
    trained.float().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())
    torch.testing.assert_close(answer.float(), encoder(x, **inputs), rtol=0.1, atol=0.1)


@every_encoder
@pytest.mark.slow
def test_compiled_encoders_agree(name):
    encoder, x = make(name).eval(), batch(3, SHAPE[name])
    inputs = {key: gaps(3, 6)[key] for key in takes(encoder)}
    expected = encoder(x, **inputs)
    keys = list(encoder.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch's compiler warns of is its own
        encoder.compile(backend="eager")
        torch.testing.assert_close(encoder(x, **inputs), expected)
    assert list(encoder.state_dict()) == keys


@pytest.mark.slow
@every_encoder
def test_learns(name):
    """As it comes: all are near .8, and chance is a third."""
    X, y = make_multisensor(
        240,
        modalities={"A": SHAPE[name], "B": SHAPE[name]},
        specific_signal=0.0,
        noise=0.3,
        random_state=0,
    )
    params = None
    if name == PRESTO:
        X = ModalityDict({m: 8 * x - 12 for m, x in X.items()})  # as dB vary
        params = {**PARAMS[name], "lr_scale": 1.0}
    clf = CoLearnClassifier(
        encoder=name,
        encoder_params=params,
        embedding_dim=32,
        batch_size=40,
        weight_decay=0.01,
        cv=None,
        max_epochs=10,
        random_state=0,
    ).fit(X[:160], y[:160])
    for modality in X:
        assert clf.score(X[160:].select(modality), y[160:]) > 0.55


# Times and gaps


def gaps(n, n_timesteps, seed=2):
    """Return times of each row, and which steps it has: half of them, one at least.

    Every second of the values of these is observed.
    """
    generator = torch.Generator().manual_seed(seed)
    days = torch.rand(n, n_timesteps, generator=generator) * 360
    mask = torch.rand(n, n_timesteps, generator=generator) < 0.5
    mask[:, n_timesteps // 2] |= ~mask.any(dim=1)
    observed = torch.rand(n, n_timesteps, 2, generator=generator) < 0.5
    observed[~observed.any(dim=2)] = True
    given = {"times": days.sort(dim=1).values, "mask": mask}
    return {**given, "observed": observed & mask[..., None]}


ATTENTION = ("tae", "ltae", "transformer")
TAKE_TIMES = (*ATTENTION, "convtran")
TAKE_MASKS = (*TAKE_TIMES, "rnn", "lstm", "gru", "inceptiontime", PRESTO)
masked_encoders = pytest.mark.parametrize("name", TAKE_MASKS)


def test_takes():
    taken = {name: takes(make(name)) for name in ENCODERS}
    with_times = {name for name in taken if "times" in taken[name]}
    assert with_times == {*TAKE_TIMES, PRESTO}
    assert {name for name in taken if "mask" in taken[name]} == set(TAKE_MASKS)
    assert {name for name in taken if "observed" in taken[name]} == {PRESTO}


def step(encoder, x, inputs):
    """Return the answer, the gradients and the statistics of one step of training."""
    output = encoder(x, **inputs)
    (output * torch.arange(1.0, D + 1)).sum().backward()
    return (
        output.detach(),
        *(p.grad for p in encoder.parameters()),
        *(buffer.clone() for buffer in encoder.buffers()),
    )


@masked_encoders
@pytest.mark.parametrize("garbage", [1e6, math.inf, math.nan])
@pytest.mark.parametrize("training", [True, False])
def test_masked_values_change_nothing(name, garbage, training):
    results = []
    for filled in (0.0, garbage):
        encoder = make(name, dropout=0.0).train(training)
        inputs = {key: gaps(8, 6)[key] for key in takes(encoder)}
        x = batch(8, (6, 2)).masked_fill(~inputs["mask"][..., None], filled)
        if "times" in inputs:
            inputs["times"] = inputs["times"].masked_fill(~inputs["mask"], filled)
        results.append(step(encoder, x, inputs))
    for a, b in zip(*results, strict=True):
        assert torch.isfinite(a).all()
        assert torch.equal(a, b)


@masked_encoders
@pytest.mark.parametrize("training", [True, False])
def test_a_mask_of_all_steps_is_none(name, training):
    x = batch(8, (6, 2))
    everywhere = torch.ones(8, 6, dtype=torch.bool)
    with_mask, without = (
        step(make(name, dropout=0.0).train(training), x, inputs)
        for inputs in ({"mask": everywhere}, {})
    )
    for a, b in zip(with_mask, without, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *((name, {}) for name in (*ATTENTION, "rnn", "lstm", "gru")),
        *((name, {"bidirectional": True, "n_layers": 2}) for name in ("rnn", "lstm")),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_masking_a_step_equals_removing_it(name, params, training):
    encoder = make(name, dropout=0.0, params=params).train(training)
    x, times = batch(8, (6, 2)), gaps(8, 6)["times"]
    there = torch.tensor([False, True, True, False, True, False])
    inputs = {"times": times} if "times" in takes(encoder) else {}
    short = {key: value[:, there] for key, value in inputs.items()}
    torch.testing.assert_close(
        encoder(x, mask=there.expand(8, 6), **inputs), encoder(x[:, there], **short)
    )


@masked_encoders
def test_a_mask_of_each_row(name):
    """Rows with gaps of their own in one batch are as each of them alone."""
    encoder = make(name).eval()
    x, inputs = batch(8, (6, 2)), gaps(8, 6)
    inputs = {key: inputs[key] for key in takes(encoder)}
    together = encoder(x, **inputs)
    for i in range(8):
        alone = encoder(x[[i]], **{key: value[[i]] for key, value in inputs.items()})
        torch.testing.assert_close(alone[0], together[i])
    assert not torch.allclose(together, encoder(x))


@masked_encoders
def test_one_observed_step(name):
    encoder = make(name, dropout=0.0).train()
    mask = torch.eye(6, dtype=torch.bool)
    x = batch(6, (6, 2))
    for result in step(encoder, x, {"mask": mask}):
        assert torch.isfinite(result).all()


@pytest.mark.parametrize("name", TAKE_TIMES)
def test_times_count(name):
    encoder, x = make(name).eval(), batch(4, (6, 2))
    times = gaps(4, 6)["times"]
    answer = encoder(x, times)
    assert not torch.allclose(answer, encoder(x), atol=1e-3)
    assert not torch.allclose(answer, encoder(x, times + 30), atol=1e-3)
    days = torch.arange(6.0)
    each, of_all = encoder(x, days.repeat(4, 1)), encoder(x, days[None])
    torch.testing.assert_close(each, of_all)


@pytest.mark.parametrize("name", ATTENTION)
def test_step_indices_stand_in_for_times(name):
    encoder, x = make(name).eval(), batch(4, (6, 2))
    torch.testing.assert_close(encoder(x), encoder(x, torch.arange(6.0)[None]))


@pytest.mark.parametrize("name", ATTENTION)
def test_order_of_steps_does_not_matter_with_times(name):
    encoder, x = make(name).eval(), batch(4, (6, 2))
    times = gaps(4, 6)["times"]
    torch.testing.assert_close(encoder(x.flip(1), times.flip(1)), encoder(x, times))


def test_positions():
    x = torch.zeros(2, 3, 4)
    assert positions(x, None, None).tolist() == [[0.0, 1.0, 2.0]]
    times = torch.tensor([[1.0, 5.0, math.nan], [2.0, 3.0, 4.0]])
    mask = ~times.isnan()
    assert positions(x, times, mask).tolist() == [[1.0, 5.0, 0.0], [2.0, 3.0, 4.0]]
    assert positions(x, times, None) is times


@pytest.mark.parametrize("dim", [1, 4, 5])
def test_sinusoids_are_the_published_ones(dim):
    when = torch.tensor([[0.0, 3.0, 700.5]])
    encoding = sinusoids(when, dim)
    assert encoding.shape == (1, 3, dim)
    for t, day in enumerate(when[0].tolist()):
        for i in range(dim):
            angle = day / 10000 ** ((i - i % 2) / dim)
            expected = math.cos(angle) if i % 2 else math.sin(angle)
            assert encoding[0, t, i].item() == pytest.approx(expected, abs=1e-4)


def test_normalisation_by_the_observed_steps():
    norm = nn.BatchNorm1d(3)
    x, mask = batch(4, (5, 3)), gaps(4, 5)["mask"]
    output = normalized(norm, x, mask)
    observed = torch.stack([x[i, t] for i, t in mask.nonzero().tolist()])
    expected = (observed - observed.mean(0)) / (
        observed.var(0, correction=0) + 1e-5
    ) ** 0.5
    torch.testing.assert_close(output[mask], expected)
    torch.testing.assert_close(norm.running_mean, 0.1 * observed.mean(0))
    assert not output[~mask].any()
    # At inference too, so that later convolutions see there what they saw in training.
    assert not normalized(norm.eval(), x, mask)[~mask].any()


def both_ways(function, plain, *tensors):
    """Assert that two functions and their gradients agree."""
    for t in tensors:
        t.requires_grad_()
    found, expected = function(), plain()
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), tensors),
        torch.autograd.grad((expected * weights).sum(), tensors),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("n_steps", [1, 4, 30])
@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_are_those_of_torch(n_steps, size, bias):
    layer = nn.Conv1d(3, 6, size, padding="same", bias=bias)
    x = batch(7, (n_steps, 3))

    def plain():
        return F.conv1d(
            F.pad(x.mT, ((size - 1) // 2, size // 2)), layer.weight, layer.bias
        ).mT

    both_ways(lambda: convolved(layer, x), plain, x, *layer.parameters())
    strided = torch.stack([x.detach(), x.detach()], dim=-1)[..., 0]
    torch.testing.assert_close(convolved(layer, strided), plain())


@pytest.mark.parametrize("n_steps", [1, 2, 12])
def test_max_of_three_is_max_pooling(n_steps):
    x = batch(7, (n_steps, 3))

    def plain():
        return F.max_pool1d(x.mT, 3, stride=1, padding=1).mT

    both_ways(lambda: max_of_three(x), plain, x)


def test_dropout_keeps_the_mean():
    layer, x = Dropout(0.2), torch.ones(200, 501)
    dropped = layer(x)
    assert abs((dropped == 0).float().mean() - 0.2) < 0.01
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.8), rtol=1e-4, atol=0)
    assert not torch.equal(layer(x), dropped)
    assert layer.eval()(x) is x
    assert not Dropout(1.0)(x).any()
    assert torch.equal(Dropout(0.0)(x), x)


# The architectures


def count(encoder):
    return sum(p.numel() for p in encoder.parameters())


def kinds(module):
    leaves = [m for m in module.modules() if not list(m.children())]
    return [nn.Dropout if isinstance(m, nn.Dropout) else type(m) for m in leaves]


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


@pytest.mark.parametrize("name", ["tempcnn", "rnn", "gru", "lstm", "resnet"])
def test_order_along_the_first_axis_matters(name):
    encoder, x = make(name).eval(), batch(2, SHAPE[name])
    assert not torch.allclose(encoder(x), encoder(x.flip(1)))


def test_tempcnn_convolves_over_time_and_not_over_bands():
    encoder = make_encoder("tempcnn", (7, 2), D, encoder_params={"kernel_size": 3})
    seen = []
    encoder.convolutions[2].register_forward_hook(lambda *call: seen.append(call[-1]))
    x = batch(1, (7, 2))
    encoder.eval()(x)
    x[0, 2] += 1  # the third time step, of both bands
    encoder(x)
    before, after = seen  # (1, T, C)
    changed = (before != after).any(dim=2)[0]
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


@pytest.mark.parametrize(("name", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_parameters(name, gates, directions):
    params = {"hidden_dim": 5, "n_layers": 2, "bidirectional": directions == 2}
    encoder = make_encoder(name, (9, 4), D, dropout=0.3, encoder_params=params)
    first, second = (
        directions * gates * (5 * (width + 5) + 2 * 5) for width in (4, 5 * directions)
    )
    assert count(encoder) == first + second + (directions * 5 * D + D)
    assert encoder.recurrent.dropout == 0.3


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_networks_read_their_last_states(name, bidirectional):
    encoder = make(name, params={"bidirectional": bidirectional}).eval()
    x = batch(2, (6, 2))
    states, _ = encoder.recurrent(x)  # (B, T, H or 2 H)
    ends = torch.cat([states[:, -1, :8], states[:, 0, 8:]], dim=1)
    torch.testing.assert_close(encoder(x), encoder.head(ends))


@torch.no_grad()
def softmax_attention(query, keys, values):
    """One query over the steps of one row, in plain loops."""
    scores = [float(query @ key) / len(query) ** 0.5 for key in keys]
    weights = [math.exp(score - max(scores)) for score in scores]
    return sum(w / sum(weights) * v for w, v in zip(weights, values, strict=True))


def test_tae_by_hand():
    encoder, x = make("tae").eval(), batch(1, (6, 2))
    steps = encoder.step(x)[0] + sinusoids(torch.arange(6.0)[None], 8, 1000.0)[0]
    master = encoder.master(encoder.query(steps).mean(0))
    heads = [
        softmax_attention(master[h : h + 4], encoder.key(steps)[:, h : h + 4], steps)
        for h in (0, 4)
    ]
    torch.testing.assert_close(encoder(x), encoder.dense(torch.cat(heads)[None]))


def test_ltae_by_hand():
    encoder, x = make("ltae").eval(), batch(1, (6, 2))
    steps, when = encoder.step(x)[0], sinusoids(torch.arange(6.0)[None], 4, 1000.0)[0]
    heads = []
    for h in range(4):
        values = steps[:, 4 * h : 4 * h + 4] + when
        heads.append(
            softmax_attention(encoder.query[h, 0], values @ encoder.key[h], values)
        )
    torch.testing.assert_close(encoder(x), encoder.dense(torch.cat(heads)[None]))


def test_the_transformer_reads_its_class_token():
    encoder, x = make("transformer").eval(), batch(2, (6, 2))
    with torch.no_grad():
        for layer in encoder.layers:
            layer.out.weight.zero_()
            layer.out.bias.zero_()  # nothing comes from other steps any more
    torch.testing.assert_close(encoder(x)[0], encoder(x)[1])


def test_convtran_weighs_lags():
    encoder, x = make("convtran").eval(), batch(2, (6, 2))
    before = encoder(x)
    times = torch.arange(6.0)[None]
    with torch.no_grad():
        encoder.lag_weights[:, 365 + 3] = 1.0  # three steps back
        lags = encoder._lag_bias(times)[0]
        half = encoder._lag_bias(times / 2)[0]  # a step is half a day
    assert lags.shape == (2, 6, 6)
    i, j = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    assert torch.equal(lags[0], (i - j == 3).float())
    # Between two lags the weights are interpolated.
    assert half[0, 5, 0] == 0.5
    assert not torch.allclose(encoder(x), before)
    far = encoder._lag_bias(torch.tensor([[0.0, 1e5]]))
    assert torch.isfinite(far).all()


def test_inceptiontime_crops_kernels_to_the_series():
    sizes = [c.kernel_size for c in make("inceptiontime").inceptions[0].convolutions]
    assert sizes == [(9,), (11,), (11,)]
    encoder = make("inceptiontime", (365, 2))
    sizes = [c.kernel_size for c in encoder.inceptions[0].convolutions]
    assert sizes == [(9,), (19,), (39,)]
    assert len(make("inceptiontime", params={"n_layers": 7}).shortcuts) == 2


@pytest.mark.parametrize("sizes", [[3, 4], []])
def test_inceptiontime_kernels_are_odd(sizes):
    params = {"kernel_sizes": sizes}
    refused(
        make, "inceptiontime", params=params, says=f"kernel_sizes ... odd ... {sizes}"
    )


@pytest.mark.parametrize("name", ["ltae", "transformer", "convtran"])
def test_model_dim_must_be_a_multiple_of_n_heads(name):
    params = {"model_dim": 10, "n_heads": 4}
    refused(make, name, params=params, says="model_dim=10 ... n_heads=4")


def test_resnet_halves_the_image_and_needs_channels():
    encoder = make("resnet", (16, 7, 1))
    assert encoder.blocks(batch(2, (1, 16, 7))).shape == (2, 8, 8, 4)
    refused(make, "resnet", params={"n_channels": ()}, says="n_channels")


# Choosing one


@pytest.mark.parametrize(
    ("shape", "name"),
    [((8,), "mlp"), ((12, 3), "ltae"), ((65, 3), "ltae"), ((4, 5, 3), "resnet")],
)
def test_auto(shape, name):
    assert choose_encoder(shape) == name
    assert type(make_encoder("auto", shape, D)) is ENCODERS[name]


def test_auto_refuses_cubes():
    message = "'auto' ... (n_samples, 2, 4, 5, 3) ... 'mlp' ... torch.nn.Module"
    refused(choose_encoder, (2, 4, 5, 3), says=message)
    refused(make_encoder, "auto", (2, 4, 5, 3), D, says=message)


def test_names():
    for name in ENCODERS:
        assert type(make(name)).__name__.lower() == f"{name}encoder"


@pytest.mark.parametrize("name", ["cnn", "pretrained", "pretrained:", "gru:x"])
def test_unknown_name(name):
    valid = " ... ".join(map(repr, ["auto", *ENCODERS, "pretrained:<timm name>"]))
    refused(make_encoder, name, (6, 2), D, says=f"{name!r} ... {valid}")


@pytest.mark.parametrize("name", [*TIME_SERIES, *IMAGES, "pretrained:resnet18"])
def test_an_encoder_refuses_other_ranks(name):
    reads, other = "time series", (4, 5, 3)
    if name not in TIME_SERIES:
        reads, other = "images", (6, 2)
    for shape, text in (((8,), "8"), (other, str(other)[1:-1])):
        expected = f"{name!r} ... {reads} ... (n_samples, {text})"
        refused(make_encoder, name, shape, D, says=expected)


VALID = {
    "linear": [],
    "mlp": ["hidden_dims", "dropout"],
    "tempcnn": ["n_channels", "n_layers", "kernel_size", "dropout"],
    "rnn": ["hidden_dim", "n_layers", "bidirectional", "dropout"],
    "lstm": ["hidden_dim", "n_layers", "bidirectional", "dropout"],
    "gru": ["hidden_dim", "n_layers", "bidirectional", "dropout"],
    "tae": ["model_dim", "n_heads", "key_dim", "hidden_dim", "dropout"],
    "ltae": ["model_dim", "n_heads", "key_dim", "hidden_dim", "dropout"],
    "transformer": ["model_dim", "n_heads", "n_layers", "hidden_dim", "dropout"],
    "convtran": ["model_dim", "n_heads", "kernel_size", "hidden_dim", "dropout"],
    "inceptiontime": ["n_channels", "n_layers", "kernel_sizes", "dropout"],
    "resnet": ["n_channels", "dropout"],
    "presto": [
        *("weights", "month", "band_names", "freeze", "lr_scale", "bands", "dropout")
    ],
    "pretrained:resnet18": ["pretrained", "image_size", "dropout"],
}


@pytest.mark.parametrize("name", VALID)
def test_unknown_parameter(name):
    valid = VALID[name]
    params = {"depth": 4, **dict.fromkeys(valid, 1)}
    shape = SHAPE.get(name, (4, 5, 3))
    expected = f"encoder_params ... ['depth'] ... {name!r} ... {valid}"
    refused(make_encoder, name, shape, D, encoder_params=params, says=expected)
    assert set(VALID) > set(ENCODERS)


# Networks of timm


@pytest.fixture
def timm():
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm cannot be imported here: {error}")
    return timm


@pytest.mark.parametrize("n_bands", [1, 3, 13])
def test_a_network_of_timm(timm, n_bands):
    params = {"pretrained": False, "image_size": 64}
    encoder = make_encoder(
        "pretrained:resnet10t", (9, 7, n_bands), D, dropout=0.4, encoder_params=params
    )
    assert isinstance(encoder, PretrainedEncoder)
    assert encoder.network.drop_rate == 0.4
    output = encoder(batch(4, (9, 7, n_bands)))
    assert output.shape == (4, D)
    output.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    x = batch(3, (9, 7, n_bands))
    again = pickle.loads(pickle.dumps(encoder.eval()))
    assert torch.equal(again(x), encoder(x))


def test_images_are_resized_to_the_training_size(timm):
    encoder = PretrainedEncoder("resnet10t", (9, 7, 2), D, pretrained=False)
    assert encoder.image_size == encoder.network.pretrained_cfg["input_size"][-1]


def test_unknown_timm_network(timm):
    expected = "'resnet_99' ... timm.list_models() ... 'resnet"
    refused(make_encoder, "pretrained:resnet_99", (9, 9, 3), D, says=expected)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    name, expected = "pretrained:resnet18", "[timm] ... torchvision"
    refused(make_encoder, name, (9, 9, 3), D, says=expected, error=ImportError)


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


def test_encoder_params_override_dropout():
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
    expected = "['depth'] ... 'MeanEncoder' ... ['dropout', 'scale']"
    params = {"depth": 1}
    refused(make_encoder, MeanEncoder, (6, 2), D, encoder_params=params, says=expected)


@pytest.mark.parametrize(
    "encoder",
    [nn.Linear(2, 3), nn.ReLU(), 3, None],
    ids=["module", "relu", "3", "None"],
)
def test_refused_encoder_objects(encoder):
    expected = f"class or factory ... {encoder!r}"
    refused(make_encoder, encoder, (6, 2), D, says=expected, error=TypeError)


def test_a_factory_must_return_a_module():
    def linear(input_shape, embedding_dim):
        return "linear"

    expected = "'linear' ... torch.nn.Module"
    refused(make_encoder, linear, (6, 2), D, says=expected, error=TypeError)


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
def test_output_of_another_shape_is_refused(output, got):
    def factory(input_shape, embedding_dim):
        return Returns(output)

    expected = f"'factory' ... (B, 6, 2) ... (B, 6) ... {got}"
    refused(make_encoder, factory, (6, 2), D, says=expected)


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
