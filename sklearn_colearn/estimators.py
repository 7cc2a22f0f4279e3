"""The estimators: train on every sensor, predict with the one you have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, compute_sample_weight
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import assert_all_finite, column_or_1d

from sklearn_colearn._compat import StrOptions
from sklearn_colearn.base import CoLearn, store
from sklearn_colearn.encoders import EncoderFactory
from sklearn_colearn.inputs import Array
from sklearn_colearn.losses import Term
from sklearn_colearn.prediction import (
    ClassifierPredictor,
    RegressorPredictor,
    SingleModalityClassifier,
    SingleModalityRegressor,
)
from sklearn_colearn.sensor import Target
from sklearn_colearn.targets import as_labels, labelled_part, labelled_rows

__all__ = ["CoLearnClassifier", "CoLearnRegressor"]

Estimator = TypeVar("Estimator", bound=type[CoLearn])

#: Text that the docstrings of both estimators share, by the mark that stands for it.
_SHARED = {
    "data": """\
    modalities : dict or None, default=None
        Columns of each modality in a flat X, by position or name: ``{"S1": slice(0,
        24), "soil": ["clay", "sand"]}``. ``(columns, (n_timesteps, n_bands))`` makes
        them a time series. :attr:`ModalityDict.layout` has this form.
    times : dict or None, default=None
        Observation times by modality, for encoders that use them: numbers of days or
        dates (``numpy.datetime64``, ``pandas.Timestamp``, ISO strings). Give one for
        each step, ``{"S1": ["2021-04-03", "2021-04-15", ...]}``, or the name of an
        entry of X with the times of each row, ``{"S2": "S2_dates"}``, of shape
        (n_samples, n_timesteps). Such an entry is not a modality and is also required
        at prediction. By default, encoders use the index of a step.
    missing_value : float, list of float, dict of str to either, or None, default=None
        Sentinels for missing values besides NaN, such as 65535 or -9999; for all
        modalities or by modality. Missing values are replaced by the band's mean.
    standardize : bool, default=True
        Whether to scale each band to mean 0 and variance 1 on the training rows.
        Encode categorical bands yourself beforehand.
