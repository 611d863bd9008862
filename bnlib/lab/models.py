"""The paper's network and a small convolutional one; `norm` decides what normalizes them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

__all__ = ["PaperNetwork", "SmallCNN"]

Norm = Callable[[int], nn.Module]  # channels -> module


def hidden_layer(**modules: nn.Module | None) -> nn.Sequential:
    """Modules in a row under their names, those that are None left out."""
    block = nn.Sequential()
    for name, module in modules.items():
        if module is not None:
            block.add_module(name, module)
    return block


class PaperNetwork(nn.Module):
    """The network of the paper's MNIST experiment: 784-100-100-100-10 with sigmoid hidden units.

    Parameters
    ----------
    norm : callable, optional
        Channels -> module, put right before each activation; the linear layer before it then has no
        bias, for beta does that work. None: no normalization, and biases.
    norm_after : bool
        Whether it stands after the activation instead; the linear layers then keep their biases.
    widths : sequence of int
        Of the input, every hidden layer, and the output.
    std : float
        Standard deviation of the initial weights, drawn from N(0, std^2). Biases start at 0.
    activation : callable
        () -> module.
    seed : int
        Of the initial weights: the same with every `norm`.

    Raises
    ------
    ValueError
        If std is not positive, or if there are fewer than two widths.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, section 4.1, which says "small random Gaussian values" and gives no std.
    """

    def __init__(
        self,
        norm: Norm | None = None,
        *,
        norm_after: bool = False,
        widths: Sequence[int] = (784, 100, 100, 100, 10),
        std: float = 0.1,
        activation: Callable[[], nn.Module] = nn.Sigmoid,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if std <= 0:
            raise ValueError(f"expected a positive std (got {std})")
        if len(widths) < 2:
            found = f"(got {tuple(widths)})"
            raise ValueError(f"expected widths of an input and an output {found}")
        generator = torch.Generator().manual_seed(seed)

        def linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
            layer = skip_init(nn.Linear, inputs, outputs, bias=bias)
            nn.init.normal_(layer.weight, std=std, generator=generator)
            if bias:
                nn.init.zeros_(layer.bias)
            return layer

        def block(inputs: int, outputs: int) -> nn.Sequential:
            layer = linear(inputs, outputs, bias=norm is None or norm_after)
            normalize = None if norm is None else norm(outputs)
            act = activation()
            if norm_after:
                return hidden_layer(linear=layer, activation=act, norm=normalize)
            return hidden_layer(linear=layer, norm=normalize, activation=act)

        *hidden, outputs = widths
        pairs = zip(hidden, hidden[1:], strict=False)
        self.hidden = nn.Sequential(*(block(*pair) for pair in pairs))
        self.output = linear(hidden[-1], outputs, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (N, 784), or images of as many pixels, to scores (N, 10)."""
        return self.output(self.hidden(x.flatten(1)))


class SmallCNN(nn.Module):
    """Two convolutions of 8 and 16 feature maps, each halved by pooling, and a linear classifier.

    Parameters
    ----------
    norm : callable, optional
        As in `PaperNetwork`, between each convolution and its ReLU.
    convolution : type
        `nn.Conv2d`, or a kind of it that standardizes its weights.
    seed : int
        Of the initial weights (He et al.'s normal initialization): the same with every `norm`.
    """

    def __init__(
        self, norm: Norm | None = None, *, convolution: type[nn.Conv2d] = nn.Conv2d, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def initialized(layer: nn.Module) -> nn.Module:
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            return layer

        def maps(inputs: int, outputs: int) -> nn.Module:
            bias = norm is None
            return initialized(skip_init(convolution, inputs, outputs, kernel_size=3, padding=1, bias=bias))

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return hidden_layer(
                linear=maps(inputs, outputs),
                norm=None if norm is None else norm(outputs),
                activation=nn.ReLU(),
                pool=nn.MaxPool2d(2),
            )

        self.hidden = nn.Sequential(block(1, 8), block(8, 16))
        self.output = initialized(skip_init(nn.Linear, 16 * 7 * 7, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) to scores (N, 10)."""
        return self.output(self.hidden(x).flatten(1))
