"""Every term again in plain loops, and the figures of the published implementation."""

import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_colearn import losses
from sklearn_colearn.losses import (
    TASK_LOSSES,
    CoLearnLoss,
    auxiliary_term,
    contrastive_term,
    discriminative_term,
    distillation_term,
    main_term,
    nt_xent,
    teacher_term,
)
from sklearn_colearn.network import CoLearnNetwork, NetworkOutput

B = 7
NAMES = ("S1", "S2", "soil")
PARITY = np.load(Path(__file__).parent / "data" / "parity.npz")


# The terms in plain Python. A tensor is a list of rows here.


def loop_cross_entropy(row, target):
    return math.log(sum(math.exp(v) for v in row)) - row[int(target)]


def loop_binary_cross_entropy(row, target):
    total = 0.0
    for logit, label in zip(row, target, strict=True):
        p = 1 / (1 + math.exp(-logit))
        total -= label * math.log(p) + (1 - label) * math.log(1 - p)
    return total / len(row)


def loop_squared_error(row, target):
    return sum((v - t) ** 2 for v, t in zip(row, target, strict=True)) / len(row)


LOOPS = {
    "cross_entropy": loop_cross_entropy,
    "binary_cross_entropy": loop_binary_cross_entropy,
    "squared_error": loop_squared_error,
}


def loop_mean(row_losses_by_modality, present, sample_weight):
    """Mean of weighted losses over rows of weight, then over modalities with any."""
    parts = []
    for modality, row_losses in row_losses_by_modality.items():
        total = weights = 0.0
        for i, loss in enumerate(row_losses):
            if present is not None and not present[modality][i]:
                continue
            weight = 1.0 if sample_weight is None else float(sample_weight[i])
            total += weight * loss
            weights += weight > 0
        if weights > 0:
            parts.append(total / weights)
    return sum(parts) / len(parts) if parts else 0.0


def loop_main(predictions, target, task, present, sample_weight):
    rows = {
        m: [
            LOOPS[task](row, t)
            for row, t in zip(p.tolist(), target.tolist(), strict=True)
        ]
        for m, p in predictions.items()
    }
    return loop_mean(rows, present, sample_weight)


def loop_discriminative(from_specific, from_unused, present):
    rows = {
        modality: [
            (loop_cross_entropy(s, number) + loop_cross_entropy(u, number)) / 2
            for s, u in zip(
                from_specific[modality].tolist(),
                from_unused[modality].tolist(),
                strict=True,
            )
        ]
        for number, modality in enumerate(from_specific)
    }
    return loop_mean(rows, present, None)


def cosine(u, v):
    norm = math.sqrt(sum(x * x for x in u)) * math.sqrt(sum(x * x for x in v))
    return sum(x * y for x, y in zip(u, v, strict=True)) / norm if norm else 0.0


def loop_nt_xent(a, b, temperature):
    n = len(a)
    rows = a.tolist() + b.tolist()
    total = 0.0
    for i, row in enumerate(rows):
        positive = cosine(row, rows[(i + n) % (2 * n)]) / temperature
        denominator = sum(
            math.exp(cosine(row, other) / temperature)
            for j, other in enumerate(rows)
            if j != i
        )
        total += math.log(denominator) - positive
    return total / (2 * n) if n else 0.0


def loop_contrastive(shared, temperature, present):
    total = 0.0
    for first, second in permutations(shared, 2):
        rows = [
            i
            for i in range(len(shared[first]))
            if present is None or (present[first][i] and present[second][i])
        ]
        total += loop_nt_xent(shared[first][rows], shared[second][rows], temperature)
    return total


# What the terms get


def random_tensors(width, names=NAMES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(B, width, generator=generator, dtype=torch.float64)
        for name in names
    }


def make_target(task):
    generator = torch.Generator().manual_seed(9)
    if task == "cross_entropy":
        return torch.randint(4, (B,), generator=generator)
    target = torch.randn(B, 4, generator=generator, dtype=torch.float64)
    return target if task == "squared_error" else (target > 0).double()


