"""Train on every sensor you have; predict with the one you've got.

scikit-learn-compatible multi-modal co-learning for Earth observation, after Mena et
al. 2025, doi:10.1007/s10994-025-06903-0.
"""

from sklearn_colearn import datasets, encoders, losses, plotting
from sklearn_colearn.accuracy import MapAccuracy, map_accuracy
from sklearn_colearn.estimators import CoLearnClassifier, CoLearnRegressor
from sklearn_colearn.evaluation import (
    evaluate_modalities,
    modality_scorers,
    partner_gain,
)
from sklearn_colearn.joining import concat
from sklearn_colearn.map_files import write_map
from sklearn_colearn.map_samples import draw_points, sample_design
from sklearn_colearn.modality_dict import ModalityDict
from sklearn_colearn.persistence import load_model, save_model
from sklearn_colearn.pixels import sample_pixels
from sklearn_colearn.preprocessing import PerModality
from sklearn_colearn.raster import predict_raster

__version__ = "0.2.0"

__all__ = [
    "CoLearnClassifier",
    "CoLearnRegressor",
    "MapAccuracy",
    "ModalityDict",
    "PerModality",
    "__version__",
    "concat",
    "datasets",
    "draw_points",
    "encoders",
    "evaluate_modalities",
    "load_model",
    "losses",
    "map_accuracy",
    "modality_scorers",
    "partner_gain",
    "plotting",
    "predict_raster",
    "sample_design",
    "sample_pixels",
    "save_model",
    "write_map",
]
