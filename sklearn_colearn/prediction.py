"""Prediction with estimators and with exported sensors."""

from __future__ import annotations

import copyreg
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_colearn._compat import get_output_config
from sklearn_colearn.encoders import EncoderFactory
from sklearn_colearn.held_out import class_sets, intervals
from sklearn_colearn.inputs import Array, Schema, rows_text
from sklearn_colearn.members import Members, patterns, spread
from sklearn_colearn.modality_dict import (
    ModalityDict,
    as_array,
    as_frame,
    is_data_array,
    is_frame,
    is_named,
    labelled_columns,
    row_labels,
)
from sklearn_colearn.network import ModalityNetwork
from sklearn_colearn.onnx_export import RawToAnswers, write_onnx
from sklearn_colearn.sensor import Rows, Sensor, Target
from sklearn_colearn.targets import (
    labelled_part,
    labelled_rows,
    matched,
    matched_beside,
)

__all__ = ["SingleModalityClassifier", "SingleModalityRegressor"]

#: Name of the only modality of a plain two-dimensional X.
PLAIN = "X"
#: Key in a pickle's state for the version of this package that wrote it.
_VERSION = "_sklearn_colearn_version"
REPRESENTATIONS = ("joint", "specific", "shared", "unused")


def _has_areas(model: Predictor) -> bool:
    """Tell whether a model has `score_samples`; an unfitted one may get it."""
    fitted = model.__sklearn_is_fitted__()
    return not fitted or bool(model.applicability_threshold_)


# -- the predictor -------------------------------------------------------------------


