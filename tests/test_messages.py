"""Messages, each whole: they say what came and what to pass instead."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    evaluate_modalities,
    modality_scorers,
)
from sklearn_colearn.base import SingleModalityWarning
from sklearn_colearn.datasets import make_multisensor

X, y = make_multisensor(60, random_state=0)
S1, S2, TERRAIN = X["S1"], X["S2"], X["terrain"]
ROWS = np.arange(60)


def new(**params):
    return CoLearnClassifier(random_state=0, **params)


def quick(**params):
    return new(cv=None, max_epochs=2, encoder="mlp", **params)


def with_value(values, rows, value):
    values = values.copy()
    values[rows] = value
    return values


def named_bands(clf):
    columns = pd.MultiIndex.from_product([["S1"], ["04", "05"], ["vv", "vh"]])
    frame = pd.DataFrame(TERRAIN[:, :4], columns=columns)
    modalities = {"terrain": TERRAIN} | ModalityDict.from_frame(frame)
    quick().fit(modalities, y).predict(frame.rename(columns={"vh": "hh"}))


def unseen_class(clf):
    known = np.flatnonzero(y != 2)
    modality_scorers("accuracy", "S1")["S1"](quick().fit(X[known], y[known]), X, y)


def class_never_held_out(clf):
    train = np.flatnonzero((y == 2) | (ROWS % 2 == 0))
    new(cv=[(train, np.setdiff1d(ROWS, train))]).fit(X, y)


def ambiguous_shape(clf):
    quick().fit({"ascending": S1, "descending": S1}, y).predict(S1)


#: The call, the class of its error or warning, and all that it says.
MESSAGES = {
    # -- the form of X ---------------------------------------------------------------
    "index of a row": (
        lambda clf: X[3],
        TypeError,
        "A ModalityDict is sliced by rows or indexed by a modality's name; for row 3 "
        "use X[3:4].",
    ),
    "bare array in fit": (
        lambda clf: new().fit(S1, y),
        ValueError,
        "X is a bare array of shape (60, 12, 2); fit needs to know the modalities by "
        "name: pass a dict {name: array}, even for one.",
    ),
    "one modality": (
        lambda clf: new().fit({"S1": S1}, y),
        SingleModalityWarning,
        "X holds one modality, 'S1', so there is nothing to learn together; pass a "
        "dict {name: array} of several, or say by modalities= which columns belong to "
        "which.",
    ),
    "numbers of rows": (
        lambda clf: clf.fit({"S1": S1, "S2": S2[:50]}, y),
        ValueError,
        "All modalities need the same number of rows, one per sample; got 'S1': 60, "
        "'S2': 50.",
    ),
    "name that is no string": (
        lambda clf: clf.fit({1: S1, 2: S2}, y),
        TypeError,
        "The name of a modality is a string; got 1 (int).",
    ),
    "comparison of unnamed modalities": (
        lambda clf: evaluate_modalities(clf, np.asarray(X), y),
        TypeError,
        "X is of type ndarray, which does not name its modalities; pass a "
        "ModalityDict, such as ModalityDict(S1=X[:, :24], soil=X[:, 24:]).",
    ),
    # -- prediction ------------------------------------------------------------------
    "shape of two modalities": (
        ambiguous_shape,
        ValueError,
        "X of shape (n, 12, 2) fits the modalities ['ascending', 'descending']; say "
        "which one by modality=, or pass {name: array}.",
    ),
    "shape of no modality": (
        lambda clf: clf.predict(S1[:, :10]),
        ValueError,
        "X of shape (n, 10, 2) fits no modality that fit saw ('S1': (n, 12, 2), 'S2': "
        "(n, 12, 4), 'terrain': (n, 6)). Several modalities are passed as a dict "
        "{name: array}.",
    ),
    "no axis of samples": (
        lambda clf: clf.predict(S1[0]),
        ValueError,
        "X of shape (12, 2) is one sample of modality 'S1', without an axis of "
        "samples; pass array[:1] instead of array[0].",
    ),
    "number of steps": (
        lambda clf: clf.predict({"S1": S1[:, :10]}),
        ValueError,
        "Modality 'S1' has shape (n, 10, 2); fit saw (n, 12, 2). The time steps and "
        "bands have to be the same.",
    ),
    "names of bands": (
        named_bands,
        ValueError,
        "Modality 'S1' has the bands ['vv', 'hh']; fit saw ['vv', 'vh']; band 1 is "
        "'hh' instead of 'vh'.",
    ),
    "unknown modality": (
        lambda clf: clf.predict({"s1": S1}),
        ValueError,
        "Unknown modality 's1'; fit saw ['S1', 'S2', 'terrain'].",
    ),
    "modality that X lacks": (
        lambda clf: clf.predict({"S2": S2}, modality="S1"),
        ValueError,
        "Cannot predict from modality 'S1': X holds ['S2']. Pass 'S1', or name another "
        "by modality=.",
    ),
    # -- values ----------------------------------------------------------------------
    "infinity": (
        lambda clf: clf.fit({"S1": with_value(S1, 7, np.inf), "S2": S2}, y),
        ValueError,
        "Modality 'S1' contains infinity in row 7. Missing values are given as NaN, or "
        "named by missing_value=.",
    ),
    "text": (
        lambda clf: clf.fit({"soil": np.array([["clay"], ["sand"]] * 30)}, y),
        ValueError,
        "Modality 'soil' (<U4) has values that are no numbers (could not convert "
        "string to float: 'clay'). Encode categories first, for example with "
        "sklearn.preprocessing.OneHotEncoder.",
    ),
    "rows without any value": (
        lambda clf: clf.fit({m: with_value(X[m], [3, 8], np.nan) for m in X}, y),
        ValueError,
        "All values of all modalities are missing in rows 3, 8; drop them before fit.",
    ),
    "rows without any value at prediction": (
        lambda clf: clf.predict({"S2": with_value(S2, [3, 8], np.nan)}),
        ValueError,
        "All values of 'S2' are missing in rows 3, 8, so nothing can answer there; "
        "drop these rows, or pass another modality for them.",
    ),
    # -- labels and folds ------------------------------------------------------------
    "one class": (
        lambda clf: clf.fit(X, np.zeros(60)),
        ValueError,
        "y has only one class, 0.0; a classifier needs at least 2.",
    ),
    "class of one row": (
        lambda clf: new().fit(X, with_value(y, 5, 9)),
        UserWarning,
        "Some folds would hold out all rows of class 9. Their rows stay in training "
        "there, so that every member sees them; there are 5 members.",
    ),
    "few groups": (
        lambda clf: new().fit(X, y, groups=ROWS // 20),
        UserWarning,
        "There are 3 groups, too few for cv=5, so there will be 3 members.",
    ),
    "one group": (
        lambda clf: new().fit(X, y, groups=np.zeros(60)),
        ValueError,
        "cv=5 needs at least 2 groups to train on one part and hold out another; there "
        "are 1 (n_samples=60). cv=None trains one network without holding anything "
        "out.",
    ),
    "classes that are groups": (
        lambda clf: new(cv=2).fit(X, ROWS // 30, groups=ROWS // 30),
        ValueError,
        "cv= leaves no row to hold out, as each member has to see every class and "
        "every sensor, and class 0 and class 1 cannot be split (n_samples=60). cv=None "
        "trains one network without holding anything out.",
    ),
    "shape of groups": (
        lambda clf: new().fit(X, y, groups=[1, 2, 3]),
        ValueError,
        "groups= has shape (3,); expected (60,), one for each row.",
    ),
    "row without a group": (
        lambda clf: new().fit(X, y, groups=np.where(ROWS == 7, np.nan, ROWS // 6)),
        ValueError,
        "groups= is missing in row 7; give such rows a group of their own.",
    ),
    "class never held out": (
        class_never_held_out,
        UserWarning,
        "No member holds out a row of class 2, so held_out_scores_ and the calibration "
        "leave them out. StratifiedKFold and StratifiedGroupKFold hold out every row "
        "once and spread the classes; merge classes that are too rare for that.",
    ),
    "class that a sensor sees once": (
        lambda clf: new().fit(
            {"S1": with_value(S1, np.flatnonzero(y == 2)[1:], np.nan), "S2": S2}, y
        ),
        UserWarning,
        "Some members train on no row of class 2 with modality 'S1', because all of "
        "them are held out together. Their answers from that modality say little of "
        "the class; label more of its rows that have the modality, or merge rare "
        "classes.",
    ),
    "class of the test rows alone": (
        unseen_class,
        UserWarning,
        "Training rows lack the classes [2], so test rows of these count as wrong. "
        "StratifiedKFold and StratifiedGroupKFold spread classes over the folds; merge "
        "those that are too rare for that.",
    ),
    "continuous y": (
        lambda clf: clf.fit(X, np.linspace(0, 1, 60)),
        ValueError,
        "Unknown label type: continuous. A classifier takes labels of shape "
        "(n_samples,) or a 0/1 indicator of shape (n_samples, n_labels); for "
        "continuous targets there is CoLearnRegressor.",
    ),
    "no label": (
        lambda clf: clf.fit(X, np.full(60, np.nan)),
        ValueError,
        "y has no labelled row: all are None, NaN. Label some; pretrain(X) is what "
        "learns without any.",
    ),
    "no pairs": (
        lambda clf: clf.fit(X, y, X_unlabeled={"S1": S1}),
        ValueError,
        "None of the 60 rows of X_unlabeled was seen by two sensors, so no sensor can "
        "learn from another. Check missing_value, and that row i of every sensor is "
        "the same place.",
    ),
    # -- encoders and training -------------------------------------------------------
    "unknown encoder": (
        lambda clf: new(encoder="tempcn").fit(X, y),
        ValueError,
        "Unknown encoder 'tempcn'; valid names are ['auto', 'linear', 'mlp', "
        "'tempcnn', 'rnn', 'lstm', 'gru', 'tae', 'ltae', 'transformer', 'convtran', "
        "'inceptiontime', 'presto', 'resnet'] and 'pretrained:<timm name>', or give a "
        "torch.nn.Module class or factory. This is about the encoder of modality 'S1'.",
    ),
    "encoder of series for a table": (
        lambda clf: new(encoder="tempcnn").fit(X, y),
        ValueError,
        "Encoder 'tempcnn' reads time series (n_samples, n_timesteps, n_bands); the "
        "modality has the shape (n_samples, 6). This is about the encoder of modality "
        "'terrain'.",
    ),
    "unknown parameter of an encoder": (
        lambda clf: new(encoder="mlp", encoder_params={"hidden": 64}).fit(X, y),
        ValueError,
        "Unknown encoder_params ['hidden'] for the encoder 'mlp'; valid are "
        "['hidden_dims', 'dropout']. This is about the encoder of modality 'S1'.",
    ),
    "divergence": (
        lambda clf: CoLearnRegressor(
            lr=1e6, optimizer="sgd", weight_decay=0, random_state=0
        ).fit(X, y),
        ValueError,
        "Training diverged in epoch 3: the train_main term became nan. A smaller lr "
        "(now 1000000.0) or a larger temperature may help; very large target or input "
        "values without standardize=True are another cause.",
    ),
}


@pytest.fixture(scope="module")
def clf():
    return quick().fit(X, y)


@pytest.mark.parametrize("case", MESSAGES)
def test_message(clf, case):
    call, kind, says = MESSAGES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # numpy's, where scikit-learn looks whether y with NaN is of integers.
        warnings.filterwarnings("ignore", "invalid value encountered in cast")
        with pytest.raises(kind) as caught:
            call(clf)
    said = [str(caught.value), *getattr(caught.value, "__notes__", ())]
    assert (caught.type, " ".join(said)) == (kind, says)
