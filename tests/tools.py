"""What several test files use."""

from sklearn_colearn import CoLearnClassifier


def small(estimator=CoLearnClassifier, **changes):
    """Return an estimator that trains in a blink."""
    settings = {
        "encoder": "mlp",
        "encoder_params": {"hidden_dims": (16,)},
        "embedding_dim": 16,
        "batch_size": 32,
        "lr": 1e-2,
        "lr_schedule": "cosine",
        "weight_decay": 0.01,
        "max_epochs": 3,
        "random_state": 0,
    }
    return estimator(**{**settings, **changes})