""",
    "network, losses, training and runtime": """\
    encoder : str, callable, or dict of str to either, default='auto'
        Encoder of each modality. ``'linear'`` and ``'mlp'`` take any modality;
        ``'tempcnn'``, ``'rnn'``, ``'lstm'``, ``'gru'``, ``'tae'``, ``'ltae'``,
        ``'transformer'``, ``'convtran'``, ``'inceptiontime'`` and ``'presto'`` take
        time series; ``'resnet'`` and ``'pretrained:<timm name>'`` take images. Also a
        :class:`torch.nn.Module` class or factory; see :mod:`sklearn_colearn.encoders`.
        ``'auto'`` picks ``'mlp'`` for a table, ``'ltae'`` for a time series and
        ``'resnet'`` for images. A dict sets it by modality; others are ``'auto'``.
    encoder_params : dict or None, default=None
        Arguments of the encoder, such as ``{"n_layers": 3}``; for all modalities, or
        by modality as ``{"S1": {"n_layers": 3}}``.
    share_encoder : bool, default=True
        Whether one encoder with an embedding of twice the size replaces the paper's
        two encoders of a modality. This halves the cost of training and prediction.
    embedding_dim : int, default=128
        Size of an embedding; must be even. The specific, shared and unused
        representations each have half of it.
    dropout : float, default=0.2
        Dropout probability of encoders that have such a parameter.
    auxiliary_weight : float, default=1.0
        Weight of the auxiliary term: each representation alone predicts the target.
    contrastive_weight : float, default=0.2
        Weight of the contrastive term: the shared representations of a sample agree
        across modalities. The paper uses 1.
    discriminative_weight : float, default=1.0
        Weight of the discriminative term: the specific and the unused representation
        each reveal their modality.
    distillation_weight : float, default=3.0
        Weight of the distillation term: each modality imitates a teacher, a linear
        head on the representations of all modalities that is trained at the same time.
        0 gives the paper's method, which has no teacher.
    unlabeled_weight : float, default=10.0
        Weight of the distillation term on unlabelled pairs, the ``X_unlabeled`` of
        `fit`. With 0, pairs enter only the contrastive and the discriminative term.
    teacher : 'trees', estimator or None, default='trees'
        Second teacher on unlabelled pairs: a scikit-learn estimator. Each member fits
        a clone to its training rows, with all modalities side by side, standardised
        and mean-imputed. ``'trees'`` is 300 extremely randomised trees. None leaves
        the network's own teacher alone.
    temperature : float, default=0.1
        Temperature of the contrastive term.
    extra_terms : list of Term or None, default=None
        Further loss terms: objects with a ``name``, a ``weight`` and
        ``__call__(output, batch)``; see :class:`sklearn_colearn.losses.Term`.
    cv : int, splitter, iterable or None, default=5
        Folds. Each fold trains one network, called a member, and holds out some rows
        to pick the best epoch of each modality and to calibrate predictions. The
        answer is the mean over members. An integer gives stratified folds for classes,
        and folds of whole groups if `fit` gets `groups`. A scikit-learn splitter
        splits the labelled rows; an iterable yields ``(training, held_out)`` row
        numbers. Unlabelled rows are always trained on. None trains a single network on
        all rows for all epochs, without calibration.
    max_epochs : int, default=60
        Maximum number of epochs. Training stops once the held-out loss of no modality
        has improved for 8 epochs.
    max_steps : int, default=1000
        Maximum number of training steps with unlabelled pairs. Training stops once 200
        steps have not improved the held-out loss of any modality.
    batch_size : int, default=128
        Rows of a training step. The contrastive term compares each row of a batch with
        all others, so very small batches weaken it.
    unlabeled_batch_size : int, default=128
        Additional pairs of each training step.
    lr : float, default=3e-3
        Highest learning rate of the schedule.
    weight_decay : float, default=0.3
        Weight decay. The default suits ``'adamw'``; ``'adam'`` and ``'sgd'`` use it as
        an L2 penalty, which should be far smaller.
    optimizer : {'adamw', 'adam', 'sgd'} or torch.optim.Optimizer class, \
            default='adamw'
        Optimizer; ``'sgd'`` has momentum 0.9.
    lr_schedule : {'constant', 'cosine'} or callable, default='constant'
        Learning-rate schedule. A callable maps the completed share of training, in
        [0, 1), to a share of `lr`.
    weight_averaging : float, default=0.125
        Mean age of the averaged weights that predictions use, as a share of all steps
        so far; below 0.5. Averaging has an effect like that of a decaying learning
        rate. 0 uses the last weights.
    drop_steps : float, default=0.0
        Probability of dropping each time step in training, drawn anew in every epoch.
        At least one step of a row is kept.
    callbacks : list of skorch callbacks or None, default=None
        Further callbacks of the training loop, such as skorch's ``LRScheduler`` (with
        ``lr_schedule='constant'``) or ``GradientNormClipping``. Scoring callbacks do
        not work, as training has several outputs.
    warm_start : bool, default=False
        Whether `fit` continues from the weights and scalers of the previous fit or of
        :meth:`pretrain`. The optimizer and the schedule start anew.
    predict_modality : str or None, default=None
        Modality that answers when X has several at prediction. By default, all
        modalities of a row answer together; see `fusion`.
    fusion : {'weighted', 'mean', 'teacher'}, default='weighted'
        How several modalities answer together; fixed by `fit`. ``'weighted'`` learns
        weights on the held-out rows for each subset of modalities and includes the
        teacher where a row has all of them. ``'mean'`` averages the modalities.
        ``'teacher'`` uses the teacher alone where a row has all modalities, and the
        mean elsewhere. Without held-out rows, ``'weighted'`` is the mean.
    n_jobs : int or None, default=None
        Number of members to train in parallel processes. None means 1, and -1 all
        cores. It does not affect the result, as each member uses one thread.
    device : str, default='auto'
        Device: ``'auto'`` (CUDA, then MPS, then CPU) or a torch device such as
        ``'cuda:1'``.
    precision : {'float32', 'bf16'}, default='float32'
        Precision of training. ``'bf16'`` uses :class:`torch.autocast`, which saves
        memory, and time on hardware with bfloat16 units. Weights, losses and
        predictions are always float32.
    random_state : int, RandomState instance or None, default=None
        Seed of folds, weights and batches. An int makes results reproducible on the
        same CPU. The global random states of numpy and torch are left as they were.
        Fits in several threads take turns.
    verbose : int, default=0
        1 shows a progress bar over members, or over epochs if there is one member; 2
        prints a line per epoch.