def make_output(names=NAMES, present=None, n_outputs=4, half=5):
    def part(width, seed):
        return random_tensors(width, names, seed)

    return NetworkOutput(
        predictions=part(n_outputs, 1),
        specific=part(half, 2),
        unused=part(half, 3),
        shared=part(half, 4),
        auxiliary_from_specific=part(n_outputs, 5),
        auxiliary_from_shared=part(n_outputs, 6),
        modality_from_specific=part(len(names), 7),
        modality_from_unused=part(len(names), 8),
        present=present,
    )


PRESENT = {
    "S1": torch.tensor([1, 1, 0, 1, 0, 1, 1], dtype=torch.bool),
    "S2": torch.tensor([0, 1, 1, 1, 1, 0, 1], dtype=torch.bool),
    "soil": torch.tensor([0, 0, 0, 0, 1, 0, 0], dtype=torch.bool),
}
WEIGHT = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0, 0.25, 0.0], dtype=torch.float64)

with_and_without_present = pytest.mark.parametrize(
    "present", [None, PRESENT], ids=["all rows", "present"]
)
with_and_without_weight = pytest.mark.parametrize(
    "sample_weight", [None, WEIGHT], ids=["unweighted", "weighted"]
)
every_task = pytest.mark.parametrize("task", list(TASK_LOSSES))


def assert_equal(term, expected, rtol=1e-12):
    assert term.shape == ()
    np.testing.assert_allclose(term.item(), expected, rtol=rtol, atol=1e-13)


# Against loops


@every_task
@with_and_without_present
@with_and_without_weight
def test_main_term(task, present, sample_weight):
    predictions, target = random_tensors(4), make_target(task)
    term = main_term(predictions, target, TASK_LOSSES[task], present, sample_weight)
    assert_equal(term, loop_main(predictions, target, task, present, sample_weight))


@every_task
@with_and_without_present
@with_and_without_weight
def test_auxiliary_term(task, present, sample_weight):
    specific, shared = random_tensors(4, seed=1), random_tensors(4, seed=2)
    target = make_target(task)
    rest = (present, sample_weight)
    term = auxiliary_term(specific, shared, target, TASK_LOSSES[task], *rest)
    expected = [loop_main(z, target, task, *rest) for z in (specific, shared)]
    assert_equal(term, sum(expected) / 2)


@with_and_without_present
def test_discriminative_term(present):
    specific, unused = random_tensors(3, seed=1), random_tensors(3, seed=2)
    term = discriminative_term(specific, unused, present)
    assert_equal(term, loop_discriminative(specific, unused, present))


@with_and_without_present
@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_contrastive_term(present, temperature):
    shared = {m: z.relu() for m, z in random_tensors(5).items()}
    term = contrastive_term(shared, temperature, present)
    assert_equal(term, loop_contrastive(shared, temperature, present))


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_nt_xent(n, temperature):
    a, b = (z[:n] for z in random_tensors(5, ("a", "b")).values())
    assert_equal(nt_xent(a, b, temperature), loop_nt_xent(a, b, temperature))


def loop_softened(row, teacher, task, temperature):
    if task == "squared_error":
        return loop_squared_error(row, teacher)
    row, teacher = ([v / temperature for v in logits] for logits in (row, teacher))
    if task == "binary_cross_entropy":
        labels = [1 / (1 + math.exp(-v)) for v in teacher]
        return temperature**2 * loop_binary_cross_entropy(row, labels)
    p = [math.exp(v) for v in teacher]
    losses = [v / sum(p) * loop_cross_entropy(row, i) for i, v in enumerate(p)]
    return temperature**2 * sum(losses)


def loop_distillation(predictions, teacher, task, temperature, present, weight):
    rows = {
        m: [
            loop_softened(row, says, task, temperature)
            for row, says in zip(p.tolist(), teacher.tolist(), strict=True)
        ]
        for m, p in predictions.items()
    }
    return loop_mean(rows, present, weight)


