"""Deep networks as they are before training, and the gradient in each of their layers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .models import Norm, hidden_layer
from .why_it_works import slope, training_loss

__all__ = ["DeepNetwork", "gradient_by_layer"]


class DeepNetwork(nn.Module):
    """Hidden layers of one width with He's initial weights, N(0, 2 / width), and 10 outputs.

    Parameters
    ----------
    depth : int
        Hidden layers.
    norm : callable, optional
        Channels -> module, right before each activation. The linear layers have no bias.
    activation : callable
        () -> module.
    skip : bool
        Whether each layer's input is added to its output.
    width : int
        Of the input too.
    seed : int
        Of the initial weights: the same with every norm, activation and skip.

    Raises
    ------
    ValueError
        If there is no hidden layer.
    """

    def __init__(
        self,
        depth: int,
        norm: Norm | None = None,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        skip: bool = False,
        width: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"expected at least one hidden layer (got {depth})")
        generator = torch.Generator().manual_seed(seed)

        def linear(outputs: int) -> nn.Linear:
            layer = nn.utils.skip_init(nn.Linear, width, outputs, bias=False)
            nn.init.normal_(layer.weight, std=(2 / width) ** 0.5, generator=generator)
            return layer

        self.skip = skip
        self.hidden = nn.ModuleList(
            hidden_layer(
                linear=linear(width), norm=None if norm is None else norm(width), activation=activation()
            )
            for _ in range(depth)
        )
        self.output = linear(10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) to scores (N, 10)."""
        for layer in self.hidden:
            x = x + layer(x) if self.skip else layer(x)
        return self.output(x)


def gradient_by_layer(model: DeepNetwork, x: Tensor, y: Tensor) -> Tensor:
    """The norm of the gradient by each hidden layer's weights, in training mode; nothing is moved.

    Parameters
    ----------
    x : (N, width)
    y : (N,) of int64

    Returns
    -------
    (depth,)
    """
    gradients, _ = slope(training_loss(model, x, y), dict(model.named_parameters()))
    return torch.stack([g.norm() for name, g in gradients.items() if name.endswith("linear.weight")])
