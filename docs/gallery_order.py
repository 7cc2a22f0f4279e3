"""The order of the gallery's examples."""

ORDER = [
    "plot_quick_start.py",
    "plot_alone_or_together.py",
    "plot_partner_gain.py",
    "plot_representations.py",
    "plot_encoders.py",
    "plot_regression.py",
    "plot_multilabel.py",
    "plot_missing_sensors.py",
    "plot_unlabelled_pairs.py",
    "plot_map.py",
    "plot_search_weights.py",
    "plot_intervals.py",
]


class InOrder:
    """Sort file names by their place in ORDER, what is not of the gallery last."""

    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, name: str) -> int:
        """Return the place of an example."""
        return ORDER.index(name) if name in ORDER else len(ORDER)