@every_task
@with_and_without_present
@with_and_without_weight
@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_term(task, present, sample_weight, temperature):
    predictions = random_tensors(4)
    teacher = random_tensors(4, ("teacher",), seed=3)["teacher"]
    rest = (task, temperature, present, sample_weight)
    term = distillation_term(predictions, teacher, *rest)
    assert_equal(term, loop_distillation(predictions, teacher, *rest))


@every_task
@with_and_without_weight
def test_teacher_term_equals_the_main_term_of_a_complete_modality(task, sample_weight):
    teacher, target = random_tensors(4, ("teacher",)), make_target(task)
    term = teacher_term(teacher["teacher"], target, TASK_LOSSES[task], sample_weight)
    assert_equal(term, loop_main(teacher, target, task, None, sample_weight))


@every_task
def test_distillation_is_minimal_where_predictions_equal_the_teacher(task):
    teacher = random_tensors(4, ("teacher",))["teacher"]
    student = teacher.clone().requires_grad_()
    term = distillation_term({"S1": student}, teacher, task)
    (gradient,) = torch.autograd.grad(term, student)
    assert gradient.abs().max() < 1e-12
    further = distillation_term({"S1": teacher + torch.randn(4)}, teacher, task)
    assert further > term.detach()


@every_task
def test_distillation_sends_no_gradient_to_the_teacher(task):
    predictions = random_tensors(4)
    teacher = random_tensors(4, ("teacher",), seed=3)["teacher"].requires_grad_()
    for prediction in predictions.values():
        prediction.requires_grad_()
    distillation_term(predictions, teacher, task).backward()
    assert teacher.grad is None
    assert all((z.grad != 0).any() for z in predictions.values())


@every_task
@with_and_without_present
@with_and_without_weight
def test_loss_with_a_teacher(task, present, sample_weight):
    output, target = make_output(present=present), make_target(task)
    teacher = random_tensors(4, ("teacher",), seed=3)["teacher"]
    taught = output._replace(teacher=teacher)
    loss = CoLearnLoss(task, distillation_weight=0.3, distillation_temperature=3.0)
    without = loss.terms(output, target, sample_weight)
    terms = loss.terms(taught, target, sample_weight)
    assert list(terms) == [*without, "teacher", "distillation"]
    rest = (task, 3.0, present, sample_weight)
    distillation = loop_distillation(output.predictions, teacher, *rest)
    own = loop_main({"teacher": teacher}, target, task, None, sample_weight)
    assert_equal(terms["distillation"], distillation)
    assert_equal(terms["teacher"], own)
    total = loss.total(without).item() + own + 0.3 * distillation
    assert_equal(loss(taught, target, sample_weight), total)


def test_the_teacher_is_ignored_without_distillation_weight():
    output = make_output()._replace(teacher=random_tensors(4)["S1"])
    terms = CoLearnLoss("cross_entropy").terms(output, make_target("cross_entropy"))
    assert set(terms) == {"main", "auxiliary", "contrastive", "discriminative"}


@every_task
@with_and_without_present
@with_and_without_weight
def test_loss_weights_and_sums_the_terms(task, present, sample_weight):
    output, target = make_output(present=present), make_target(task)
    loss = CoLearnLoss(
        task,
        auxiliary_weight=0.5,
        contrastive_weight=0.01,
        discriminative_weight=3.0,
        temperature=0.2,
    )
    rest = (target, task, present, sample_weight)
    expected = {
        "main": loop_main(output.predictions, *rest),
        "auxiliary": (
            loop_main(output.auxiliary_from_specific, *rest)
            + loop_main(output.auxiliary_from_shared, *rest)
        )
        / 2,
        "contrastive": loop_contrastive(output.shared, 0.2, present),
        "discriminative": loop_discriminative(
            output.modality_from_specific, output.modality_from_unused, present
        ),
    }
    terms = loss.terms(output, target, sample_weight)
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert_equal(terms[name], value)
    total = (
        expected["main"]
        + 0.5 * expected["auxiliary"]
        + 0.01 * expected["contrastive"]
        + 3.0 * expected["discriminative"]
    )
    assert_equal(loss.total(terms), total)
    assert_equal(loss(output, target, sample_weight), total)


# NT-Xent


