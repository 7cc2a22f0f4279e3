"""What `export` gives: a fitted model of one modality, without the others' networks."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_colearn.encoders import EncoderFactory
from sklearn_colearn.modalities import ModalityDict, is_named
from sklearn_colearn.network import ModalityNetwork
from sklearn_colearn.onnx_export import RawToAnswers, write_onnx
from sklearn_colearn.prediction import (
    ClassifierPredictor,
    Predictor,
    RegressorPredictor,
)
from sklearn_colearn.schema import Schema
from sklearn_colearn.single_modality import Scaler
from sklearn_colearn.times import Calendar

__all__ = ["SingleModalityClassifier", "SingleModalityRegressor"]


class SingleModalityModel(Predictor):
    """What exported classifiers and regressors have in common.

    They come fitted, so, as with scikit-learn's FrozenEstimator, ``fit`` changes
    nothing and ``clone`` gives the model itself.
    """

    network_: ModalityNetwork

    @classmethod
    def make(
        cls,
        *,
        schema: Schema,
        scaler: Scaler,
        network: ModalityNetwork,
        calendar: Calendar | None,
        encoder: str | EncoderFactory,
        encoder_params: Any,
        dropout: float,
        missing_value: float | None,
        target: dict[str, Any],
    ) -> Self:
        """Put a model together.

        Parameters
        ----------
        schema : Schema
            What fit saw of the one modality, from :meth:`Schema.only`.
        scaler, network, calendar, missing_value
            Of the modality.
        encoder, encoder_params, dropout
            What its encoders were made with.
        target : dict
            The attributes that describe the target, ``classes_`` among them.
        """
        made = cls()
        (modality,) = schema.modalities
        shape = schema.shapes[modality]
        made.network_ = network.eval()
        made.modalities_, made.input_shapes_ = [modality], {modality: shape}
        made.encoders_, made.encoder_params = {modality: encoder}, encoder_params
        made.dropout, made.missing_value = dropout, missing_value
        made._schema = schema
        made._scalers = {modality: scaler}
        made._calendars = {} if calendar is None else {modality: calendar}
        made.n_features_in_ = int(np.prod(shape))
        names = schema.names[modality]
        if names is not None and all(isinstance(name, str) for name in names):
            made.feature_names_in_ = np.array(names, dtype=object)
        for name, value in target.items():
            setattr(made, name, value)
        return made

    @property
    def modality_(self) -> str:
        """The name of the modality."""
        check_is_fitted(self)
        return self.modalities_[0]

    @property
    def input_shape_(self) -> tuple[int, ...]:
        """The shape of a row: ``(n_timesteps, n_bands)``, say."""
        return self.input_shapes_[self.modality_]

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Do nothing: the model came fitted.

        Parameters
        ----------
        X, y, **fit_params : ignored
            For scikit-learn's tools, which call ``fit``.
        """
        check_is_fitted(self)
        return self

    def to_onnx(self, path: str | os.PathLike[str], *, quantize: bool = False) -> None:
        """Write the model as an ONNX file, for devices without Python or torch.

        The graph takes raw values: scaling and missing values are inside. Its input is
        ``X``, float32 of shape (rows, ``*input_shape_``) with NaN or `missing_value`
        where a value is missing, and ``times`` if times come with each row: float32 of
        shape (rows, n_timesteps), days since the metadata's ``times_reference``. Its
        output is ``answers``, float32 of shape (rows, n_classes), (rows, n_labels) or
        (rows, n_outputs): probabilities, or values in the unit of the target. A row
        without any value gets NaN. The file's metadata have, as JSON, ``modality``,
        ``classes`` and the names of the bands, ``bands``, if they are known.

        Parameters
        ----------
        path : str or path-like
            Where to; what is there is replaced, in one step.
        quantize : bool, default=False
            Whether the weights of linear layers are kept as 8-bit integers, and
            multiplied as such: a smaller file, and answers that differ in the third
            digit or so. Measure the cost on your own data.

        Raises
        ------
        ValueError
            If a row's encoder cannot be written for any number of rows.
        ImportError
            If onnx, onnxruntime or onnxscript are not installed.
        """
        check_is_fitted(self)
        modality = self.modality_
        calendar = self._calendars.get(modality)
        target = getattr(self, "_target_scaler", None)
        graph = RawToAnswers(
            self.network_,
            self._scalers[modality],
            self._missing_value(modality),
            None if calendar is None else calendar.steps,
            self._task,
            None if target is None else (target.mean_, target.scale_),
        )
        example = [torch.zeros(2, *self.input_shape_)]
        labels = self._schema.labels.get(modality) or (self._schema.names[modality],)
        names: dict[str, Any] = {"modality": modality}
        if labels[-1] is not None:
            names["bands"] = [str(band) for band in labels[-1]]
        if hasattr(self, "classes_"):
            names["classes"] = self.classes_.tolist()
        if calendar is not None and calendar.entry is not None:
            example.append(torch.zeros(2, self.input_shape_[0]))
            names["times_reference"] = calendar.reference
        write_onnx(path, graph, tuple(example), names, quantize)

    def _network(self, modality: str) -> ModalityNetwork:
        return self.network_

    def _read_prediction(self, X: Any, modality: str | None) -> ModalityDict:
        check_is_fitted(self)
        if is_named(X):  # other modalities may come along
            X = self._schema.named(X)
            X = X.select([m for m in X if m in self._schema.shapes]) or X
        return super()._read_prediction(X, modality)

    def _is_flat(self, X: Any) -> bool:
        return False  # the schema reads rows of the modality, flat ones too

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_clone__(self) -> Self:
        return self

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        if not hasattr(self, "network_"):
            return f"{type(self).__name__}()"
        shape = ", ".join(["n", *map(str, self.input_shape_)])
        return f"{type(self).__name__} of {self.modality_!r} ({shape})"


