"""A frozen batch norm: its statistics stay as they are, whatever the mode."""

from torch import Tensor

from .batch_norm import BatchNormBase

__all__ = ["FrozenBatchNorm"]


class FrozenBatchNorm(BatchNormBase):
    """A `BatchNorm` that normalizes with the statistics it has, in both modes.

    ``train()`` changes nothing: no example looks at another, and one value per
    channel is enough. Gradients flow to the input and to whichever parameters
    require them; ``requires_grad_(False)`` freezes those too.

    The parameters are those of `BatchNorm`, and so is the state dict; `momentum`
    is not used, and `track_running_stats` must stay True.

    Raises
    ------
    ValueError
        On forward: if there are no running statistics, or the input has the wrong
        number of dimensions.

    Notes
    -----
    Source: He, Zhang, Ren & Sun 2016, appendix A, who fine-tune detectors with
    fixed batch norms.
    """

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The kept mean and variance (C,), in training too."""
        if self.running_mean is None or self.running_var is None:
            raise ValueError(
                "expected a frozen batch norm with running statistics (got none)"
            )
        return self.running_mean, self.running_var
