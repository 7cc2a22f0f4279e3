"""The estimators: train on every sensor, predict with the one you have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.metrics import accuracy_score, r2_score
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

#: Parts that the docstrings of both estimators have, by the mark in their place.
_SHARED = {
    "data, network and losses": """\
    modalities : dict or None, default=None
        Where each modality sits in a flat X: ``{"S1": slice(0, 24), "soil": ["clay",
        "sand"]}``, by positions or column names; ``(columns, (n_timesteps, n_bands))``
        makes them a time series. :attr:`ModalityDict.layout` has this form.
    times : dict or None, default=None
        When the steps of a time series were observed, by modality, for encoders that
        take times; without it the index of a step serves. Numbers of days (the day of
        year, say), or dates (``numpy.datetime64``, ``pandas.Timestamp``, ISO strings).
        Either one for each step, ``{"S1": ["2021-04-03", "2021-04-15", ...]}``, or the
        name of an entry of X that holds them for each row, ``{"S2": "S2_dates"}``: an
        array of shape (n_samples, n_timesteps), which then is no modality, and has to
        be there at prediction too. A time may be missing where the step is.
    missing_value : float, list of float, dict of str to either, or None, default=None
        What stands for a missing value beside NaN, such as 65535 or -9999, for all
        modalities or by modality. Missing values are filled with the band's mean.
    standardize : bool, default=True
        Whether each band is brought to mean 0 and variance 1, by the training rows.
        Categorical bands are yours to encode first.
    encoder : str, callable, or dict of str to either, default='auto'
        What turns a modality into an embedding: a name (``'linear'``, ``'mlp'``;
        ``'tempcnn'``, ``'rnn'``, ``'lstm'``, ``'gru'``, ``'tae'``, ``'ltae'``,
        ``'transformer'``, ``'convtran'``, ``'inceptiontime'`` for time series;
        ``'resnet'``, ``'pretrained:<timm name>'`` for images), or a
        :class:`torch.nn.Module` class or factory; see :mod:`sklearn_colearn.encoders`.
        ``'auto'`` is ``'mlp'`` for a table, ``'ltae'`` for a time series and
        ``'resnet'`` for images. One for all modalities, or one for each,
        ``'auto'`` for those left out.
    encoder_params : dict or None, default=None
        Arguments of the encoder, such as ``{"n_layers": 3}``; for all modalities, or
        by modality as ``{"S1": {"n_layers": 3}}``.
    share_encoder : bool, default=True
        Whether a modality has one encoder, of an embedding twice as wide, in place of
        the paper's two. It halves the cost of training and prediction.
    embedding_dim : int, default=128
        Size of an encoder's embedding, even. The specific, shared and unused
        representations have half of it.
    dropout : float, default=0.2
        Given to encoders that have a parameter of this name.
    auxiliary_weight : float, default=1.0
        Weight of the auxiliary term: the task from each representation alone.
    contrastive_weight : float, default=0.2
        Weight of the contrastive term: the shared representations of a sample are
        alike in all modalities. The paper's is 1.
    discriminative_weight : float, default=1.0
        Weight of the discriminative term: the modality can be told from the specific
        and from the unused representation.
    distillation_weight : float, default=3.0
        Weight of the distillation term: each modality's prediction is like that of a
        teacher, a linear head on the representations of all modalities that is trained
        along. 0 is the paper's method, which has no teacher.
    unlabeled_weight : float, default=10.0
        Weight of the distillation term on unlabelled pairs, the ``X_unlabeled`` of
        `fit`: each modality's prediction is like that of all modalities together. With
        0, pairs enter the contrastive and the discriminative term only.
    teacher : 'trees', estimator or None, default='trees'
        The second teacher on unlabelled pairs, beside the network itself: a
        scikit-learn estimator. Each member fits a clone of it to its training rows, all
        modalities side by side, standardised, with the band's mean for missing values.
        ``'trees'`` is 300 extremely randomised trees; None uses the network alone.
    temperature : float, default=0.1
        Of the contrastive term; positive.
    extra_terms : list of Term or None, default=None
        Terms of the loss of your own: objects with a ``name``, a ``weight`` and
        ``__call__(output, batch)``; see :class:`sklearn_colearn.losses.Term`.