def test_nt_xent_does_not_depend_on_the_order_of_rows():
    a, b = random_tensors(5, ("a", "b")).values()
    order = torch.tensor([3, 0, 6, 2, 1, 5, 4])
    assert_equal(nt_xent(a[order], b[order]), nt_xent(a, b).item())
    # But the rows are paired.
    assert abs(nt_xent(a[order], b) - nt_xent(a, b)) > 0.1


def test_nt_xent_does_not_depend_on_vector_norms():
    a, b = random_tensors(5, ("a", "b")).values()
    lengths = torch.logspace(-3, 3, B, dtype=torch.float64)[:, None]
    assert_equal(nt_xent(a * lengths, b / lengths), nt_xent(a, b).item(), rtol=1e-9)


def test_nt_xent_does_not_modify_its_input():
    a, b = random_tensors(5, ("a", "b")).values()
    before = a.clone(), b.clone()
    nt_xent(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])


def test_nt_xent_of_identical_embeddings():
    assert nt_xent(torch.eye(6), torch.eye(6), 0.05) < 1e-6
    # Of vectors that are all the same, every one could be the positive.
    same = torch.ones(6, 3, dtype=torch.float64)
    assert_equal(nt_xent(same, same), math.log(2 * 6 - 1))


def test_nt_xent_prefers_pairs_that_agree():
    a, b = random_tensors(5, ("a", "b")).values()
    assert nt_xent(a, a) < nt_xent(a, a + b) < nt_xent(a, b)


def test_nt_xent_of_a_large_batch_of_float32():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1024, 32, generator=generator) for _ in range(2))
    a.requires_grad_()
    loss = nt_xent(a, b)
    loss.backward()
    # Unrelated vectors: about the entropy of 2047 candidates at this temperature.
    assert math.log(2047) < loss.item() < 20
    assert torch.isfinite(a.grad).all()
    assert a.grad.abs().max() > 0


@pytest.mark.parametrize("n", [0, 1])
def test_nt_xent_without_negatives_is_zero(n):
    a, b = (torch.randn(n, 3, requires_grad=True) for _ in range(2))
    loss = nt_xent(a, b)
    loss.backward()
    assert loss.item() == 0
    for z in (a, b):
        assert torch.equal(z.grad, torch.zeros(n, 3))


