"""Pretrained image networks from timm."""

import torch.nn.functional as F
from torch import Tensor, nn


class PretrainedEncoder(nn.Module):
    """An image network from timm, with its first layer adapted to the bands.

    ``"pretrained:resnet18"`` stands for ``timm_name="resnet18"``. timm repeats or sums
    the weights of the first layer to fit the number of bands. A new linear layer gives
    the embedding.
    Shape: ``(B, height, width, n_bands)`` to ``(B, embedding_dim)``.

    Parameters
    ----------
    timm_name : str
        Name of the network, one of ``timm.list_models()``.
    input_shape : tuple of int ``(height, width, n_bands)``
    embedding_dim : int
    pretrained : bool, default=True
        Whether to download weights (cached on disk) or draw them at random.
    image_size : int or None, default=None
        Height and width that images are resized to. None uses the size of the
        network's training images, often 224: slow, but what its weights expect.
    dropout : float, default=0.2
        Before the linear layer.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If timm has no such network, or no weights for it.

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
        try:
            import timm
        # A torchvision built for another torch fails with a RuntimeError.
        except (ImportError, RuntimeError) as error:
            raise ImportError(
                "Encoders 'pretrained:<name>' need timm. Install it with `pip install "
                "sklearn_colearn[timm]`, and torchvision from the same source as "
                f"torch. The import failed: {error}"
            ) from error
        if not timm.is_model(timm_name):
            near = timm.list_models(f"*{timm_name[:6]}*")[:5]
            raise ValueError(
                f"timm has no network {timm_name!r}. timm.list_models() lists all"
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
        except RuntimeError as error:  # for example, no weights
            raise ValueError(f"timm cannot make {timm_name!r}: {error}") from error
        self.image_size = image_size or self.network.pretrained_cfg["input_size"][-1]

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        x = x.permute(0, 3, 1, 2)  # (B, bands, H, W)
        size = (self.image_size, self.image_size)
        if x.shape[2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return self.network(x)  # (B, D)