""",
    "attributes": """\
    modalities_ : list of str
        Names of the modalities, in order.
    input_shapes_ : dict of str to tuple of int
        Trailing shape of each modality.
    n_features_in_ : int
        Number of features of all modalities, the columns of the flat X.
    feature_names_in_ : ndarray of str
        Column names, if X was a flat DataFrame with names.
    encoders_ : dict of str to str or callable
        Encoder of each modality, with ``'auto'`` resolved.
    n_iter_ : int
        Largest number of epochs of a member.
    history_ : pandas.DataFrame
        One row per epoch: ``train_loss`` and its unweighted terms (``train_main``,
        ``train_auxiliary``, ``train_contrastive``, ``train_discriminative``,
        ``train_teacher``, ``train_distillation``), the held-out main term of each
        modality and of the teacher (such as ``held_out_S1``), the learning rate ``lr``
        and the duration ``dur`` in seconds. ``member`` numbers the members if there
        are several; with ``X_unlabeled``, ``pairs`` marks epochs with pairs.
    held_out_ : pandas.DataFrame
        Calibrated predictions of each row by members that did not train on it:
        probabilities or values, by modality and for ``"all sensors"`` of the row. The
        calibration leaves out the member's own rows. NaN where no row was held out,
        or, with ``X_unlabeled``, in the half of the rows that served as pairs. Absent
        with ``cv=None``, like the scores below.
    held_out_scores_ : pandas.DataFrame
        Scores of `held_out_` by modality: log loss, Brier score, accuracy and macro-F1,
        or R2 and root mean squared error, each with its standard deviation over
        members.
    fusion_weights_ : pandas.DataFrame
        Weights of each modality and of the teacher in each subset of modalities:
        factors of logits or of standardised predictions. For a single modality, the
        factor calibrates it: an inverse temperature, or a slope.
    applicability_threshold_ : dict of str to float
        Value of :meth:`applicability` above which a row is unlike the held-out rows:
        the upper whisker of their boxplot, by modality. Empty with ``cv=None``.
    pairs_ : pandas.DataFrame
        Effect of ``X_unlabeled`` on each modality and on the teacher: loss of all
        held-out rows ``before`` and ``after``, ``standard_error`` of the difference,
        and ``follows``, whether the new weights are used. Empty with ``cv=None``.
    pretrain_history_ : pandas.DataFrame
        `history_` of :meth:`pretrain`.
    net_ : skorch.NeuralNet
        Trained net of the first member.
""",
    "references": """\
    References
    ----------
    Mena, Ienco, Dantas, Interdonato, Dengel, "Multi-modal co-learning for Earth
    observation: enhancing single-modality models via modality collaboration", Machine
    Learning 114:279, 2025, doi:10.1007/s10994-025-06903-0.