def test_nt_xent_of_two_rows_in_closed_form():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    # Similarity 1 to the positive, 0 to the two others, over temperature 1.
    assert_equal(nt_xent(a, a, 1.0), math.log(math.e + 2) - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("zero_rows", [[2], [0, 1, 2, 3, 4, 5, 6]], ids=["one", "all"])
def test_nt_xent_of_zero_rows(dtype, zero_rows):
    a, b = (z.to(dtype).abs() for z in random_tensors(5, ("a", "b")).values())
    before = a.clone()
    before[zero_rows] *= -1
    before.requires_grad_()
    loss = nt_xent(before.relu(), b)
    loss.backward()
    assert_equal(
        loss, loop_nt_xent(before.detach().relu(), b, 0.1), rtol=1e-5
    )  # a zero vector is at similarity 0 to all
    assert torch.isfinite(before.grad).all()
    assert torch.equal(before.grad[zero_rows], torch.zeros(len(zero_rows), 5).to(dtype))


def test_nt_xent_has_the_gradient_of_its_loops():
    a, b = (z[:4] for z in random_tensors(3, ("a", "b")).values())
    assert torch.autograd.gradcheck(
        lambda a, b: nt_xent(a, b, 0.5), (a.requires_grad_(), b.requires_grad_())
    )


# The contrastive term


def test_contrastive_term_of_one_modality_is_zero():
    assert contrastive_term(random_tensors(5, ("A",))).item() == 0


def test_contrastive_term_without_common_rows_is_zero():
    shared = {m: z.requires_grad_() for m, z in random_tensors(5, ("A", "B")).items()}
    here = torch.arange(B) < 3
    term = contrastive_term(shared, present={"A": here, "B": ~here})
    assert term.item() == 0
    term.backward()
    assert torch.equal(shared["A"].grad, torch.zeros(B, 5, dtype=torch.float64))


# Terms that are not asked for


@pytest.mark.parametrize("name", ["auxiliary", "contrastive", "discriminative"])
def test_term_of_weight_zero_is_not_computed(name, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("computed in vain")

    output, target = make_output(), make_target("cross_entropy")
    every = CoLearnLoss("cross_entropy").terms(output, target)
    monkeypatch.setattr(losses, f"{name}_term", refuse)
    with pytest.raises(RuntimeError, match="computed in vain"):
        CoLearnLoss("cross_entropy").terms(output, target)
    loss = CoLearnLoss("cross_entropy", **{f"{name}_weight": 0.0})
    terms = loss.terms(output, target)
    del every[name]
    assert {k: v.item() for k, v in terms.items()} == {
        k: v.item() for k, v in every.items()
    }


def test_one_modality_has_no_contrastive_or_discriminative_term():
    output, target = make_output(("S1",)), make_target("cross_entropy")
    terms = CoLearnLoss("cross_entropy").terms(output, target)
    assert list(terms) == ["main", "auxiliary"]


# Rows without weight, without a modality


@every_task
def test_zero_weight_equals_absence_in_the_supervised_terms(task):
    output, target = make_output(), make_target(task)
    keep = torch.tensor([True, False, True, True, False, True, False])
    by_weight = CoLearnLoss(task).terms(output, target, keep.double())
    absent = output._replace(present=dict.fromkeys(NAMES, keep))
    by_absence = CoLearnLoss(task).terms(absent, target)
    for name in ("main", "auxiliary"):
        assert_equal(by_weight[name], by_absence[name].item())


def test_sample_weight_does_not_change_unsupervised_terms():
    output, target = make_output(), make_target("cross_entropy")
    loss = CoLearnLoss("cross_entropy")
    weighted, plain = loss.terms(output, target, WEIGHT), loss.terms(output, target)
    for name in ("contrastive", "discriminative"):
        assert weighted[name].item() == plain[name].item()
    assert weighted["main"].item() != plain["main"].item()


@every_task
def test_weights_are_relative_to_one(task):
    """A batch of heavy rows counts more than one of light rows, even of one row."""
    predictions, target = random_tensors(4), make_target(task)
    rest = (predictions, target, TASK_LOSSES[task], PRESENT)
    plain = main_term(*rest, torch.ones_like(WEIGHT))
    assert_equal(main_term(*rest, 3 * torch.ones_like(WEIGHT)), 3 * plain.item())
    assert_equal(plain, main_term(*rest).item())


@pytest.mark.parametrize(
    ("present", "sample_weight"),
    [
        (None, torch.zeros(B)),
        (dict.fromkeys(NAMES, torch.zeros(B, dtype=torch.bool)), None),
    ],
    ids=["no weight", "no row"],
)
def test_terms_without_weighted_rows_are_zero(present, sample_weight):
    predictions = {m: z.requires_grad_() for m, z in random_tensors(4).items()}
    target = make_target("cross_entropy")
    term = main_term(
        predictions, target, TASK_LOSSES["cross_entropy"], present, sample_weight
    )
    term.backward()
    assert term.item() == 0
    assert all((z.grad == 0).all() for z in predictions.values())


def test_a_modality_that_the_batch_lacks_adds_nothing():
    """The terms are those of the others, not diluted by its zero."""
    target = make_target("cross_entropy")
    three, loss = make_output(), CoLearnLoss("cross_entropy")
    here = torch.ones(B, dtype=torch.bool)
    present = {"S1": here, "S2": here, "soil": ~here}
    terms = loss.terms(three._replace(present=present), target)
    # The same tensors, without soil; the modality heads still have three outputs.
    two = NetworkOutput(
        *({m: part[m] for m in ("S1", "S2")} for part in three[:8]), present=None
    )
    expected = loss.terms(two, target)
    for name, value in expected.items():
        assert_equal(terms[name], value.item())


@every_task
def test_rows_that_lack_a_modality_get_no_gradient(task):
    output = make_output(present=PRESENT)
    for part in output[:8]:
        for z in part.values():
            z.requires_grad_()
    CoLearnLoss(task)(output, make_target(task)).backward()
    with_gradient = 0
    for field, part in zip(output._fields[:8], output, strict=False):
        for modality, z in part.items():
            if z.grad is None:
                # These reach the loss through the heads, which are not run here.
                assert field in ("specific", "unused")
                continue
            assert (z.grad[~PRESENT[modality]] == 0).all()
            with_gradient += int((z.grad[PRESENT[modality]] != 0).any())
    # Six parts of three modalities; but the one row with soil has S2 alone beside
    # it, so soil has nothing to contrast.
    assert with_gradient == 6 * 3 - 1


# The published implementation


@pytest.mark.parametrize(
    "name",
    [name for name in PARITY.files if name.startswith("ntxent") and "_t" in name],
)
def test_parity_of_nt_xent(name):
    pair, temperature = name.split("_t")
    a, b = (torch.from_numpy(PARITY[f"{pair}_{which}"]) for which in "ab")
    value = nt_xent(a, b, float(temperature)).item()
    assert value == pytest.approx(float(PARITY[name]), abs=1e-6)


TASK_OF = {
    "ce": "cross_entropy",
    "bce": "binary_cross_entropy",
    "mse": "squared_error",
}
TERMS = ("main", "auxiliary", "contrastive", "discriminative")
CASES = [f"{task}{n}" for task in TASK_OF for n in (2, 3)]


def load_case(case):
    """Return the network with the weights of a case, its inputs and its target."""
    arrays = {
        name.removeprefix(f"{case}/"): torch.from_numpy(PARITY[name])
        for name in PARITY.files
        if name.startswith(f"{case}/")
    }
    # The mse cases halve the error; a network of half the answers does the same.
    scale = 0.5 if case.startswith("mse") else 1.0
    names = "ABC"[: int(case[-1])]
    inputs = {m: arrays[f"x_{m}"] for m in names}
    network = CoLearnNetwork(
        {m: tuple(x.shape[1:]) for m, x in inputs.items()},
        len(arrays["aux_head_bias"]),
        encoder="linear",
        embedding_dim=8,
    ).double()
    layers = {
        "auxiliary_head": ("aux_head", scale),
        "specific_modality_head": ("specific_modality_head", 1.0),
        "unused_modality_head": ("unused_modality_head", 1.0),
    }
    for i, m in enumerate(names):
        layers |= {
            f"networks.{i}.unique_encoder.linear": (f"unique_{m}", 1.0),
            f"networks.{i}.common_encoder.linear": (f"common_{m}", 1.0),
            f"networks.{i}.shared.0": (f"shared_{m}", 1.0),
            f"networks.{i}.shared.1": (f"bn_{m}", 1.0),
            f"networks.{i}.head": (f"head_{m}", scale),
        }
    state = {
        f"{layer}.{kind}": arrays[f"{name}_{kind}"] * factor
        for layer, (name, factor) in layers.items()
        for kind in ("weight", "bias")
    }
    assert set(state) == {name for name, _ in network.named_parameters()}
    network.load_state_dict(state, strict=False)  # all but the running statistics
    target = arrays["y"] * scale if case.startswith("mse") else arrays["y"]
    return network, inputs, target, arrays


@pytest.mark.parametrize("every_row_said_present", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_parity_of_terms(case, every_row_said_present):
    network, inputs, target, arrays = load_case(case)
    present = None
    if every_row_said_present:
        present = {m: torch.ones(len(x), dtype=torch.bool) for m, x in inputs.items()}
    loss = CoLearnLoss(TASK_OF[case[:-1]])
    with torch.no_grad():
        terms = loss.terms(network(inputs, present), target)
        total = loss.total(terms)
    assert set(terms) == set(TERMS)
    for name in TERMS:
        assert terms[name].item() == pytest.approx(
            arrays[f"term_{name}"].item(), abs=1e-6
        ), name
    assert total.item() == pytest.approx(arrays["total"].item(), abs=1e-6)
