"""Evaluation: what each modality can do alone, and what it gains from the others."""

from sklearn_colearn.evaluation.comparison import evaluate_modalities, partner_gain
from sklearn_colearn.evaluation.reports import (
    ModalityReport,
    PartnerReport,
    corrected_interval,
)
from sklearn_colearn.evaluation.scorers import modality_scorers

__all__ = [
    "ModalityReport",
    "PartnerReport",
    "corrected_interval",
    "evaluate_modalities",
    "modality_scorers",
    "partner_gain",
]
