"""Image networks with weights learnt elsewhere, from timm."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PretrainedEncoder"]


class PretrainedEncoder(nn.Module):
    """An image network of timm, with its first layer adapted to the bands.

    ``"pretrained:resnet18"`` is this with the `timm_name` ``"resnet18"``. timm repeats
    or sums the first layer's weights over the bands, so that pretrained ones are of
    use for any number of them; a new linear layer gives the embedding.

    Parameters
    ----------
    timm_name : str
        Name of the network, one of ``timm.list_models()``.
    input_shape : tuple of int
        ``(height, width, n_bands)``.
    embedding_dim : int
        Size D of the embedding.
    pretrained : bool, default=True
        Whether to download weights (once: they are kept on disk), or to draw them.
    image_size : int or None, default=None
        Height and width that images are resized to. None: those of the images on
        which the network learnt, often 224, which is slow but what its weights expect.
    dropout : float, default=0.2
        Share of values set to zero in training, before the linear layer.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If timm has no network of this name, or no weights of it.

    Notes
    -----
    Shape: ``(B, height, width, n_bands)`` to ``(B, D)``.

    References
    ----------
    Wightman, "PyTorch image models", 2019, doi:10.5281/zenodo.4414861.
    """

    def __init__(
        self,
        timm_name: str,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        pretrained: bool = True,
        image_size: int | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        timm = _timm()
        if not timm.is_model(timm_name):
            near = timm.list_models(f"*{timm_name[:6]}*")[:5]
            raise ValueError(
                f"timm has no network {timm_name!r}; timm.list_models() has them all"
                f"{', such as ' + repr(near) if near else ''}."
            )
        try:
            self.network = timm.create_model(
                timm_name,
                pretrained=pretrained,
                in_chans=input_shape[2],
                num_classes=embedding_dim,
                drop_rate=dropout,
            )
        except RuntimeError as error:  # such as no weights of that name
            raise ValueError(f"timm cannot make {timm_name!r}: {error}") from error
        self.image_size = image_size or self.network.pretrained_cfg["input_size"][-1]

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        x = x.permute(0, 3, 1, 2)  # (B, H, W, bands) -> (B, bands, H, W)
        size = (self.image_size, self.image_size)
        if x.shape[2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return self.network(x)  # (B, D)


def _timm() -> Any:
    try:
        import timm
    # torchvision of another build than torch fails with a RuntimeError.
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            "Encoders 'pretrained:<name>' need timm; install it by `pip install "
            "sklearn_colearn[timm]`, with torchvision from where torch came from. "
            f"Importing it said: {error}"
        ) from error
    return timm