class Predictor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of all fitted models: predictions from the sensors of its members."""

    #: Parameter of the estimators, read at prediction.
    predict_modality: str | None = None
    #: Metric of `score`.
    _metric: Callable[..., Any]
    #: Set by fit.
    _schema: Schema
    _members: Members
    modalities_: list[str]
    input_shapes_: dict[str, tuple[int, ...]]
    encoders_: dict[str, str | EncoderFactory]
    n_features_in_: int
    n_outputs_: int

    #: Set by `persistence.py`: convert a fitted model to text and arrays, and back.
    _to_plain: ClassVar[Callable[..., dict[str, Any]]]
    _from_plain: ClassVar[Callable[..., dict[str, Any]]]

    @property
    def _target(self) -> Target:
        return self._members.target

    @property
    def _sensors(self) -> dict[str, Sensor]:
        return self._members.sensors

    def _remember(self, schema: Schema, members: Members) -> None:
        sensors = members.sensors
        calendars = {m: s.calendar for m, s in sensors.items() if s.calendar}
        schema = schema.with_steps({m: c.labels for m, c in calendars.items()})
        members.sensors = {
            m: replace(sensor, entry=schema.entries[m]) for m, sensor in sensors.items()
        }
        self._schema, self._members = schema, members
        self.modalities_ = schema.modalities
        self.input_shapes_ = {m: schema.shapes[m] for m in schema.modalities}
        self.encoders_ = {m: s.made_with["encoder"] for m, s in sensors.items()}
        self.n_outputs_ = members.target.n_outputs
        if members.target.classes is not None:
            self.classes_ = members.target.classes

    # -- reading X ---------------------------------------------------------------------

    def _read_prediction(self, X: Any, modality: str | None) -> ModalityDict:
        """Return the modalities of X to predict from, and their entries of times."""
        check_is_fitted(self)
        schema = self._schema
        if modality is not None and not isinstance(modality, str):
            raise TypeError(
                f"modality= must be the name of one modality, got {modality!r}. For "
                "several, pass X.select([...]) of a ModalityDict."
            )
        if modality is not None and modality not in schema.modalities:
            raise ValueError(
                f"Unknown modality {modality!r}; fit saw {self.modalities_}."
            )
        if is_data_array(X):
            X = schema.bare(X)
            if hasattr(self, "feature_names_in_"):
                X = labelled_columns(X)
        X = as_frame(X)
        if not is_named(X) and self._is_flat(X):
            named = schema.split(self._validate_flat(X))
        else:
            named = schema.read(X, modality, prefer=self.predict_modality)
        chosen, held = modality, self._modalities_of(named)
        if chosen is None and len(held) > 1:
            one = self.predict_modality
            chosen = None if one in schema.dropped else one
        if chosen is not None and chosen not in held:
            raise ValueError(
                f"Cannot predict from {chosen!r}: X contains only {held}. Add "
                f"{chosen!r} to X, or choose another modality with modality=."
            )
        answering = held if chosen is None else [chosen]
        entries = {m: self._sensors[m].times_entry for m in answering}
        for m, entry in entries.items():
            if entry is not None and entry not in named:
                raise ValueError(
                    f"Modality {m!r} was fitted with times for each row, so prediction "
                    f"needs them too: pass a dict {{{m!r}: array, {entry!r}: times}}."
                )
        return named.select([*answering, *filter(None, entries.values())])

    def _modalities_of(self, X: ModalityDict) -> list[str]:
        """Return the names of the modalities, without entries of times."""
        return [m for m in X if m not in self._schema.times]

    def _is_flat(self, X: Any) -> bool:
        """Tell whether a bare X is the flat form of all that fit saw."""
        schema = self._schema
        if not schema.is_flat:
            if is_frame(X) or is_data_array(X):
                return False
        elif self._is_plain():  # a table is its own flat form
            return len(getattr(X, "shape", ())) < 3
        elif is_frame(X) and hasattr(self, "feature_names_in_"):
            # A frame with fewer columns may be one modality.
            return set(self.feature_names_in_) <= set(X.columns)
        shape = np.shape(X)
        as_wide = len(shape) == 2 and shape[1] == self.n_features_in_
        # After a fit on named modalities, the shape of a modality takes precedence.
        is_one = not schema.is_flat and shape[1:] in schema.shapes.values()
        return as_wide and not is_one

    def _is_plain(self) -> bool:
        """Tell whether fit saw one table without a layout."""
        return list(self._schema.entries) == [PLAIN] and self._schema.is_flat

    def _validate_flat(self, X: Any) -> Any:
        if isinstance(X, np.ma.MaskedArray):
            X = as_array(X)
        names: Any = getattr(self, "feature_names_in_", None)
        by_name = names is not None and is_frame(X) and not self._is_plain()
        if by_name and set(names) <= set(X.columns):
            X = X[list(names)]
            return validate_data(self, X, reset=False, skip_check_array=True)
        # Infinite values are refused later: -inf may be a modality's sentinel.
        return validate_data(self, X, reset=False, ensure_all_finite=False)

    def _prepare(self, X: Any, modality: str | None) -> dict[str, Rows]:
        """Check the chosen modalities, and that each row has one of them."""
        prepared = self._rows(X, modality)
        nowhere = ~np.any([rows.present for rows in prepared.values()], axis=0)
        if nowhere.any():
            raise ValueError(
                f"All values of {' and '.join(map(repr, prepared))} are missing in "
                f"{rows_text(np.flatnonzero(nowhere))}; drop these rows, or pass "
                "another modality for them."
            )
        return prepared

    def _rows(
        self, X: Any, modality: str | None = None, warn: bool = True
    ) -> dict[str, Rows]:
        """Check the chosen modalities."""
        chosen = self._read_prediction(X, modality)
        if len(chosen) == 0:
            raise ValueError(
                "X has 0 sample(s) while a minimum of 1 is required for a prediction."
            )
        names = self._modalities_of(chosen)
        sensors = {m: s for m, s in self._sensors.items() if m in names}
        return {m: s.prepare(chosen, warn) for m, s in sensors.items()}

    def _answers(self, X: Any, modality: str | None) -> tuple[Array, pd.DataFrame]:
        """Return the predictions, and which modalities contribute to each row."""
        check_is_fitted(self)
        prepared = self._prepare(X, modality)
        answers: Array = self._members.answers(prepared)
        absent = np.zeros(answers.shape[1], dtype=bool)
        answered = pd.DataFrame(
            {m: prepared[m].present if m in prepared else absent for m in self._sensors}
        )
        return (answers[0] if len(answers) == 1 else answers.mean(axis=0)), answered

    def _by_sensors(
        self, X: Any, modality: str | None, level: float, make: Callable[..., Array]
    ) -> Array:
        """Make intervals or sets for each combination of sensors that rows have."""
        check_is_fitted(self)
        if not isinstance(level, Real) or not 0 < level < 1:
            raise ValueError(
                f"confidence_level must be a number between 0 and 1, got {level!r}."
            )
        prepared = self._prepare(X, modality)
        answers, made = self._members.answers(prepared), None
        for names, rows in patterns({m: r.present for m, r in prepared.items()}):
            part = make(self._members, names, answers[:, rows], float(level))
            if made is None:
                made = np.empty((answers.shape[1], *part.shape[1:]), dtype=part.dtype)
            made[rows] = part
        assert made is not None
        return made

    # -- answers ---------------------------------------------------------------------

    def predict(
        self, X: Any, modality: str | None = None, *, return_modalities: bool = False
    ) -> Any:
        """Predict labels or values from the modalities in X.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            One or several modalities, in any form that `fit` takes. A bare array is
            recognised by its shape, a bare DataFrame by its column names. The flat form
            (n_samples, ``n_features_in_``) holds all modalities. Labelled bands, steps
            and dimensions are reordered as in fit.
        modality : str, default=None
            Modality to predict from. By default, if X has several,
            ``predict_modality``, or else all that a row has, combined by ``fusion``.
        return_modalities : bool, default=False
            Whether to also return which modalities contribute to each row.

        Returns
        -------
        answers : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Labels, 0/1 indicators for multi-label targets, or float64 values in the
            unit of the target.
        answered : pandas.DataFrame of shape (n_samples, n_modalities), bool
            Only with ``return_modalities=True``.

        Raises
        ------
        ValueError
            If X matches no modality or several, has other bands or steps than in fit,
            infinite values, or rows without any value.
        NotFittedError
            If the estimator is not fitted.

        Warns
        -----
        UserWarning
            If most values of a band are far outside the training range, or the order
            of steps is in doubt.
        """
        answers, answered = self._answers(X, modality)
        decided = self._target.decide(answers)
        return (decided, answered) if return_modalities else decided

    # -- applicability -----------------------------------------------------------------

    def applicability(self, X: Any, modality: str | None = None) -> Array:
        """Return the dissimilarity of each row to the training rows.

        The dissimilarity index [1]_ is the distance to the nearest labelled training
        row, relative to the median of that distance over held-out rows. Above
        ``applicability_threshold_[modality]``, held-out scores may not hold. A small
        index proves nothing.

        Parameters
        ----------
        X, modality
            As in `predict`. If several sensors predict a row, the largest index counts.

        Returns
        -------
        ndarray of shape (n_samples,), float32
            0 for a training row, 1 for a typical held-out row; unbounded.

        Raises
        ------
        ValueError, NotFittedError
            If nothing was held out (``cv=None``), the model's file has no training
            rows, or as in `predict`.

        Notes
        -----
        Distances are Euclidean between the inputs of the networks: mean-imputed and,
        unless ``standardize=False``, standardised by band. Images are compared by the
        mean and the standard deviation of each band. Times are ignored.

        The model, its files and exported sensors contain these values for at most 2,000
        labelled training rows of positive weight. Note this before you share them.

        References
        ----------
        .. [1] Meyer, Pebesma, "Predicting into unknown space? Estimating the area of
           applicability of spatial prediction models", Methods in Ecology and
           Evolution 12(9), 2021, doi:10.1111/2041-210X.13650.
        """
        check_is_fitted(self)
        prepared = self._prepare(X, modality)
        self._check_areas(prepared)
        indices = []
        for m, rows in prepared.items():
            sensor = self._sensors[m]
            assert sensor.area is not None
            own = torch.from_numpy(sensor.area.index(sensor.points(rows.values)))
            indices.append(spread(own[np.newaxis], rows.present)[0])
        largest: Array = np.fmax.reduce(indices)  # NaN where a row lacks a sensor
        return largest

    @available_if(_has_areas)  # type: ignore[untyped-decorator]
    def score_samples(self, X: Any, modality: str | None = None) -> Array:
        """Return minus `applicability`: larger values are more like the training rows.

        The method is absent if no rows were held out.

        Parameters
        ----------
        X, modality
            As in `applicability`.

        Returns
        -------
        ndarray of shape (n_samples,), float32
        """
        return -self.applicability(X, modality)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of `predict`, or the coefficient of determination, R2.

        Parameters
        ----------
        X : any form that `predict` takes
            Test rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True values. Unlabelled rows are ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no row has a label, row labels contradict, or as in `predict`.
        """
        check_is_fitted(self)
        given = y.toarray() if hasattr(y, "toarray") else y
        ids = row_labels(X, self._schema.sample_dim)
        y = matched(given, ids)
        sample_weight = matched_beside(sample_weight, ids, y is not given)
        labelled = labelled_rows(y, self._target.unlabeled)
        answers = self.predict(X)
        if labelled.all():
            return float(self._metric(y, answers, sample_weight=sample_weight))
        if not labelled.any():
            raise ValueError(
                "y has no labelled rows to score. Use predict(X), which needs no "
                "labels."
            )
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)[labelled]
        truth = labelled_part(y, labelled)
        return float(
            self._metric(truth, answers[labelled], sample_weight=sample_weight)
        )

    @property
    def applicability_threshold_(self) -> dict[str, float]:
        """Upper whisker of the held-out rows' `applicability`, by modality.

        This is the third quartile plus 1.5 times the interquartile range. Modalities
        without held-out rows are left out.
        """
        check_is_fitted(self)
        areas = {m: sensor.area for m, sensor in self._sensors.items()}
        return {m: area.threshold for m, area in areas.items() if area is not None}

    def _check_areas(self, modalities: Iterable[str]) -> None:
        lacking = [m for m in modalities if self._sensors[m].area is None]
        if not lacking:
            return
        if self._members.held_out is None:
            raise ValueError(
                "applicability needs held-out rows, and cv=None holds none out. Fit "
                "with folds, such as cv=5."
            )
        raise ValueError(
            f"The model has no training rows of {' and '.join(map(repr, lacking))}: it "
            "was saved by an earlier version of sklearn_colearn, or no row with this "
            "modality was held out. Fit it again."
        )

    # -- representations -------------------------------------------------------------

    def embed(
        self,
        X: Any,
        representation: str = "shared",
        modality: str | None = None,
        *,
        member: int | None = 0,
    ) -> Array:
        """Return representations of X.

        Parameters
        ----------
        X : any form that `predict` takes
            One or several modalities.
        representation : {'shared', 'specific', 'unused', 'joint'}, default='shared'
            Information common to the modalities; unique information that predictions
            use, or do not use; or ``[specific, shared]``, the input of the head.
        modality : str, default=None
            As in `predict`.
        member : int or None, default=0
            Number of the member. None concatenates all; each has its own axes.

        Returns
        -------
        ndarray of shape (n_samples, embedding_dim / 2), float32
            Twice as wide for ``'joint'``. Several modalities are concatenated in order,
            with NaN where a row lacks one.

        Raises
        ------
        ValueError, NotFittedError
            If the representation or the member does not exist, or as in `predict`.
        """
        check_is_fitted(self)
        if representation not in REPRESENTATIONS:
            raise ValueError(
                f"Unknown representation {representation!r}; expected one of "
                f"{list(REPRESENTATIONS)}."
            )
        n_members = len(next(iter(self._sensors.values())).networks)
        if member is not None and member not in range(n_members):
            raise ValueError(
                f"There is no member {member!r}; expected None or an integer from 0 to "
                f"{n_members - 1}."
            )
        columns = []
        joint = representation == "joint"
        keep = ("specific", "shared") if joint else (representation,)
        for m, rows in self._prepare(X, modality).items():
            sensor = self._sensors[m]
            if member is not None:
                sensor = replace(sensor, networks=[sensor.networks[member]])
            output = sensor.run(rows, keep)
            z = torch.cat([getattr(output, kind) for kind in keep], dim=2)
            columns += [*spread(z, rows.present)]
        return np.concatenate(columns, axis=1)

    def transform(self, X: Any) -> Array:
        """Return ``[specific, shared]`` of the first member.

        This is the input of its head; `embed` returns other representations.

        Parameters
        ----------
        X : any form that `predict` takes
            One or several modalities. All are concatenated in order, unless
            ``predict_modality`` picks one.

        Returns
        -------
        ndarray of shape (n_samples, n_modalities * embedding_dim), float32
        """
        names = self._names_modalities()
        wraps = get_output_config("transform", self)["dense"] != "default"
        answering = self._modalities_of(self._read_prediction(X, None)) if wraps else []
        if wraps and answering != names:
            raise ValueError(
                f"set_output needs the columns of {names} in every call, but X gives "
                f"those of {answering}. Set predict_modality to the one modality to "
                "transform."
            )
        return self.embed(X, "joint")

    def _names_modalities(self) -> list[str]:
        check_is_fitted(self)
        one = self.predict_modality
        return [one] if one in self.modalities_ else self.modalities_

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the column names of `transform` for all modalities.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn.

        Returns
        -------
        ndarray of str
            Names such as ``"S1_specific0"``; only those of ``predict_modality`` if set.
        """
        modalities = self._names_modalities()
        half = self._sensors[modalities[0]].networks[0].head.in_features // 2
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
        # pickle, joblib and copy store all attributes.
        state = {**vars(self), _VERSION: _version()}
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        # skops cannot store tensors: it gets text and arrays.
        if self.__sklearn_is_fitted__():
            return self._to_plain()
        return {**super().__getstate__(), _VERSION: _version()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if set(state) == {"description", "arrays"}:
            state = self._from_plain(state)
        else:
            state = dict(state)
            self._warn_of_version(state.pop(_VERSION, "of an unknown version"))
        super().__setstate__(state)

    def _warn_of_version(self, version: str) -> None:
        if version != _version():
            warnings.warn(
                f"This {type(self).__name__} was pickled by sklearn_colearn {version} "
                f"and is loaded by {_version()}, which may fail or change its "
                "predictions. Use save_model for files that later versions can read.",
                UserWarning,
                stacklevel=3,
            )

    # -- scikit-learn ----------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether the model is fitted."""
        return hasattr(self, "_members")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _version() -> str:
    # Not imported: the package imports this module before it has a version.
    return str(sys.modules["sklearn_colearn"].__version__)


