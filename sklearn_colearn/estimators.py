"""The estimators: train on every sensor, predict with the one you have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import assert_all_finite, column_or_1d

from sklearn_colearn.base import CoLearn
from sklearn_colearn.encoders import EncoderFactory
from sklearn_colearn.export import SingleModalityClassifier, SingleModalityRegressor
from sklearn_colearn.labels import labelled_part, labelled_rows
from sklearn_colearn.prediction import Array, ClassifierPredictor, RegressorPredictor

__all__ = ["CoLearnClassifier", "CoLearnRegressor"]


class CoLearnClassifier(ClassifierPredictor, CoLearn):
    """Multi-modal co-learning classifier: train on all sensors, predict from any one.

    Binary, multi-class and multi-label. Every modality gets two encoders and a
    prediction head of its own; contrastive, auxiliary and modality-discriminative
    terms tie them together in training, so that each becomes better alone. Prediction
    runs the network of the modality that is there, and nothing else.

    Parameters
    ----------
    encoder : str, callable, or dict of str to either, default='auto'
        What turns a modality into an embedding: a name (``'linear'``, ``'mlp'``;
        ``'tempcnn'``, ``'rnn'``, ``'lstm'``, ``'gru'``, ``'tae'``, ``'ltae'``,
        ``'transformer'``, ``'convtran'``, ``'inceptiontime'`` for time series;
        ``'resnet'``, ``'pretrained:<timm name>'`` for images), or a
        :class:`torch.nn.Module` class or factory; see :mod:`sklearn_colearn.encoders`.
        ``'auto'`` is ``'mlp'`` for a table and ``'resnet'`` for images; for a time
        series ``'ltae'`` if its `times` are given or with fewer than 700 training
        rows, else ``'inceptiontime'``. One for all modalities, or one for each,
        ``'auto'`` for those left out.
    encoder_params : dict or None, default=None
        Arguments of the encoder, such as ``{"n_layers": 3}``; for all modalities, or
        by modality as ``{"S1": {"n_layers": 3}}``.
    share_encoder : bool, default=False
        Whether one encoder, of an embedding twice as wide, stands for the two that a
        modality has, which halves the cost of training and prediction.
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
    distillation_weight : float, default=1.0
        Weight of the distillation term: each modality's prediction is like that of a
        teacher, a linear head on the representations of all modalities that is trained
        along. 0 is the paper's method, which has no teacher.
    temperature : float, default=0.1
        Of the contrastive term; positive.
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
    predict_modality : str or None, default=None
        The modality that answers where X holds several at prediction. None: the mean
        over the modalities that a row has, or as `fusion` says.
    fusion : {'mean', 'teacher'}, default='mean'
        How several modalities answer together. ``'mean'``: the mean of the answers of
        those that a row has. ``'teacher'``, which is mostly better: where a row has
        all of them, the teacher that was trained on all (`distillation_weight`);
        elsewhere as ``'mean'``.
    standardize : bool, default=True
        Whether each band is brought to mean 0 and variance 1, by the training rows.
        Categorical bands are yours to encode first.
    missing_value : float, dict of str to float, or None, default=None
        What stands for a missing value beside NaN, such as 65535 or -9999, for all
        modalities or by modality. Missing values are filled with the band's mean.
    missing_indicator : bool, default=False
        Whether the network is told what was missing: a modality with any gap in the
        training rows gets one band more, the share of values that are missing at a
        step of a time series, at a pixel of images, or in a row of a table.
    drop_steps : float, default=0.0
        Probability with which training leaves out each step of a time series, anew
        in every epoch. One step of a row is always left.
    drop_modalities : float, default=0.0
        The same of each modality of a row.
    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of the classes in the supervised terms, as in scikit-learn; a list of
        dicts is for multi-label, one for each label.
    unlabeled : int, float, str or None, default=None
        The label that stands for none, such as -1 (scikit-learn's convention of
        semi-supervised learning). None: every label is a class. None and NaN in y
        always are no label. Rows without a label take part in the contrastive, the
        discriminative and the distillation term.
    max_epochs : int, default=40
        How often training sees each row.
    batch_size : int, default=128
        Rows of a training step. The contrastive term compares each row of a batch to
        all others, so very small batches make it weak.
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
    early_stopping : bool, default=False
        Whether to hold rows back, stop when the main term on them no longer falls, and
        keep the weights of the best epoch. With few labelled rows the rows held back
        are worth more in training.
    validation_fraction : float, default=0.1
        Share of the labelled rows that early stopping holds back, by class where
        possible.
    n_iter_no_change : int, default=5
        Epochs without improvement after which early stopping ends training.
    tol : float, default=1e-4
        Smallest change of the main term that counts as improvement.
    callbacks : list of skorch callbacks or None, default=None
        More callbacks for the training loop, such as skorch's ``LRScheduler`` (with
        ``lr_schedule='constant'``), ``GradientNormClipping`` or your own; none that
        score, as training has many outputs.
    device : str, default='auto'
        Where to compute: ``'auto'`` (CUDA, then MPS, then CPU), or a torch device such
        as ``'cuda:1'``.
    precision : {'float32', 'bf16'}, default='float32'
        Of the networks in training: ``'bf16'`` computes their layers in 16 bits where
        torch finds that safe (:class:`torch.autocast`), which saves memory, and time
        on GPUs and CPUs that have such units. Weights, losses and predictions are
        float32 in any case.
    compile : bool, default=False
        Whether to compile the network by :func:`torch.compile`.
    warm_start : bool, default=False
        Whether another fit goes on from the weights of the one before, or from those
        of :meth:`pretrain`, with its scalers; the optimizer and the schedule start
        anew.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the batches and the rows held back. An int gives the same
        results every time on the same CPU. None draws fresh entropy; the global states
        of numpy and torch are never touched.
    verbose : int, default=0
        1 shows a progress bar, 2 a line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; for multi-label targets the numbers of the labels.
    n_outputs_ : int
        Number of targets: 1, or the number of labels of a multi-label target.
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
        Number of epochs trained.
    history_ : pandas.DataFrame
        A row per epoch: ``train_loss`` and each of its terms unweighted
        (``train_main``, ``train_auxiliary``, ``train_contrastive``,
        ``train_discriminative``, ``train_teacher``, ``train_distillation``), the same
        of the rows held back (``valid_...``) with early stopping, the learning rate
        ``lr`` and the duration ``dur`` in seconds.
    pretrain_history_ : pandas.DataFrame
        The same of :meth:`pretrain`, if that was called.
    net_ : skorch.NeuralNet
        The trained net.

    See Also
    --------
    CoLearnRegressor : For continuous targets.

    Notes
    -----
    Probabilities are float32, the precision of the network.

    References
    ----------
    Mena, Ienco, Dantas, Interdonato, Dengel, "Multi-modal co-learning for Earth
    observation: enhancing single-modality models via modality collaboration", Machine
    Learning 114:279, 2025, doi:10.1007/s10994-025-06903-0.

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

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **CoLearn._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "unlabeled": ["boolean", Real, str, None],
    }

    def __init__(
        self,
        *,
        encoder: str | EncoderFactory | Mapping[str, str | EncoderFactory] = "auto",
        encoder_params: Mapping[str, Any] | None = None,
        share_encoder: bool = False,
        embedding_dim: int = 128,
        dropout: float = 0.2,
        auxiliary_weight: float = 1.0,
        contrastive_weight: float = 0.2,
        discriminative_weight: float = 1.0,
        distillation_weight: float = 1.0,
        temperature: float = 0.1,
        modalities: Mapping[str, Any] | None = None,
        times: Mapping[str, Any] | None = None,
        predict_modality: str | None = None,
        fusion: str = "mean",
        standardize: bool = True,
        missing_value: float | Mapping[str, float] | None = None,
        missing_indicator: bool = False,
        drop_steps: float = 0.0,
        drop_modalities: float = 0.0,
        class_weight: Mapping[Any, float] | Sequence[Any] | str | None = None,
        unlabeled: float | str | None = None,
        max_epochs: int = 40,
        batch_size: int = 128,
        lr: float = 3e-3,
        weight_decay: float = 0.3,
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        lr_schedule: str | Callable[[float], float] = "constant",
        weight_averaging: float = 0.125,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        tol: float = 1e-4,
        callbacks: Sequence[Any] | None = None,
        device: str = "auto",
        precision: str = "float32",
        compile: bool = False,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.encoder_params = encoder_params
        self.share_encoder = share_encoder
        self.embedding_dim = embedding_dim
        self.dropout = dropout
        self.auxiliary_weight = auxiliary_weight
        self.contrastive_weight = contrastive_weight
        self.discriminative_weight = discriminative_weight
        self.distillation_weight = distillation_weight
        self.temperature = temperature
        self.modalities = modalities
        self.times = times
        self.predict_modality = predict_modality
        self.fusion = fusion
        self.standardize = standardize
        self.missing_value = missing_value
        self.missing_indicator = missing_indicator
        self.drop_steps = drop_steps
        self.drop_modalities = drop_modalities
        self.class_weight = class_weight
        self.unlabeled = unlabeled
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.weight_averaging = weight_averaging
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.compile = compile
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CoLearnClassifier:
        """Train on all modalities.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            The modalities, row i of each belonging to sample i:

            - a mapping of names to arrays of shape ``(n_samples, n_features)``,
              ``(n_samples, n_timesteps, n_bands)`` or
              ``(n_samples, height, width, n_bands)``;
            - a DataFrame whose columns are a MultiIndex that begins with the modality;
            - an ``xarray.Dataset`` with a sample dimension, or a mapping of
              ``xarray.DataArray``;
            - a flat array or DataFrame of shape ``(n_samples, n_features)``, with
              ``modalities=`` of the estimator saying which columns are whose.

            NaN and `missing_value` are missing; a row of a modality in which all is
            missing adds nothing to that modality's terms.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels (numbers or strings), or a 0/1 indicator for multi-label. None, NaN
            and `unlabeled` mean that the row has no label; in an indicator, all of
            the row.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in all terms but the contrastive and the
            discriminative one, relative to the mean of the labelled rows.

        Returns
        -------
        CoLearnClassifier
            Itself, fitted.

        Raises
        ------
        ValueError
            If X or y is not as said above, a parameter is invalid, or training
            diverges.
        TypeError
            If a name, a column or an encoder is of a wrong type.

        Warns
        -----
        UserWarning
            If there is one modality only, and so nothing to learn together.
        ConvergenceWarning
            If Ctrl-C ended training; the estimator keeps what it had learnt by then.
        """
        self._fit(X, y, sample_weight)
        return self

    def export(self, modality: str) -> SingleModalityClassifier:
        """Take out the model of one modality: its scaler, two encoders and head.

        Parameters
        ----------
        modality : str
            Its name.

        Returns
        -------
        SingleModalityClassifier
            Fitted, a copy; its answers are those of this estimator from the modality.

        Raises
        ------
        ValueError
            If there is no such modality.
        NotFittedError
            If the estimator is not fitted.
        """
        return self._export(modality, SingleModalityClassifier)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of `predict`.

        Parameters
        ----------
        X : any form that `predict` takes
            The rows.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            The truth; rows without a label are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no row has a label, or X is not as in `predict`.
        """
        labelled = labelled_rows(
            y.toarray() if hasattr(y, "toarray") else y, self.unlabeled
        )
        if labelled.all():
            return float(super().score(X, y, sample_weight))
        return self._score_labelled(accuracy_score, X, y, labelled, sample_weight)

    # -- hooks -----------------------------------------------------------------------

    def _read_target(self, y: Any) -> tuple[Array, Array, dict[str, Any]]:
        if hasattr(y, "toarray"):  # a sparse indicator
            y = y.toarray()
        labelled = labelled_rows(y, self.unlabeled)
        if not labelled.any():
            marked = "" if self.unlabeled is None else f", {self.unlabeled!r}"
            raise ValueError(_no_label(f"None, NaN{marked}"))
        y = labelled_part(y, labelled)
        if np.asarray(y).dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        kind = type_of_target(y, input_name="y")
        if kind == "multilabel-indicator":
            indicator = np.asarray(y).astype(np.float32)
            n_labels = indicator.shape[1]
            return (
                _spread(indicator, labelled),
                labelled,
                {
                    "classes_": np.arange(n_labels),
                    "n_outputs_": n_labels,
                    "_task": "binary_cross_entropy",
                },
            )
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
        return (
            _spread(codes, labelled),
            labelled,
            {
                "classes_": classes,
                "n_outputs_": 1,
                "_task": "cross_entropy",
            },
        )

    def _class_weights(self, target: Array) -> Array | None:
        if self.class_weight is None:
            return None
        labels = target
        if self._task == "cross_entropy":
            labels = self.classes_[target]
            if isinstance(self.class_weight, dict):
                unseen = [c for c in self.class_weight if c not in set(labels)]
                if unseen:
                    raise ValueError(
                        f"class_weight names the labels {unseen}, which are not in y; "
                        f"y has {self.classes_.tolist()}."
                    )
        weight: Array = compute_sample_weight(self.class_weight, labels)
        return weight

    def _n_logits(self) -> int:
        return len(self.classes_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class CoLearnRegressor(RegressorPredictor, CoLearn):
    """Multi-modal co-learning regressor: train on all sensors, predict from any one.

    One target or several. Every modality gets two encoders and a prediction head of
    its own; contrastive, auxiliary and modality-discriminative terms tie them together
    in training, so that each becomes better alone. Prediction runs the network of the
    modality that is there, and nothing else.

    Parameters
    ----------
    encoder : str, callable, or dict of str to either, default='auto'
        What turns a modality into an embedding: a name (``'linear'``, ``'mlp'``;
        ``'tempcnn'``, ``'rnn'``, ``'lstm'``, ``'gru'``, ``'tae'``, ``'ltae'``,
        ``'transformer'``, ``'convtran'``, ``'inceptiontime'`` for time series;
        ``'resnet'``, ``'pretrained:<timm name>'`` for images), or a
        :class:`torch.nn.Module` class or factory; see :mod:`sklearn_colearn.encoders`.
        ``'auto'`` is ``'mlp'`` for a table and ``'resnet'`` for images; for a time
        series ``'ltae'`` if its `times` are given or with fewer than 700 training
        rows, else ``'inceptiontime'``. One for all modalities, or one for each,
        ``'auto'`` for those left out.
    encoder_params : dict or None, default=None
        Arguments of the encoder, such as ``{"n_layers": 3}``; for all modalities, or
        by modality as ``{"S1": {"n_layers": 3}}``.
    share_encoder : bool, default=False
        Whether one encoder, of an embedding twice as wide, stands for the two that a
        modality has, which halves the cost of training and prediction.
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
    distillation_weight : float, default=1.0
        Weight of the distillation term: each modality's prediction is like that of a
        teacher, a linear head on the representations of all modalities that is trained
        along. 0 is the paper's method, which has no teacher.
    temperature : float, default=0.1
        Of the contrastive term; positive.
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
    predict_modality : str or None, default=None
        The modality that answers where X holds several at prediction. None: the mean
        over the modalities that a row has, or as `fusion` says.
    fusion : {'mean', 'teacher'}, default='mean'
        How several modalities answer together. ``'mean'``: the mean of the answers of
        those that a row has. ``'teacher'``, which is mostly better: where a row has
        all of them, the teacher that was trained on all (`distillation_weight`);
        elsewhere as ``'mean'``.
    standardize : bool, default=True
        Whether each band is brought to mean 0 and variance 1, by the training rows.
        Categorical bands are yours to encode first.
    missing_value : float, dict of str to float, or None, default=None
        What stands for a missing value beside NaN, such as 65535 or -9999, for all
        modalities or by modality. Missing values are filled with the band's mean.
    missing_indicator : bool, default=False
        Whether the network is told what was missing: a modality with any gap in the
        training rows gets one band more, the share of values that are missing at a
        step of a time series, at a pixel of images, or in a row of a table.
    drop_steps : float, default=0.0
        Probability with which training leaves out each step of a time series, anew
        in every epoch. One step of a row is always left.
    drop_modalities : float, default=0.0
        The same of each modality of a row.
    max_epochs : int, default=40
        How often training sees each row.
    batch_size : int, default=128
        Rows of a training step. The contrastive term compares each row of a batch to
        all others, so very small batches make it weak.
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
    early_stopping : bool, default=False
        Whether to hold rows back, stop when the main term on them no longer falls, and
        keep the weights of the best epoch. With few labelled rows the rows held back
        are worth more in training.
    validation_fraction : float, default=0.1
        Share of the labelled rows that early stopping holds back, by class where
        possible.
    n_iter_no_change : int, default=5
        Epochs without improvement after which early stopping ends training.
    tol : float, default=1e-4
        Smallest change of the main term that counts as improvement.
    callbacks : list of skorch callbacks or None, default=None
        More callbacks for the training loop, such as skorch's ``LRScheduler`` (with
        ``lr_schedule='constant'``), ``GradientNormClipping`` or your own; none that
        score, as training has many outputs.
    device : str, default='auto'
        Where to compute: ``'auto'`` (CUDA, then MPS, then CPU), or a torch device such
        as ``'cuda:1'``.
    precision : {'float32', 'bf16'}, default='float32'
        Of the networks in training: ``'bf16'`` computes their layers in 16 bits where
        torch finds that safe (:class:`torch.autocast`), which saves memory, and time
        on GPUs and CPUs that have such units. Weights, losses and predictions are
        float32 in any case.
    compile : bool, default=False
        Whether to compile the network by :func:`torch.compile`.
    warm_start : bool, default=False
        Whether another fit goes on from the weights of the one before, or from those
        of :meth:`pretrain`, with its scalers; the optimizer and the schedule start
        anew.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the batches and the rows held back. An int gives the same
        results every time on the same CPU. None draws fresh entropy; the global states
        of numpy and torch are never touched.
    verbose : int, default=0
        1 shows a progress bar, 2 a line per epoch.

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
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
        Number of epochs trained.
    history_ : pandas.DataFrame
        A row per epoch: ``train_loss`` and each of its terms unweighted
        (``train_main``, ``train_auxiliary``, ``train_contrastive``,
        ``train_discriminative``, ``train_teacher``, ``train_distillation``), the same
        of the rows held back (``valid_...``) with early stopping, the learning rate
        ``lr`` and the duration ``dur`` in seconds.
    pretrain_history_ : pandas.DataFrame
        The same of :meth:`pretrain`, if that was called.
    net_ : skorch.NeuralNet
        The trained net.

    See Also
    --------
    CoLearnClassifier : For classes and labels.

    Notes
    -----
    Targets are standardised inside, so losses are in units of their variance.
    Predictions are in the target's own unit; the network computes in float32.

    References
    ----------
    Mena, Ienco, Dantas, Interdonato, Dengel, "Multi-modal co-learning for Earth
    observation: enhancing single-modality models via modality collaboration", Machine
    Learning 114:279, 2025, doi:10.1007/s10994-025-06903-0.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnRegressor
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, task="regression", random_state=0)
    >>> reg = CoLearnRegressor(max_epochs=3, random_state=0).fit(X, y)
    >>> reg.predict({"S2": X["S2"][:5]}).shape
    (5,)
    """

    def __init__(
        self,
        *,
        encoder: str | EncoderFactory | Mapping[str, str | EncoderFactory] = "auto",
        encoder_params: Mapping[str, Any] | None = None,
        share_encoder: bool = False,
        embedding_dim: int = 128,
        dropout: float = 0.2,
        auxiliary_weight: float = 1.0,
        contrastive_weight: float = 0.2,
        discriminative_weight: float = 1.0,
        distillation_weight: float = 1.0,
        temperature: float = 0.1,
        modalities: Mapping[str, Any] | None = None,
        times: Mapping[str, Any] | None = None,
        predict_modality: str | None = None,
        fusion: str = "mean",
        standardize: bool = True,
        missing_value: float | Mapping[str, float] | None = None,
        missing_indicator: bool = False,
        drop_steps: float = 0.0,
        drop_modalities: float = 0.0,
        max_epochs: int = 40,
        batch_size: int = 128,
        lr: float = 3e-3,
        weight_decay: float = 0.3,
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        lr_schedule: str | Callable[[float], float] = "constant",
        weight_averaging: float = 0.125,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        tol: float = 1e-4,
        callbacks: Sequence[Any] | None = None,
        device: str = "auto",
        precision: str = "float32",
        compile: bool = False,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.encoder_params = encoder_params
        self.share_encoder = share_encoder
        self.embedding_dim = embedding_dim
        self.dropout = dropout
        self.auxiliary_weight = auxiliary_weight
        self.contrastive_weight = contrastive_weight
        self.discriminative_weight = discriminative_weight
        self.distillation_weight = distillation_weight
        self.temperature = temperature
        self.modalities = modalities
        self.times = times
        self.predict_modality = predict_modality
        self.fusion = fusion
        self.standardize = standardize
        self.missing_value = missing_value
        self.missing_indicator = missing_indicator
        self.drop_steps = drop_steps
        self.drop_modalities = drop_modalities
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.weight_averaging = weight_averaging
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.compile = compile
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CoLearnRegressor:
        """Train on all modalities.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            The modalities, in any form that :meth:`CoLearnClassifier.fit` takes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The target, in any unit. None or NaN, in all columns, means that the row
            has no label: it takes part in the contrastive, the discriminative and the
            distillation term.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in all terms but the contrastive and the
            discriminative one, relative to the mean of the labelled rows.

        Returns
        -------
        CoLearnRegressor
            Itself, fitted.

        Raises
        ------
        ValueError
            If X or y is not as said above, a parameter is invalid, or training
            diverges.
        TypeError
            If a name, a column or an encoder is of a wrong type.

        Warns
        -----
        UserWarning
            If there is one modality only, and so nothing to learn together.
        ConvergenceWarning
            If Ctrl-C ended training; the estimator keeps what it had learnt by then.
        """
        self._fit(X, y, sample_weight)
        return self

    def export(self, modality: str) -> SingleModalityRegressor:
        """Take out the model of one modality: its scaler, two encoders and head.

        Parameters
        ----------
        modality : str
            Its name.

        Returns
        -------
        SingleModalityRegressor
            Fitted, a copy; its answers are those of this estimator from the modality.

        Raises
        ------
        ValueError
            If there is no such modality.
        NotFittedError
            If the estimator is not fitted.
        """
        return self._export(modality, SingleModalityRegressor)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination, R2, of `predict`.

        Parameters
        ----------
        X : any form that `predict` takes
            The rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The truth; rows without a label are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no row has a label, or X is not as in `predict`.
        """
        labelled = labelled_rows(y)
        if labelled.all():
            return float(super().score(X, y, sample_weight))
        return self._score_labelled(r2_score, X, y, labelled, sample_weight)

    # -- hooks -----------------------------------------------------------------------

    def _read_target(self, y: Any) -> tuple[Array, Array, dict[str, Any]]:
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
        return (
            _spread(values, labelled),
            labelled,
            {
                "n_outputs_": values.shape[1],
                "_task": "squared_error",
                "_flat_target": flat,
            },
        )

    def _fit_target(self, target: Array, weight: Array | None) -> None:
        self._target_scaler = StandardScaler()
        self._target_scaler.set_output(transform="default")
        self._target_scaler.fit(target, sample_weight=weight)

    def _target_tensor(self, target: Array) -> torch.Tensor:
        return torch.from_numpy(
            self._target_scaler.transform(target).astype(np.float32)
        )

    def _n_logits(self) -> int:
        return self.n_outputs_


def _spread(values: Array, labelled: Array) -> Array:
    """Put the labelled rows in their places; the others get 0, which nothing reads."""
    if labelled.all():
        return values
    spread = np.zeros((len(labelled), *values.shape[1:]), dtype=values.dtype)
    spread[labelled] = values
    return spread


def _no_label(marks: str) -> str:
    return (
        f"y has no labelled row: all are {marks}. Label some; pretrain(X) is what "
        "learns without any."
    )