""",
    "training, prediction and runtime": """\
    cv : int, splitter, iterable or None, default=5
        The folds. For each, one network, a member, trains on the rows of the fold and
        keeps, for each modality, the weights of the epoch at which the rows that it
        does not see are predicted best. Members answer together, by their mean; what
        was held out calibrates them. An integer makes that many folds: stratified for
        classes, of whole groups if `fit` is given `groups`. A splitter of scikit-learn
        splits the labelled rows, an iterable has pairs of row numbers ``(training,
        held out)``. Rows without a label are always trained on. None trains one
        network on all rows for all epochs, not calibrated.
    n_jobs : int or None, default=None
        Members that are trained at a time, in processes. None is 1, -1 all cores. Each
        member computes with one thread, so that it is the same however many there are.
    max_epochs : int, default=60
        How often training sees each row. It stops earlier when the held-out rows of no
        modality have been predicted better for 8 epochs.
    max_steps : int, default=1000
        Maximum number of training steps with unlabelled pairs; more pairs need no more
        steps. Training stops earlier once 200 steps have not improved the held-out
        loss of any modality.
    batch_size : int, default=128
        Rows of a training step. The contrastive term compares each row of a batch to
        all others, so very small batches make it weak.
    unlabeled_batch_size : int, default=128
        Pairs in each training step, beside those rows.
    lr : float, default=3e-3
        Learning rate, the largest one of the schedule.
    weight_decay : float, default=0.3
        Of the optimizer. The default is for ``'adamw'``; ``'adam'`` and ``'sgd'`` take
        it as an L2 penalty, which wants to be far smaller.
    optimizer : {'adamw', 'adam', 'sgd'} or torch.optim.Optimizer class, \
            default='adamw'
        The optimizer; ``'sgd'`` has momentum 0.9.
    lr_schedule : {'constant', 'cosine'} or callable, default='constant'
        How the learning rate goes over training. A callable is given the share of
        training that is done, in [0, 1), and returns a share of `lr`.
    weight_averaging : float, default=0.125
        Predictions use an average of the weights over the latest part of training, of
        this mean age as a share of all steps so far; below 0.5. It steadies the answer
        as a falling learning rate does, and more so. 0 uses the last weights.
    drop_steps : float, default=0.0
        Probability with which training leaves out each step of a time series, anew
        in every epoch. One step of a row is always left.
    callbacks : list of skorch callbacks or None, default=None
        More callbacks for the training loop, such as skorch's ``LRScheduler`` (with
        ``lr_schedule='constant'``), ``GradientNormClipping`` or your own; none that
        score, as training has many outputs.
    warm_start : bool, default=False
        Whether another fit goes on from the weights of the one before, or from those
        of :meth:`pretrain`, with its scalers; the optimizer and the schedule start
        anew.
    predict_modality : str or None, default=None
        The modality that answers where X holds several at prediction. None: all that a
        row has, put together as `fusion` says.
    fusion : {'weighted', 'mean', 'teacher'}, default='weighted'
        How several modalities answer together; fixed by `fit`. ``'weighted'``: by
        weights that predict the held-out rows best, for each subset of modalities;
        where a row has all of them, the teacher (`distillation_weight`) takes part.
        ``'mean'``: the mean of their answers. ``'teacher'``: the teacher alone where a
        row has all, elsewhere the mean. Where nothing was held out, ``'weighted'`` is
        the mean too.
    device : str, default='auto'
        Where to compute: ``'auto'`` (CUDA, then MPS, then CPU), or a torch device such
        as ``'cuda:1'``.
    precision : {'float32', 'bf16'}, default='float32'
        Of the networks in training: ``'bf16'`` computes their layers in 16 bits where
        torch finds that safe (:class:`torch.autocast`), which saves memory, and time
        on GPUs and CPUs that have such units. Weights, losses and predictions are
        float32 in any case.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds, the weights and the batches. An int gives the same
        results every time on the same CPU. None draws fresh entropy. numpy's global
        random state is never touched; torch's is set while a fit runs, and put back.
        Fits in several threads run in turn.
    verbose : int, default=0
        1 shows a progress bar over members, or over epochs if there is one; 2 prints a
        line per epoch.