class SingleModalityClassifier(ClassifierPredictor, SingleModalityModel):
    """A fitted classifier of one modality: its scaler, its two encoders and its head.

    Made by :meth:`CoLearnClassifier.export` or :func:`load_model`, not by hand. It
    answers as the estimator that it came from does from this modality, bit for bit on
    the same device, and holds nothing of the others.

    X is an array of shape (n_samples, ``*input_shape_``), its flat form
    (n_samples, ``n_features_in_``), a DataFrame, or any form that names its modalities
    and holds this one. Encoders that take the times of each row need these too, as in
    training: ``{"S2": array, "S2_dates": dates}``.

    There is nothing to train: as with :class:`sklearn.frozen.FrozenEstimator`, ``fit``
    does nothing and :func:`sklearn.base.clone` returns the model itself, so it can
    stand in scikit-learn's pipelines, ensembles and calibration.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; for multi-label targets the numbers of the labels.
    n_outputs_ : int
        Number of targets: 1, or the number of labels of a multi-label target.
    modality_ : str
        The name of the modality.
    input_shape_ : tuple of int
        The shape of a row.
    modalities_ : list of str
        Its name alone.
    input_shapes_ : dict of str to tuple of int
        Its shape alone, by name.
    encoders_ : dict of str to str or callable
        Its encoder.
    n_features_in_ : int
        Number of columns of the flat form.
    feature_names_in_ : ndarray of str
        Column names, if the modality was a DataFrame with names in fit.
    network_ : torch.nn.Module
        The two encoders and the head.

    See Also
    --------
    sklearn_colearn.save_model : Keep it in a file that runs no code when loaded.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> radar = clf.export("S1")
    >>> radar
    SingleModalityClassifier of 'S1' (n, 12, 2)
    >>> bool((radar.predict(X["S1"]) == clf.predict(X["S1"])).all())
    True
    """


class SingleModalityRegressor(RegressorPredictor, SingleModalityModel):
    """A fitted regressor of one modality: its scaler, its two encoders and its head.

    Made by :meth:`CoLearnRegressor.export` or :func:`load_model`, not by hand;
    otherwise as :class:`SingleModalityClassifier`, with values instead of classes.

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
    modality_ : str
        The name of the modality.
    input_shape_ : tuple of int
        The shape of a row.
    modalities_ : list of str
        Its name alone.
    input_shapes_ : dict of str to tuple of int
        Its shape alone, by name.
    encoders_ : dict of str to str or callable
        Its encoder.
    n_features_in_ : int
        Number of columns of the flat form.
    feature_names_in_ : ndarray of str
        Column names, if the modality was a DataFrame with names in fit.
    network_ : torch.nn.Module
        The two encoders and the head.
    """
