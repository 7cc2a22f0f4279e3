"""Prediction: from an X to answers, of whole estimators and of exported models."""

from __future__ import annotations

import copyreg
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.preprocessing import StandardScaler
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_colearn.encoders import EncoderFactory
from sklearn_colearn.modalities import (
    ModalityDict,
    as_array,
    is_data_array,
    is_named,
    labelled_columns,
)
from sklearn_colearn.network import ModalityNetwork, ModalityOutput
from sklearn_colearn.schema import Schema, rows_text
from sklearn_colearn.single_modality import Scaler, SingleModality
from sklearn_colearn.times import Calendar

__all__ = ["ClassifierPredictor", "Predictor", "RegressorPredictor"]

REPRESENTATIONS = ("joint", "specific", "shared", "unused")

Array = np.ndarray[Any, Any]


class Predictor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What answers, once it is fitted: the networks of one modality or several.

    A concrete class says where the network of a modality is (`_network`), and a
    classifier or regressor how logits become answers (`_answer`).
    """

    #: Parameters of the estimators.
    predict_modality: str | None = None
    fusion: str = "mean"
    missing_value: float | Mapping[str, float] | None = None
    encoder_params: Mapping[str, Any] | None = None
    dropout: float
    #: Set by fit: the task loss, what it saw of X, the scalers and times by modality.
    _task: str
    _schema: Schema
    _scalers: dict[str, Scaler]
    _calendars: dict[str, Calendar]
    modalities_: list[str]
    input_shapes_: dict[str, tuple[int, ...]]
    encoders_: dict[str, str | EncoderFactory]
    n_features_in_: int

    # -- hooks -----------------------------------------------------------------------

    #: Names of the attributes that describe the target.
    _target_attributes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def _network(self, modality: str) -> ModalityNetwork:
        """Return the trained network of one modality."""

    @abstractmethod
    def _answer(self, logits: torch.Tensor) -> Array:
        """Return probabilities or values: (n_samples, n_classes or n_outputs)."""

    #: Of `persistence.py`: a fitted model as text and arrays, and back.
    _to_plain: ClassVar[Callable[..., dict[str, Any]]]
    _from_plain: ClassVar[Callable[..., dict[str, Any]]]

    def _target(self) -> dict[str, Any]:
        """Return the attributes that describe the target."""
        return {
            name: getattr(self, name)
            for name in self._target_attributes
            if hasattr(self, name)
        }

    # -- from X to the outputs of the networks -----------------------------------------

    def _read_prediction(self, X: Any, modality: str | None) -> ModalityDict:
        """Return the modalities of X that are to answer, and the entries of times."""
        check_is_fitted(self)
        schema = self._schema
        if modality is not None and not isinstance(modality, str):
            raise TypeError(
                f"modality= is the name of one modality; got {modality!r}. Several are "
                "taken by X.select([...]) of a ModalityDict."
            )
        if modality is not None and modality not in schema.modalities:
            raise ValueError(
                f"Unknown modality {modality!r}; fit saw {self.modalities_}."
            )
        if is_data_array(X):
            X = schema.bare(X)
            if hasattr(self, "feature_names_in_"):
                X = labelled_columns(X)
        if not is_named(X) and self._is_flat(X):
            named = schema.split(self._validate_flat(X, reset=False))
        else:
            named = schema.read(X, modality, prefer=self.predict_modality)
        chosen, held = modality, self._modalities_of(named)
        if chosen is None and len(held) > 1:
            chosen = self.predict_modality
        if chosen is not None and chosen not in held:
            raise ValueError(
                f"The prediction is to be from modality {chosen!r}, but X holds "
                f"{held}; pass {chosen!r}, or name another by modality=."
            )
        answering = held if chosen is None else [chosen]
        entries = {
            m: self._calendars[m].entry for m in answering if m in self._calendars
        }
        for m, entry in entries.items():
            if entry is not None and entry not in named:
                raise ValueError(
                    f"The times of modality {m!r} came with each row in fit, and have "
                    f"to come at prediction: pass a dict {{{m!r}: array, {entry!r}: "
                    "times}."
                )
        return named.select([*answering, *filter(None, entries.values())])

    def _modalities_of(self, X: ModalityDict) -> list[str]:
        """Return the modalities of X, without the entries that hold times."""
        return [m for m in X if m not in self._schema.times]

    def _is_flat(self, X: Any) -> bool:
        """Whether a bare X holds all columns of the flat form of what fit saw."""
        columns = self._schema.columns
        if columns is None:
            if isinstance(X, pd.DataFrame) or is_data_array(X):
                return False
        elif len(columns) == 1:  # one modality is its own flat form
            return len(getattr(X, "shape", ())) < 3
        elif isinstance(X, pd.DataFrame) and hasattr(self, "feature_names_in_"):
            # Fewer columns may be one modality; all of them in another order are not.
            return set(self.feature_names_in_) <= set(X.columns)
        shape = np.shape(X)
        as_wide = len(shape) == 2 and shape[1] == self.n_features_in_
        # After a fit by names, an array that is like a modality is that one.
        is_one = columns is None and shape[1:] in self._schema.shapes.values()
        return as_wide and not is_one

    def _outputs(
        self, X: Any, modality: str | None, keep: Collection[str]
    ) -> list[tuple[str, Array, ModalityOutput]]:
        """Run every chosen modality; each row has to have one of them.

        `keep` has the names of the representations that are needed.
        """
        chosen = self._read_prediction(X, modality)
        n = len(chosen)
        if n == 0:
            raise ValueError(
                "X has 0 sample(s) while a minimum of 1 is required for a prediction."
            )
        models = {m: self._single_modality(m) for m in self._modalities_of(chosen)}
        read = {m: model.read(chosen[m]) for m, model in models.items()}
        nowhere = ~np.any([present for _, present in read.values()], axis=0)
        if nowhere.any():
            raise ValueError(
                f"All values of {' and '.join(map(repr, models))} are missing in "
                f"{rows_text(np.flatnonzero(nowhere))}, so nothing can answer there; "
                "drop these rows, or pass another modality for them."
            )
        days = {
            m: self._calendars[m].days(chosen, *read[m])
            for m in models
            if m in self._calendars
        }
        return [
            (m, present, models[m].run(array, days.get(m), keep))
            for m, (array, present) in read.items()
        ]

    def _single_modality(self, modality: str) -> SingleModality:
        return SingleModality(
            modality,
            self._scalers[modality],
            self._network(modality),
            self._missing_value(modality),
        )

    def _answers(self, X: Any, modality: str | None) -> tuple[Array, pd.DataFrame]:
        """Return the answer of each row, and which modalities it is from."""
        keep = ("specific", "shared") if self.fusion == "teacher" else ()
        outputs = self._outputs(X, modality, keep)
        answered = pd.DataFrame(
            {m: np.zeros(len(outputs[0][1]), dtype=bool) for m in self.modalities_}
        )
        for m, present, _ in outputs:
            answered[m] = present
        if len(outputs) == 1:  # then every row has it
            return self._answer(outputs[0][2].prediction), answered
        total: Any = 0
        for _, present, output in outputs:
            answers = self._answer(output.prediction)
            spread = np.zeros((len(present), answers.shape[1]), dtype=answers.dtype)
            spread[present] = answers
            total = total + spread
        has = answered.to_numpy(dtype=bool)  # (n_samples, n_modalities)
        mean: Array = total / has.sum(axis=1, keepdims=True).astype(total.dtype)
        complete = np.asarray(has.all(axis=1))
        if complete.any() and (taught := self._taught(outputs, complete)) is not None:
            mean[complete] = self._answer(taught)
        return mean, answered

    def _taught(
        self, outputs: list[tuple[str, Array, ModalityOutput]], complete: Array
    ) -> torch.Tensor | None:
        """Return what answers in the place of the mean, for the rows that have all."""
        return None

    def _validate_flat(self, X: Any, *, reset: bool) -> Array:
        if isinstance(X, np.ma.MaskedArray):
            X = as_array(X)
        # Infinite values are refused by modality later; -inf may be a missing_value.
        flat: Array = validate_data(self, X, reset=reset, ensure_all_finite=False)
        return flat

    def _missing_value(self, modality: str) -> float | None:
        if isinstance(self.missing_value, Mapping):
            value: float | None = self.missing_value.get(modality)
            return value
        return self.missing_value

    # -- representations -------------------------------------------------------------

    def embed(
        self, X: Any, representation: str = "shared", modality: str | None = None
    ) -> Array:
        """Return what the network makes of X before the prediction.

        Parameters
        ----------
        X : any form that `predict` takes
            One modality or several.
        representation : {'shared', 'specific', 'unused', 'joint'}, default='shared'
            Information that the modalities have in common; unique information that
            the prediction uses; unique information that it does not use; or
            ``[specific, shared]`` side by side, which is what the prediction is made
            of.
        modality : str, default=None
            The modality to use; found as in `predict` by default.

        Returns
        -------
        ndarray of shape (n_samples, embedding_dim / 2), float32
            Twice as wide for ``'joint'``. If several modalities are to answer, theirs
            stand side by side in the order of ``modalities_``, with NaN for a row
            that lacks the modality.

        Raises
        ------
        ValueError
            If the representation is unknown, or X is not as in fit.
        NotFittedError
            If the estimator is not fitted.
        """
        if representation not in REPRESENTATIONS:
            raise ValueError(
                f"Unknown representation {representation!r}; valid are "
                f"{list(REPRESENTATIONS)}."
            )
        columns = []
        joint = representation == "joint"
        keep = ("specific", "shared") if joint else (representation,)
        outputs = self._outputs(X, modality, keep)
        for _, present, output in sorted(
            outputs, key=lambda item: self.modalities_.index(item[0])
        ):
            z = getattr(output, representation)
            spread = np.full((len(present), z.shape[1]), np.nan, dtype=np.float32)
            spread[present] = z.numpy()
            columns.append(spread)
        return np.concatenate(columns, axis=1)

    def transform(self, X: Any) -> Array:
        """Return ``[specific, shared]``, what the prediction is made of.

        Parameters
        ----------
        X : any form that `predict` takes
            One modality, or several: then ``predict_modality`` picks one, and without
            it theirs stand side by side in the order of ``modalities_``.

        Returns
        -------
        ndarray of shape (n_samples, embedding_dim), float32
            That for each modality that answers.
        """
        names = self._names_modalities()
        wraps = _get_output_config("transform", self)["dense"] != "default"
        answering = self._modalities_of(self._read_prediction(X, None)) if wraps else []
        if wraps and answering != names:
            raise ValueError(
                "set_output needs the same columns every time, those of "
                f"{names}, but X makes those of {answering}; set predict_modality to "
                "the one modality to transform."
            )
        return self.embed(X, "joint")

    def _names_modalities(self) -> list[str]:
        check_is_fitted(self)
        return [self.predict_modality] if self.predict_modality else self.modalities_

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns of `transform` on all modalities.

        Parameters
        ----------
        input_features : ignored
            For compatibility with scikit-learn.

        Returns
        -------
        ndarray of str
            ``"S1_specific0"`` and so on, of ``predict_modality`` if it is set.
        """
        modalities = self._names_modalities()
        half = self._network(modalities[0]).head.in_features // 2
        return np.array(
            [
                f"{modality}_{representation}{i}"
                for modality in modalities
                for representation in ("specific", "shared")
                for i in range(half)
            ],
            dtype=object,
        )

    # -- files -----------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        # pickle, joblib and copy: everything as it is.
        return copyreg.__newobj__, (type(self),), vars(self).copy()  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        # skops: text and arrays, as it knows no tensors.
        if self.__sklearn_is_fitted__():
            return self._to_plain()
        state: dict[str, Any] = super().__getstate__()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if set(state) == {"description", "arrays"}:
            state = self._from_plain(state)
        super().__setstate__(state)

    # -- scikit-learn ----------------------------------------------------------------

    @abstractmethod
    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are networks to ask."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class ClassifierPredictor(ClassifierMixin, Predictor):  # type: ignore[misc]
    """Answers of a classifier: labels and probabilities."""

    _target_attributes = ("_task", "n_outputs_", "classes_")
    classes_: Array

    def predict(
        self, X: Any, modality: str | None = None, *, return_modalities: bool = False
    ) -> Any:
        """Predict labels from whatever modalities X holds.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            One modality or several, in any form that `fit` takes. A bare array of one
            modality is recognised by its shape without the first axis, a bare
            DataFrame by its column names; an array of shape (n_samples,
            ``n_features_in_``) is the flat form of all that fit saw.
        modality : str, default=None
            The modality to predict from. By default ``predict_modality`` where X holds
            several; without that the mean over all that a row has, or as ``fusion``
            says.
        return_modalities : bool, default=False
            Whether to say which modalities each answer is from.

        Returns
        -------
        labels : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels, or a 0/1 indicator for multi-label.
        answered : pandas.DataFrame of shape (n_samples, n_modalities), bool
            Only with ``return_modalities=True``: a column for each modality of
            ``modalities_``, whether it has a part in the answer.

        Raises
        ------
        ValueError
            If X fits no modality or several, has other bands or time steps than in
            fit, infinite values, or rows without any value.
        NotFittedError
            If the estimator is not fitted.
        """
        probabilities, answered = self._answers(X, modality)
        if self._task == "binary_cross_entropy":
            labels = (probabilities >= 0.5).astype(int)
        else:
            labels = self.classes_[probabilities.argmax(axis=1)]
        return (labels, answered) if return_modalities else labels

    def predict_proba(
        self, X: Any, modality: str | None = None, *, return_modalities: bool = False
    ) -> Any:
        """Predict the probability of each class, or of each label.

        Parameters
        ----------
        X, modality, return_modalities
            As in `predict`.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes or n_labels), float32
            In the order of ``classes_``. Rows sum to 1, except for multi-label.
        answered : pandas.DataFrame of shape (n_samples, n_modalities), bool
            Only with ``return_modalities=True``, as in `predict`.

        Raises
        ------
        ValueError, NotFittedError
            As in `predict`.
        """
        probabilities, answered = self._answers(X, modality)
        return (probabilities, answered) if return_modalities else probabilities

    def predict_log_proba(self, X: Any, modality: str | None = None) -> Array:
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X, modality
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels), float32
        """
        with np.errstate(divide="ignore"):
            return np.log(self._answers(X, modality)[0])

    def _answer(self, logits: torch.Tensor) -> Array:
        if self._task == "binary_cross_entropy":
            return logits.sigmoid().numpy()
        return logits.softmax(dim=1).numpy()


class RegressorPredictor(RegressorMixin, Predictor):  # type: ignore[misc]
    """Answers of a regressor: values in the unit of the target."""

    _target_attributes = ("_task", "n_outputs_", "_flat_target", "_target_scaler")
    _target_scaler: StandardScaler
    _flat_target: bool
    n_outputs_: int

    def predict(
        self, X: Any, modality: str | None = None, *, return_modalities: bool = False
    ) -> Any:
        """Predict the target from whatever modalities X holds.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            One modality or several, in any form that `fit` takes. A bare array of one
            modality is recognised by its shape without the first axis, a bare
            DataFrame by its column names; an array of shape (n_samples,
            ``n_features_in_``) is the flat form of all that fit saw.
        modality : str, default=None
            The modality to predict from. By default ``predict_modality`` where X holds
            several; without that the mean over all that a row has, or as ``fusion``
            says.
        return_modalities : bool, default=False
            Whether to say which modalities each answer is from.

        Returns
        -------
        values : ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            In the unit of the target; of the shape that y had in fit.
        answered : pandas.DataFrame of shape (n_samples, n_modalities), bool
            Only with ``return_modalities=True``: a column for each modality of
            ``modalities_``, whether it has a part in the answer.

        Raises
        ------
        ValueError
            If X fits no modality or several, has other bands or time steps than in
            fit, infinite values, or rows without any value.
        NotFittedError
            If the estimator is not fitted.
        """
        values, answered = self._answers(X, modality)
        values = values.ravel() if self._flat_target else values
        return (values, answered) if return_modalities else values

    def _answer(self, logits: torch.Tensor) -> Array:
        values: Array = self._target_scaler.inverse_transform(
            logits.numpy().astype(np.float64)
        )
        return values
