"""Prediction: from an X to answers, of whole estimators and of exported sensors."""

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
)
from sklearn_colearn.network import ModalityNetwork
from sklearn_colearn.onnx_export import RawToAnswers, write_onnx
from sklearn_colearn.sensor import Rows, Sensor, Target

__all__ = ["SingleModalityClassifier", "SingleModalityRegressor"]

#: The name of the one modality of a plain two-dimensional X.
PLAIN = "X"
#: The entry of a pickle's state that says which version of this package wrote it.
_VERSION = "_sklearn_colearn_version"
REPRESENTATIONS = ("joint", "specific", "shared", "unused")


def _knows_areas(model: Predictor) -> bool:
    """Whether a model has `score_samples`; what is not fitted yet may get it."""
    fitted = model.__sklearn_is_fitted__()
    return not fitted or bool(model.applicability_threshold_)


# -- the predictor -------------------------------------------------------------------


class Predictor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What answers, once it is fitted: the sensors of its members."""

    #: A parameter of the estimators that is read at prediction.
    predict_modality: str | None = None
    #: Set by fit: what it saw of X, and what it trained.
    _schema: Schema
    _members: Members
    modalities_: list[str]
    input_shapes_: dict[str, tuple[int, ...]]
    encoders_: dict[str, str | EncoderFactory]
    n_features_in_: int
    n_outputs_: int

    #: Of `persistence.py`: a fitted model as text and arrays, and back.
    _to_plain: ClassVar[Callable[..., dict[str, Any]]]
    _from_plain: ClassVar[Callable[..., dict[str, Any]]]

    @property
    def _target(self) -> Target:
        return self._members.target

    @property
    def _sensors(self) -> dict[str, Sensor]:
        return self._members.sensors

    def _remember(self, schema: Schema, members: Members) -> None:
        """Set what every fitted model has."""
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
                f"Cannot predict from modality {chosen!r}: X holds {held}. Pass "
                f"{chosen!r}, or name another by modality=."
            )
        answering = held if chosen is None else [chosen]
        entries = {m: self._sensors[m].times_entry for m in answering}
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
        schema = self._schema
        if not schema.is_flat:
            if is_frame(X) or is_data_array(X):
                return False
        elif self._is_plain():  # one modality is its own flat form
            return len(getattr(X, "shape", ())) < 3
        elif is_frame(X) and hasattr(self, "feature_names_in_"):
            # Fewer columns may be one modality; all of them in another order are not.
            return set(self.feature_names_in_) <= set(X.columns)
        shape = np.shape(X)
        as_wide = len(shape) == 2 and shape[1] == self.n_features_in_
        # After a fit by names, an array that is like a modality is that one.
        is_one = not schema.is_flat and shape[1:] in schema.shapes.values()
        return as_wide and not is_one

    def _is_plain(self) -> bool:
        """Whether fit saw one table without a layout, as any estimator takes it."""
        return list(self._schema.entries) == [PLAIN] and self._schema.is_flat

    def _validate_flat(self, X: Any) -> Any:
        """Check a flat X at prediction."""
        if isinstance(X, np.ma.MaskedArray):
            X = as_array(X)
        names: Any = getattr(self, "feature_names_in_", None)
        by_name = names is not None and is_frame(X) and not self._is_plain()
        if by_name and set(names) <= set(X.columns):
            X = X[list(names)]
            return validate_data(self, X, reset=False, skip_check_array=True)
        # Infinite values are refused by modality later; -inf may be a sentinel.
        return validate_data(self, X, reset=False, ensure_all_finite=False)

    def _prepare(self, X: Any, modality: str | None) -> dict[str, Rows]:
        """Check every chosen modality; each row has to have one of them."""
        prepared = self._rows(X, modality)
        nowhere = ~np.any([rows.present for rows in prepared.values()], axis=0)
        if nowhere.any():
            raise ValueError(
                f"All values of {' and '.join(map(repr, prepared))} are missing in "
                f"{rows_text(np.flatnonzero(nowhere))}, so nothing can answer there; "
                "drop these rows, or pass another modality for them."
            )
        return prepared

    def _rows(
        self, X: Any, modality: str | None = None, warn: bool = True
    ) -> dict[str, Rows]:
        """Check every chosen modality."""
        chosen = self._read_prediction(X, modality)
        if len(chosen) == 0:
            raise ValueError(
                "X has 0 sample(s) while a minimum of 1 is required for a prediction."
            )
        names = self._modalities_of(chosen)
        sensors = {m: s for m, s in self._sensors.items() if m in names}
        return {m: s.prepare(chosen, warn) for m, s in sensors.items()}

    def _answers(self, X: Any, modality: str | None) -> tuple[Array, pd.DataFrame]:
        """Return the answer of each row, and which modalities it is from."""
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
        """Make intervals or sets of rows, by the sensors that they have."""
        check_is_fitted(self)
        if not isinstance(level, Real) or not 0 < level < 1:
            raise ValueError(
                f"confidence_level={level!r} has to be a number between 0 and 1."
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
        """Predict labels or values from whatever modalities X holds.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            One modality or several, in any form that `fit` takes. A bare array of one
            modality is recognised by its shape without the first axis, a bare
            DataFrame by its column names; an array of shape (n_samples,
            ``n_features_in_``) is the flat form of all that fit saw. Bands, steps and
            dimensions with labels are put in the order of fit.
        modality : str, default=None
            The modality to predict from. By default ``predict_modality`` where X holds
            several; without that all that a row has, put together as ``fusion`` says.
        return_modalities : bool, default=False
            Whether to say which modalities each answer is from.

        Returns
        -------
        answers : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Labels, or a 0/1 indicator for multi-label; values in the unit of the
            target, float64, of the shape that y had in fit.
        answered : pandas.DataFrame of shape (n_samples, n_modalities), bool
            Only with ``return_modalities=True``: for each modality of ``modalities_``,
            whether it has a part in the answer.

        Raises
        ------
        ValueError
            If X fits no modality or several, has other bands or time steps than in
            fit, infinite values, or rows without any value.
        NotFittedError
            If the estimator is not fitted.

        Warns
        -----
        UserWarning
            If most values of a band are far outside those of training, or the order of
            steps is in doubt.
        """
        answers, answered = self._answers(X, modality)
        decided = self._target.decide(answers)
        return (decided, answered) if return_modalities else decided

    # -- where it may be trusted -------------------------------------------------------

    def applicability(self, X: Any, modality: str | None = None) -> Array:
        """Return how unlike the training rows each row is to a sensor.

        The dissimilarity index of Meyer and Pebesma [1]_: the distance of a row to the
        nearest labelled training row, over the median of that distance for held-out
        rows. So 1 is as far as a typical held-out row. Above
        ``applicability_threshold_[modality]`` a row is outside the area that the
        held-out scores speak for.

        Parameters
        ----------
        X, modality
            As in `predict`. If a row has several sensors that are to answer, the index
            is the largest of theirs, since one that is led astray may spoil the answer
            of all.

        Returns
        -------
        ndarray of shape (n_samples,), float32
            0 for a training row; without an upper bound.

        Raises
        ------
        ValueError
            If nothing was held out (``cv=None``), the model comes from a file that
            does not hold training rows, or as in `predict`.
        NotFittedError
            If the estimator is not fitted.

        Notes
        -----
        The distance is Euclidean between the values as the networks take them:
        standardised by band (with ``standardize=False`` as they are), a missing one
        replaced by the mean. Images are compared by the mean and the standard
        deviation of each band. Times play no part.

        The model, its files and exported sensors keep these values of at most 2,000
        training rows, drawn with ``random_state``: mind that before you give them away.
        Rows without a label or with zero weight do not count.

        A large index says that the scores of held-out rows may not hold. A small one
        does not say that the answer is right.

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

    @available_if(_knows_areas)  # type: ignore[untyped-decorator]
    def score_samples(self, X: Any, modality: str | None = None) -> Array:
        """Return minus `applicability`: the larger, the more like the training rows.

        For scikit-learn's tools that rank rows by it. Not there if `applicability`
        would raise for want of held-out rows.

        Parameters
        ----------
        X, modality
            As in `applicability`.

        Returns
        -------
        ndarray of shape (n_samples,), float32
        """
        return -self.applicability(X, modality)

    @property
    def applicability_threshold_(self) -> dict[str, float]:
        """By modality, the upper whisker of the held-out rows' `applicability`.

        It is their third quartile plus 1.5 times the interquartile range. A modality
        of which no row was held out is left out.
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
                "The index of applicability is relative to held-out rows; with cv=None "
                "there are none. Fit with cv=5, say."
            )
        raise ValueError(
            f"No training rows of {' and '.join(map(repr, lacking))} are kept: the "
            "model comes from an earlier version of sklearn_colearn, or no row with "
            "the sensor was held out. Fit it again."
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
        member : int or None, default=0
            The member whose representations to return. None puts those of all members
            side by side; each member has its own axes.

        Returns
        -------
        ndarray of shape (n_samples, embedding_dim / 2), float32
            Twice as wide for ``'joint'``. If several modalities are to answer, theirs
            stand side by side in the order of ``modalities_``, with NaN for a row
            that lacks the modality.

        Raises
        ------
        ValueError
            If the representation is unknown, there is no such member, or X is not as
            in fit.
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        if representation not in REPRESENTATIONS:
            raise ValueError(
                f"Unknown representation {representation!r}; valid are "
                f"{list(REPRESENTATIONS)}."
            )
        n_members = len(next(iter(self._sensors.values())).networks)
        if member is not None and member not in range(n_members):
            raise ValueError(f"There is no member {member!r}; there are {n_members}.")
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

        It is what that member's prediction is made of; `embed` has the others.

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
        wraps = get_output_config("transform", self)["dense"] != "default"
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
        one = self.predict_modality
        return [one] if one in self.modalities_ else self.modalities_

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
        # pickle, joblib and copy: everything as it is.
        state = {**vars(self), _VERSION: _version()}
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        # skops: text and arrays, as it knows no tensors.
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
                f"and is read by {_version()}, which may break it or change its "
                "answers. Files of save_model can be read by later versions.",
                UserWarning,
                stacklevel=3,
            )

    # -- scikit-learn ----------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are sensors to ask."""
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
    """Answers of a classifier: labels and probabilities."""

    classes_: Array

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

    def predict_set(
        self, X: Any, modality: str | None = None, *, confidence_level: float = 0.9
    ) -> Array:
        """Predict sets of classes that hold the truth with some confidence.

        A class is left out where most held-out rows gave their true class a higher
        probability (least ambiguous sets, cross-conformal over the members). Of places
        like the held-out ones, about `confidence_level` of the sets hold the truth.

        Parameters
        ----------
        X, modality
            As in `predict`.
        confidence_level : float, default=0.9
            The share of sets that are to hold the truth, between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), bool
            Whether each class of ``classes_`` is in the set of a row. The most
            probable class always is.

        Raises
        ------
        ValueError
            If nothing was held out (``cv=None``), or too few rows for the confidence;
            if the target is multi-label; or as in `predict`.
        NotFittedError
            If the estimator is not fitted.

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
                "predict_set is for one label of several classes; the labels of a "
                "multi-label target each have their own probability."
            )
        return self._by_sensors(X, modality, confidence_level, class_sets)


class RegressorPredictor(RegressorMixin, Predictor):  # type: ignore[misc]
    """Answers of a regressor: values in the unit of the target."""

    def predict_interval(
        self, X: Any, modality: str | None = None, *, confidence_level: float = 0.9
    ) -> Array:
        """Predict intervals that hold the truth with some confidence.

        They are made of the errors on the held-out rows, each around the answer of the
        member that had not seen the row (CV+). Of places like the held-out ones, about
        `confidence_level` of the intervals hold the truth.

        Parameters
        ----------
        X, modality
            As in `predict`.
        confidence_level : float, default=0.9
            The share of intervals that are to hold the truth, between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2), float64
            Lower and upper bound, in the unit of the target.

        Raises
        ------
        ValueError
            If nothing was held out (``cv=None``), or too few rows for the confidence;
            or as in `predict`.
        NotFittedError
            If the estimator is not fitted.

        References
        ----------
        Barber, Candès, Ramdas, Tibshirani, "Predictive inference with the jackknife+",
        Annals of Statistics 49(1), 2021, doi:10.1214/20-AOS1965.
        """
        bounds = self._by_sensors(X, modality, confidence_level, intervals)
        return bounds[:, 0] if self._target.flat else bounds


class SingleModalityModel(Predictor):
    """What exported classifiers and regressors have in common.

    They come fitted, so, as with scikit-learn's FrozenEstimator, ``fit`` changes
    nothing and ``clone`` gives the model itself.
    """

    @classmethod
    def of(cls, members: Members, schema: Schema) -> Self:
        """Make a model of members with one sensor, and what fit saw of it."""
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
        """The encoders and the head of each member."""
        check_is_fitted(self)
        return self._sensors[self.modality_].networks

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
        if is_named(X):  # other modalities may come along
            X = self._schema.named(X)
            X = X.select([m for m in X if m in self._schema.entries]) or X
        return super()._read_prediction(X, modality)

    def _is_flat(self, X: Any) -> bool:
        return False  # the schema reads rows of the modality, flat ones too

    def __sklearn_clone__(self) -> Self:
        return self

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        if not self.__sklearn_is_fitted__():
            return f"{type(self).__name__}()"
        shape = ", ".join(["n", *map(str, self.input_shape_)])
        return f"{type(self).__name__} of {self.modality_!r} ({shape})"


class SingleModalityClassifier(ClassifierPredictor, SingleModalityModel):
    """A fitted classifier of one modality: its scaler and its networks.

    Made by :meth:`CoLearnClassifier.export` or :func:`load_model`, not by hand. It
    answers as the estimator that it came from does from this modality, and holds
    nothing of the others.

    X is an array of shape (n_samples, ``*input_shape_``), its flat form
    (n_samples, ``n_features_in_``), a DataFrame, or any form that names its modalities
    and holds this one. Encoders that take the times of each row need these too, as in
    training: ``{"S2": array, "S2_dates": dates}``.

    As with :class:`sklearn.frozen.FrozenEstimator`, ``fit`` does nothing and
    :func:`sklearn.base.clone` returns the model itself, so it can stand in
    scikit-learn's pipelines, ensembles and calibration.

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
    modalities_, input_shapes_, encoders_
        As of the estimator, of this modality alone.
    n_features_in_ : int
        Number of columns of the flat form.
    feature_names_in_ : ndarray of str
        Column names, if the modality was a DataFrame with names in fit.
    networks_ : list of torch.nn.Module
        The encoders and the head of each member.
    applicability_threshold_ : dict of str to float
        The index of `applicability` above which a row is outside the area that the
        held-out scores speak for, by the name of the modality. Empty with ``cv=None``.

    See Also
    --------
    sklearn_colearn.save_model : Keep it in a file that runs no code when loaded.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, cv=2, random_state=0).fit(X, y)
    >>> radar = clf.export("S1")
    >>> radar
    SingleModalityClassifier of 'S1' (n, 12, 2)
    >>> bool((radar.predict(X["S1"]) == clf.predict(X["S1"])).all())
    True
    """


class SingleModalityRegressor(RegressorPredictor, SingleModalityModel):
    """A fitted regressor of one modality: its scaler and its networks.

    Made by :meth:`CoLearnRegressor.export` or :func:`load_model`, not by hand. Its
    attributes are those of :class:`SingleModalityClassifier`, without ``classes_``.
    """