""",
    "attributes": """\
    modalities_ : list of str
        The modalities, in order.
    input_shapes_ : dict of str to tuple of int
        Trailing shape of each modality.
    n_features_in_ : int
        Number of columns of the flat X: all features of all modalities.
    feature_names_in_ : ndarray of str
        Column names, if X was a flat DataFrame with names.
    encoders_ : dict of str to str or callable
        The encoder of each modality: what was given, or what ``'auto'`` picked.
    n_iter_ : int
        Number of epochs trained, of the member that was trained longest.
    history_ : pandas.DataFrame
        A row per epoch: ``train_loss`` and each of its terms unweighted
        (``train_main``, ``train_auxiliary``, ``train_contrastive``,
        ``train_discriminative``, ``train_teacher``, ``train_distillation``), the main
        term of the held-out rows by modality and of the teacher (``held_out_S1``), the
        learning rate ``lr`` and the duration ``dur`` in seconds. If there are several
        members, the column ``member`` tells them apart; with ``X_unlabeled`` the column
        ``pairs`` tells epochs with pairs from those before.
    held_out_ : pandas.DataFrame
        What was predicted for each row by a member that had not seen it:
        probabilities or values, by modality and from all that the row has (``"all
        sensors"``), calibrated by the other members' rows. NaN where nothing was held
        out. Not there with ``cv=None``.
    held_out_scores_ : pandas.DataFrame
        Their scores by modality: log loss, Brier score, accuracy and macro-F1, or R2
        and root mean squared error, each with its standard deviation over members.
    fusion_weights_ : pandas.DataFrame
        How much each modality, and the teacher, counts in each subset of modalities:
        the factor of its logits, or of its standardised values. Of one modality, it is
        the inverse of the temperature, or the slope.
    applicability_threshold_ : dict of str to float
        By modality, the index of :meth:`applicability` above which a row is outside the
        area that the held-out scores speak for: the upper whisker of the held-out rows.
        Empty with ``cv=None``.
    pairs_ : pandas.DataFrame
        What ``X_unlabeled`` did, by modality and for the teacher: the loss on all
        held-out rows ``before`` and ``after``, the ``standard_error`` of the
        difference, and whether it ``follows``; if not, it has the weights from before.
        Only after a fit with ``X_unlabeled``; empty with ``cv=None``.
    pretrain_history_ : pandas.DataFrame
        The same of :meth:`pretrain`, if that was called.
    net_ : skorch.NeuralNet
        The trained net of the first member.
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
    """Put the shared parts into a docstring, in the place of their marks."""
    for mark, text in _SHARED.items():
        estimator.__doc__ = str(estimator.__doc__).replace(f"    <{mark}>\n", text)
    return estimator


@_documented
class CoLearnClassifier(CoLearn, ClassifierPredictor):
    """Multi-modal co-learning classifier: train on all sensors, predict from any one.

    Binary, multi-class and multi-label. Every modality gets two encoders and a
    prediction head of its own; contrastive, auxiliary and modality-discriminative
    terms tie them together in training, so that each becomes better alone. Prediction
    runs the network of the modality that is there, and nothing else.

    After `fit`, only `predict_modality` still changes the answers.

    Parameters
    ----------
    <data, network and losses>
    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of the classes in the supervised terms, as in scikit-learn; a list of
        dicts is for multi-label, one for each label.
    unlabeled : int, float, str or None, default=None
        The label that marks a row without a label, such as -1 (scikit-learn's
        convention of semi-supervised learning), beside None and NaN, which always do.
        Such rows take part in the contrastive, the discriminative and the
        distillation term.
    <training, prediction and runtime>

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; for multi-label targets the numbers of the labels.
    n_outputs_ : int
        Number of targets: 1, or the number of labels of a multi-label target.
    <attributes>

    See Also
    --------
    CoLearnRegressor : For continuous targets.

    Notes
    -----
    Probabilities are float32, the precision of the network.

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

    _exported, _metric = SingleModalityClassifier, staticmethod(accuracy_score)
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
        class_weight: Mapping[Any, float] | Sequence[Any] | str | None = None,
        unlabeled: float | str | None = None,
        cv: int | Any | None = 5,
        n_jobs: int | None = None,
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

    One target or several. Every modality gets two encoders and a prediction head of
    its own; contrastive, auxiliary and modality-discriminative terms tie them together
    in training, so that each becomes better alone. Prediction runs the network of the
    modality that is there, and nothing else.

    After `fit`, only `predict_modality` still changes the answers.

    Parameters
    ----------
    <data, network and losses>
    <training, prediction and runtime>

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
    <attributes>

    See Also
    --------
    CoLearnClassifier : For classes and labels.

    Notes
    -----
    Targets are standardised inside, so losses are in units of their variance.
    Predictions are in the target's own unit; the network computes in float32.

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

    _exported, _metric = SingleModalityRegressor, staticmethod(r2_score)

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
        n_jobs: int | None = None,
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
    """Put the labelled rows in their places; the others get 0, which nothing reads."""
    if labelled.all():
        return values
    placed = np.zeros((len(labelled), *values.shape[1:]), dtype=values.dtype)
    placed[labelled] = values
    return placed


def _no_label(marks: str) -> str:
    return (
        f"y has no labelled row: all are {marks}. Label some; pretrain(X) is what "
        "learns without any."
    )