""",
}


def _documented(estimator: Estimator) -> Estimator:
    """Replace the marks in a docstring by the text they stand for."""
    for mark, text in _SHARED.items():
        estimator.__doc__ = str(estimator.__doc__).replace(f"    <{mark}>\n", text)
    return estimator


@_documented
class CoLearnClassifier(CoLearn, ClassifierPredictor):
    """Multi-modal co-learning classifier: train on all sensors, predict from any one.

    For binary, multi-class and multi-label targets. Each modality has its own network.
    Training ties the networks together by auxiliary, contrastive, discriminative and
    distillation terms; prediction runs only those of the modalities in X.

    After `fit`, setting any parameter but `predict_modality` has no effect on
    predictions.

    Parameters
    ----------
    <data>
    class_weight : dict, list of dict, 'balanced' or None, default=None
        Class weights of the supervised terms, as in scikit-learn; for multi-label
        targets, a list with a dict for each label.
    unlabeled : int, float, str or None, default=None
        Label that marks unlabelled rows, such as scikit-learn's -1. None and NaN always
        mark them. Unlabelled rows enter the contrastive, the discriminative and the
        distillation term.
    <network, losses, training and runtime>

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; for multi-label targets, label numbers.
    n_outputs_ : int
        1, or the number of labels of a multi-label target.
    <attributes>

    <references>

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> clf.modalities_
    ['S1', 'S2', 'terrain']
    >>> clf.predict({"S2": X["S2"][:5]}).shape
    (5,)
    >>> clf.predict_proba(X["S1"][:5], modality="S1").shape
    (5, 3)
    """

    _exported = SingleModalityClassifier
    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **CoLearn._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "unlabeled": ["boolean", Real, str, None],
    }

    def __init__(
        self,
        *,
        modalities: Mapping[str, Any] | None = None,
        times: Mapping[str, Any] | None = None,
        missing_value: float | Sequence[float] | Mapping[str, Any] | None = None,
        standardize: bool = True,
        class_weight: Mapping[Any, float] | Sequence[Any] | str | None = None,
        unlabeled: float | str | None = None,
        encoder: str | EncoderFactory | Mapping[str, str | EncoderFactory] = "auto",
        encoder_params: Mapping[str, Any] | None = None,
        share_encoder: bool = True,
        embedding_dim: int = 128,
        dropout: float = 0.2,
        auxiliary_weight: float = 1.0,
        contrastive_weight: float = 0.2,
        discriminative_weight: float = 1.0,
        distillation_weight: float = 3.0,
        unlabeled_weight: float = 10.0,
        teacher: Any = "trees",
        temperature: float = 0.1,
        extra_terms: Sequence[Term] | None = None,
        cv: int | Any | None = 5,
        max_epochs: int = 60,
        max_steps: int = 1000,
        batch_size: int = 128,
        unlabeled_batch_size: int = 128,
        lr: float = 3e-3,
        weight_decay: float = 0.3,
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        lr_schedule: str | Callable[[float], float] = "constant",
        weight_averaging: float = 0.125,
        drop_steps: float = 0.0,
        callbacks: Sequence[Any] | None = None,
        warm_start: bool = False,
        predict_modality: str | None = None,
        fusion: str = "weighted",
        n_jobs: int | None = None,
        device: str = "auto",
        precision: str = "float32",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        store(self, locals())

    # -- hooks -----------------------------------------------------------------------

    def _read_target(self, y: Any) -> tuple[Array, Array, Target]:
        y = y.toarray() if hasattr(y, "toarray") else y  # a sparse indicator
        labelled = labelled_rows(y, self.unlabeled)
        if not labelled.any():
            marked = "" if self.unlabeled is None else f", {self.unlabeled!r}"
            raise ValueError(_no_label(f"None, NaN{marked}"))
        y = labelled_part(as_labels(y), labelled)
        if np.asarray(y).dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        kind = type_of_target(y, input_name="y")
        if kind == "multilabel-indicator":
            indicator = np.asarray(y).astype(np.float32)
            n_labels = indicator.shape[1]
            target = Target(
                "binary_cross_entropy",
                n_labels,
                np.arange(n_labels),
                unlabeled=self.unlabeled,
            )
            return _in_place(indicator, labelled), labelled, target
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"Unknown label type: {kind}. A classifier takes labels of shape "
                "(n_samples,) or a 0/1 indicator of shape (n_samples, n_labels); for "
                "continuous targets there is CoLearnRegressor."
            )
        classes, codes = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y has only one class, {classes.tolist()[0]!r}"
                f"{'' if labelled.all() else ' among the labelled rows'}; a classifier "
                "needs at least 2."
            )
        target = Target("cross_entropy", 1, classes, unlabeled=self.unlabeled)
        return _in_place(codes, labelled), labelled, target

    def _class_weights(self, target: Target, values: Array) -> Array | None:
        if self.class_weight is None:
            return None
        labels = values
        if target.task == "cross_entropy" and target.classes is not None:
            labels = target.classes[values]
            if isinstance(self.class_weight, dict):
                unseen = [c for c in self.class_weight if c not in set(labels)]
                if unseen:
                    raise ValueError(
                        f"class_weight names the labels {unseen}, which are not in y; "
                        f"y has {target.classes.tolist()}."
                    )
        weight: Array = compute_sample_weight(self.class_weight, labels)
        return weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@_documented
class CoLearnRegressor(CoLearn, RegressorPredictor):
    """Multi-modal co-learning regressor: train on all sensors, predict from any one.

    For one or several targets. Training and prediction work as in
    :class:`CoLearnClassifier`.

    Parameters
    ----------
    <data>
    <network, losses, training and runtime>

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
    <attributes>

    Notes
    -----
    The network learns standardised targets, so losses are in units of their variance.
    Predictions are in the units of y.

    <references>

    Examples
    --------
    >>> from sklearn_colearn import CoLearnRegressor
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, task="regression", random_state=0)
    >>> reg = CoLearnRegressor(max_epochs=3, random_state=0).fit(X, y)
    >>> reg.predict({"S2": X["S2"][:5]}).shape
    (5,)
    """

    _exported = SingleModalityRegressor

    def __init__(
        self,
        *,
        modalities: Mapping[str, Any] | None = None,
        times: Mapping[str, Any] | None = None,
        missing_value: float | Sequence[float] | Mapping[str, Any] | None = None,
        standardize: bool = True,
        encoder: str | EncoderFactory | Mapping[str, str | EncoderFactory] = "auto",
        encoder_params: Mapping[str, Any] | None = None,
        share_encoder: bool = True,
        embedding_dim: int = 128,
        dropout: float = 0.2,
        auxiliary_weight: float = 1.0,
        contrastive_weight: float = 0.2,
        discriminative_weight: float = 1.0,
        distillation_weight: float = 3.0,
        unlabeled_weight: float = 10.0,
        teacher: Any = "trees",
        temperature: float = 0.1,
        extra_terms: Sequence[Term] | None = None,
        cv: int | Any | None = 5,
        max_epochs: int = 60,
        max_steps: int = 1000,
        batch_size: int = 128,
        unlabeled_batch_size: int = 128,
        lr: float = 3e-3,
        weight_decay: float = 0.3,
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        lr_schedule: str | Callable[[float], float] = "constant",
        weight_averaging: float = 0.125,
        drop_steps: float = 0.0,
        callbacks: Sequence[Any] | None = None,
        warm_start: bool = False,
        predict_modality: str | None = None,
        fusion: str = "weighted",
        n_jobs: int | None = None,
        device: str = "auto",
        precision: str = "float32",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        store(self, locals())

    # -- hooks -----------------------------------------------------------------------

    def _read_target(self, y: Any) -> tuple[Array, Array, Target]:
        labelled = labelled_rows(y)
        if not labelled.any():
            raise ValueError(_no_label("None, NaN"))
        y = labelled_part(y, labelled)
        values = check_array(y, ensure_2d=False, input_name="y").astype(np.float64)
        if values.ndim > 2:
            raise ValueError(
                f"y has shape {values.shape}; expected (n_samples,) or "
                "(n_samples, n_outputs)."
            )
        flat = values.ndim == 1
        values = values.reshape(len(values), -1)
        target = Target("squared_error", values.shape[1], flat=flat)
        return _in_place(values, labelled), labelled, target

    def _fit_target(
        self, target: Target, values: Array, weight: Array | None
    ) -> Target:
        scaler = StandardScaler().fit(values, sample_weight=weight)
        return replace(target, mean=scaler.mean_, scale=scaler.scale_)

    def _target_tensor(self, target: Target, values: Array) -> torch.Tensor:
        scaled = (values - target.mean) / target.scale
        return torch.from_numpy(scaled.astype(np.float32))


def _in_place(values: Array, labelled: Array) -> Array:
    """Scatter labelled values to all rows; unlabelled rows get an unused 0."""
    if labelled.all():
        return values
    placed = np.zeros((len(labelled), *values.shape[1:]), dtype=values.dtype)
    placed[labelled] = values
    return placed


def _no_label(marks: str) -> str:
    return (
        f"y has no labelled row: all are {marks}. Label some rows, or call "
        "pretrain(X), which needs no labels."
    )