class ClassifierPredictor(ClassifierMixin, Predictor):  # type: ignore[misc]
    """Mixin of classifiers: labels and probabilities."""

    classes_: Array
    _metric = staticmethod(accuracy_score)
    score = Predictor.score  # not ClassifierMixin's

    def predict_proba(
        self, X: Any, modality: str | None = None, *, return_modalities: bool = False
    ) -> Any:
        """Predict the probability of each class or label.

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

    def predict_set(
        self, X: Any, modality: str | None = None, *, confidence_level: float = 0.9
    ) -> Array:
        """Predict sets of classes that contain the true class with some confidence.

        A class is left out if the true class was more probable in a share
        `confidence_level` of the held-out rows (least ambiguous sets, cross-conformal
        over the members). The coverage holds in places like the held-out ones.

        Parameters
        ----------
        X, modality
            As in `predict`.
        confidence_level : float, default=0.9
            Approximate share of sets with the true class, between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), bool
            Whether each of ``classes_`` is in the set; the most probable always is.

        Raises
        ------
        ValueError, NotFittedError
            If no rows were held out (``cv=None``) or too few for the confidence level,
            the target is multi-label, or as in `predict`.

        References
        ----------
        Sadinle, Lei, Wasserman, "Least ambiguous set-valued classifiers with bounded
        error levels", JASA 114(525), 2019, doi:10.1080/01621459.2017.1395341.
        Romano, Sesia, Candès, "Classification with valid and adaptive coverage",
        NeurIPS 2020, arXiv:2006.02544.
        """
        check_is_fitted(self)
        if self._target.task != "cross_entropy":
            raise ValueError(
                "predict_set does not support multi-label targets; use predict_proba "
                "for the probability of each label."
            )
        return self._by_sensors(X, modality, confidence_level, class_sets)


class RegressorPredictor(RegressorMixin, Predictor):  # type: ignore[misc]
    """Mixin of regressors: values in the unit of the target."""

    _metric = staticmethod(r2_score)
    score = Predictor.score  # not RegressorMixin's

    def predict_interval(
        self, X: Any, modality: str | None = None, *, confidence_level: float = 0.9
    ) -> Array:
        """Predict intervals that contain the true value with some confidence.

        The bounds (CV+) come from errors on held-out rows, around the prediction of the
        member that did not train on the row. The coverage holds in places like the
        held-out ones.

        Parameters
        ----------
        X, modality
            As in `predict`.
        confidence_level : float, default=0.9
            Approximate share of intervals with the true value, between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2), float64
            Lower and upper bound.

        Raises
        ------
        ValueError, NotFittedError
            If no rows were held out (``cv=None``) or too few for the confidence level,
            or as in `predict`.

        References
        ----------
        Barber, Candès, Ramdas, Tibshirani, "Predictive inference with the jackknife+",
        Annals of Statistics 49(1), 2021, doi:10.1214/20-AOS1965.
        """
        bounds = self._by_sensors(X, modality, confidence_level, intervals)
        return bounds[:, 0] if self._target.flat else bounds


class SingleModalityModel(Predictor):
    """Base of exported models, which are frozen like scikit-learn's FrozenEstimator."""

    @classmethod
    def of(cls, members: Members, schema: Schema) -> Self:
        """Make a model from members with one sensor, and its schema."""
        made = cls()
        made._remember(schema, members)
        (sensor,) = members.sensors.values()
        for network in sensor.networks:
            network.eval()
        made.n_features_in_ = sensor.entry.size
        names = sensor.entry.columns
        if names is not None and all(isinstance(name, str) for name in names):
            made.feature_names_in_ = np.array(names, dtype=object)
        return made

    @property
    def networks_(self) -> list[ModalityNetwork]:
        """Encoders and head of each member."""
        check_is_fitted(self)
        return self._sensors[self.modality_].networks

    @property
    def modality_(self) -> str:
        """Name of the modality."""
        check_is_fitted(self)
        return self.modalities_[0]

    @property
    def input_shape_(self) -> tuple[int, ...]:
        """Shape of a row, such as ``(n_timesteps, n_bands)``."""
        return self.input_shapes_[self.modality_]

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Do nothing, as the model is already fitted.

        Parameters
        ----------
        X, y, **fit_params : ignored
            For scikit-learn.
        """
        check_is_fitted(self)
        return self

    def to_onnx(self, path: str | os.PathLike[str], *, quantize: bool = False) -> None:
        """Write the model as an ONNX file, for devices without Python or torch.

        The graph scales and imputes; all arrays are float32. Input ``X`` (rows,
        ``*input_shape_``) has raw values, with NaN or `missing_value` where missing. If
        each row has its own times, input ``times`` (rows, n_timesteps) has days since
        the metadata's ``times_reference``. Output ``answers`` (rows, n_classes,
        n_labels or n_outputs) has probabilities or values in the unit of the target,
        and NaN in rows without any value. The metadata contain ``modality``,
        ``classes`` and ``bands`` as JSON.

        Parameters
        ----------
        path : str or path-like
            File to write. An existing file is replaced atomically.
        quantize : bool, default=False
            Whether linear layers use 8-bit integers. The file is smaller, and
            predictions differ in about the third digit.

        Raises
        ------
        ValueError
            If the encoder cannot be exported for any number of rows.
        ImportError
            If onnx, onnxruntime or onnxscript is not installed.
        """
        check_is_fitted(self)
        sensor = self._sensors[self.modality_]
        calendar = sensor.calendar
        graph = RawToAnswers(sensor, self._target, self._members.pool((sensor.name,)))
        example = [torch.zeros(2, *sensor.shape)]
        names: dict[str, Any] = {"modality": sensor.name}
        if sensor.entry.bands is not None:
            names["bands"] = [str(band) for band in sensor.entry.bands]
        if self._target.classes is not None:
            names["classes"] = self._target.classes.tolist()
        if calendar is not None and calendar.entry is not None:
            example.append(torch.zeros(2, sensor.shape[0]))
            names["times_reference"] = calendar.reference
        write_onnx(path, graph, tuple(example), names, quantize)

    def _read_prediction(self, X: Any, modality: str | None) -> ModalityDict:
        check_is_fitted(self)
        if is_named(X):  # other modalities in X are ignored
            X = self._schema.named(X)
            X = X.select([m for m in X if m in self._schema.entries]) or X
        return super()._read_prediction(X, modality)

    def _is_flat(self, X: Any) -> bool:
        return False  # the schema also reads flat rows of its only modality

    def __sklearn_clone__(self) -> Self:
        return self

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        if not self.__sklearn_is_fitted__():
            return f"{type(self).__name__}()"
        shape = ", ".join(["n", *map(str, self.input_shape_)])
        return f"{type(self).__name__} of {self.modality_!r} ({shape})"


class SingleModalityClassifier(ClassifierPredictor, SingleModalityModel):
    """Fitted classifier of one modality, with its scaler and networks.

    Created by :meth:`CoLearnClassifier.export` or :func:`load_model`. It predicts as
    the original estimator does from this modality, and contains no other.

    X is an array (n_samples, ``*input_shape_``), its flat form (n_samples,
    ``n_features_in_``), a DataFrame, or any named form. Times of each row are required
    if fit had them: ``{"S2": array, "S2_dates": dates}``.

    As in :class:`sklearn.frozen.FrozenEstimator`, ``fit`` does nothing and
    :func:`sklearn.base.clone` returns the model itself.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, or numbers of the labels of a multi-label target.
    n_outputs_ : int
        1, or the number of labels of a multi-label target.
    modality_ : str
        Name of the modality.
    input_shape_ : tuple of int
        Shape of a row.
    modalities_, input_shapes_, encoders_
        As in the estimator.
    n_features_in_ : int
        Number of columns of the flat form.
    feature_names_in_ : ndarray of str
        Column names, if the modality was a DataFrame with names in fit.
    networks_ : list of torch.nn.Module
        Encoders and head of each member.
    applicability_threshold_ : dict of str to float
        Largest `applicability` for which held-out scores hold. Empty with ``cv=None``.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, cv=2, random_state=0).fit(X, y)
    >>> radar = clf.export("S1")
    >>> radar
    SingleModalityClassifier of 'S1' (n, 12, 2)
    """


class SingleModalityRegressor(RegressorPredictor, SingleModalityModel):
    """Fitted regressor of one modality, with its scaler and networks.

    Created by :meth:`CoLearnRegressor.export` or :func:`load_model`. Its attributes
    are those of :class:`SingleModalityClassifier`, without ``classes_``.
    """
