"""The experiments, as data: what each asks, and over which settings."""

from collections.abc import Sequence

from .experiment import Experiment, grid, looks
from .probes import distributions, last_percentiles, recomputed_accuracy, shift_and_landscape, train_and_test

__all__ = ["EXPERIMENTS"]

PLAIN_AND_BN = (None, "before")
FULL_LENGTH = looks((200, 25), (1000, 50), (2000, 100), (5000, 250), (10_000, 500), (50_000, 2000))
SHORT = looks((100, 50), (500, 200), (2000, 500))
HELD_OUT = {"validation": True}

#: What each side of a comparison is tuned over: sigmoids need larger weights and steps.
GRIDS = {
    "sigmoid": [
        *grid(learning_rate=(0.1,), std=(0.1,)),  # where the other experiments stand
        *grid(learning_rate=(0.3, 1.0, 3.0, 10.0), std=(0.1, 0.2, 0.4, 0.8)),
    ],
    "tanh": grid(learning_rate=(0.1, 0.3, 1.0, 3.0), std=(0.025, 0.05, 0.1, 0.2)),
    "relu": grid(learning_rate=(0.03, 0.1, 0.3, 1.0, 3.0), std=(0.025, 0.05, 0.1, 0.2)),
}


def arms(**axes: Sequence) -> list[dict]:
    """Every arm of a comparison, at every learning rate and spread of the grid of its activation."""
    return [arm | cell for arm in grid(**axes) for cell in GRIDS[arm["activation"]]]


#: The norms of `cousins`, and what is done to the weights of the convolutions.
COUSINS = (
    *((norm, "free") for norm in (None, "before", "ghost", "renorm", "layer", "instance", "group", "rms")),
    ("group", "standardized"),
    (None, "scaled"),
)
#: The batch sizes of `cousins`, and the learning rates tried at each: small batches need small ones.
COUSINS_RATES = {
    1: (0.003, 0.01, 0.03, 0.1),
    2: (0.003, 0.01, 0.03, 0.1),
    8: (0.03, 0.1, 0.3),
    32: (0.03, 0.1, 0.3, 1.0),
    128: (0.03, 0.1, 0.3, 1.0),
}

#: Every experiment of `python -m bnlib.sweep`, by its name.
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "figure1",
            "The paper's Figure 1: how fast do the plain and the normalized network learn, and how much do "
            "the inputs of the last hidden layer move?",
            18,
            grid(pixels=("gray", "binary"), norm=PLAIN_AND_BN),
            FULL_LENGTH,
            seeds=10,
            probe=last_percentiles,
        ),
        Experiment(
            "figure1_other_settings",
            "Figure 1 with smaller initial weights, or with a larger learning rate: the paper gives neither.",
            6,
            [
                {**case, "norm": norm}
                for case in ({"std": 0.01, "learning_rate": 0.1}, {"std": 0.1, "learning_rate": 1.0})
                for norm in PLAIN_AND_BN
            ],
            FULL_LENGTH,
            probe=last_percentiles,
        ),
        Experiment(
            "figure1_grid",
            "Which learning rate and which initial weights give the beginning of the paper's plain curve?",
            17,
            grid(
                learning_rate=(0.02, 0.05, 0.1, 0.2, 0.5),
                std=(0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2),
            ),
            looks((8000, 400)),
            probe=last_percentiles,
            shared={"pixels": "binary"},
        ),
        Experiment(
            "figure1_fit",
            "A finer grid where the first one fits, with either kind of pixels, with momentum, with biases.",
            20,
            [
                {"pixels": "binary", "optimizer": "sgd", "std_bias": 0.0, **case}
                for case in (
                    *grid(
                        pixels=("binary", "gray"),
                        learning_rate=(0.07, 0.1, 0.14, 0.2),
                        std=(0.045, 0.055, 0.065, 0.08),
                    ),
                    {"learning_rate": 0.01, "std": 0.055, "optimizer": "momentum"},
                    {"learning_rate": 0.1, "std": 0.055, "std_bias": 0.5},
                )
            ],
            looks((12_000, 400)),
            probe=last_percentiles,
        ),
        Experiment(
            "figure1_fitted",
            "Figure 1 in full, at the settings that fit its beginning best.",
            17,
            grid(pixels=("binary", "gray"), norm=PLAIN_AND_BN),
            FULL_LENGTH,
            probe=last_percentiles,
            shared={"std": 0.06},
        ),
        Experiment(
            "learning_rate_and_std",
            "Over which learning rates and initial standard deviations does the network train at all?",
            18,
            grid(
                norm=PLAIN_AND_BN,
                learning_rate=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
                std=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            ),
            SHORT,
        ),
        Experiment(
            "momentum_and_adam",
            "And over which with momentum, and with Adam?",
            18,
            [
                {"optimizer": optimizer, **case}
                for optimizer, rates in (
                    ("momentum", (0.003, 0.01, 0.03, 0.1, 0.3)),
                    ("adam", (0.0003, 0.001, 0.003, 0.01, 0.03)),
                )
                for case in grid(norm=PLAIN_AND_BN, learning_rate=rates, std=(0.01, 0.03, 0.1, 0.3))
            ],
            looks((200, 200), (2000, 900)),
        ),
        Experiment(
            "depth",
            "How many hidden layers can be trained, with sigmoid and with ReLU?",
            50,
            [
                *arms(activation=("sigmoid", "relu"), norm=PLAIN_AND_BN, hidden_layers=(2, 4, 10)),
                # ten layers of sigmoids learn from large weights, if at all: there slower steps, and a cell
                # between, are tried too
                *(
                    arm | {"activation": "sigmoid", "hidden_layers": 10, "learning_rate": rate, "std": std}
                    for arm in grid(norm=PLAIN_AND_BN)
                    for rate, std in ((0.03, 0.4), (0.03, 0.8), (0.1, 0.4), (0.1, 0.8), (0.5, 0.5))
                ),
            ],
            looks((200, 200), (2000, 900)),
            seeds=5,
            tuned=("learning_rate", "std"),
            shared=HELD_OUT,
        ),
        Experiment(
            "depth_and_adam",
            "And ten layers of sigmoids with Adam?",
            12,
            grid(norm=PLAIN_AND_BN, learning_rate=(0.0003, 0.001, 0.003, 0.01), std=(0.1, 0.2, 0.4)),
            looks((200, 200), (2000, 900)),
            seeds=5,
            tuned=("learning_rate", "std"),
            shared={"optimizer": "adam", "hidden_layers": 10, **HELD_OUT},
        ),
        Experiment(
            "placement",
            "Batch normalization before or after the activation, or not at all?",
            28,
            arms(activation=("sigmoid", "tanh", "relu"), norm=(None, "before", "after")),
            looks((200, 200), (2000, 900)),
            seeds=5,
            tuned=("learning_rate", "std"),
            shared=HELD_OUT,
        ),
        Experiment(
            "batch_size",
            "How small may a mini-batch be, and do recomputed statistics help where moving averages fail?",
            33,
            [
                {"activation": activation, "norm": norm, "batch_size": size, **cell}
                for activation, stds, rates_by_size in (
                    (
                        "sigmoid",
                        (0.1, 0.2, 0.4, 0.8),
                        {
                            2: (0.01, 0.03, 0.1, 0.3, 1.0),
                            4: (0.01, 0.03, 0.1, 0.3, 1.0),
                            16: (0.1, 0.3, 1.0, 3.0),
                            128: (0.1, 0.3, 1.0, 3.0, 10.0),
                        },
                    ),
                    (
                        "relu",
                        (0.025, 0.05, 0.1, 0.2),
                        {
                            2: (0.001, 0.003, 0.01, 0.03, 0.1),
                            4: (0.003, 0.01, 0.03, 0.1, 0.3),
                            16: (0.01, 0.03, 0.1, 0.3),
                            128: (0.03, 0.1, 0.3, 1.0),
                        },
                    ),
                )
                for norm in PLAIN_AND_BN
                for size, rates in rates_by_size.items()
                for cell in grid(learning_rate=rates, std=stds)
            ],
            looks((300, 300), (1500, 1200)),
            seeds=5,
            tuned=("learning_rate", "std"),
            probe=recomputed_accuracy,
            shared=HELD_OUT,
        ),
        Experiment(
            "batch_size_cnn",
            "And in a convolutional network, where a channel has many values in every image?",
            16,
            grid(norm=PLAIN_AND_BN, batch_size=(2, 16), learning_rate=(0.003, 0.01, 0.03, 0.1)),
            looks((50, 50), (1000, 950)),
            seeds=5,
            tuned=("learning_rate",),
            shared={"network": "SmallCNN", **HELD_OUT},
        ),
        Experiment(
            "cousins",
            "How does the error depend on the batch size, of batch norm and of what may stand in its place?",
            100,
            [
                {"norm": norm, "weights": weights, "batch_size": size, "learning_rate": rate}
                for size, rates in COUSINS_RATES.items()
                for norm, weights in COUSINS
                for rate in rates
                # with parts of 8, ghost batch norm on fewer than 16 examples is batch norm, or nothing
                if norm != "ghost" or size >= 16
            ],
            looks((600, 600)),
            seeds=5,
            tuned=("learning_rate",),
            shared={"network": "SmallCNN", **HELD_OUT},
        ),
        Experiment(
            "weight_decay",
            "Where decay helps, should gamma and beta decay with the weights?",
            19,
            [
                {
                    "norm": norm,
                    "weight_decay": decay,
                    "weight_decay_norm": decay * both,
                    "learning_rate": rate,
                }
                for norm, both in ((None, 0), ("before", 0), ("before", 1))
                for decay in (0.0, 1e-3, 3e-3, 1e-2, 3e-2)[both:]
                for rate in (0.03, 0.1, 0.3, 1.0)
            ],
            looks((300, 300), (3000, 2700)),
            seeds=5,
            tuned=("learning_rate",),
            shared={"activation": "relu", "train_images": 1000, **HELD_OUT},
        ),
        Experiment(
            "shift_sigmoid",
            "Does batch norm lessen internal covariate shift, and what does it do to the loss along the "
            "gradient? The network of sigmoids.",
            8,
            grid(norm=(None, "before", "noisy"), learning_rate=(0.1, 3.0)),
            (0, 10, 30, 100, 300, 600, 1000),
            seeds=10,
            probe=shift_and_landscape,
        ),
        Experiment(
            "rate_by_depth",
            "How large a learning rate does a network bear, and how does that depend on its depth?",
            8,
            [
                {"optimizer": optimizer, **case}
                for optimizer, rates in (
                    ("sgd", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)),
                    ("adam", (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)),
                )
                for case in grid(norm=PLAIN_AND_BN, hidden_layers=(2, 5, 15), learning_rate=rates)
            ],
            (0, 150, 200),
            shared={"activation": "relu", "std": 0.14},
        ),
        Experiment(
            "ghosts",
            "A large batch whose statistics are those of small parts: what is the statistics' noise, and "
            "what the learning rate?",
            8,
            [
                {"norm": norm, "ghost": ghost, "learning_rate": rate}
                for norm, ghost in ((None, 8), ("before", 8), ("ghost", 128), ("ghost", 32), ("ghost", 8))
                for rate in (0.1, 1.0)
            ],
            (0, 20, 50, 100, 150),
            seeds=10,
            probe=train_and_test,
            shared={"activation": "relu", "std": 0.05, "batch_size": 512, "train_images": 2000, **HELD_OUT},
        ),
        Experiment(
            "gap_by_batch",
            "Does batch norm regularize, and the more, the smaller the batch?",
            7,
            grid(norm=PLAIN_AND_BN, batch_size=(8, 32, 128), learning_rate=(0.03, 0.1, 0.3)),
            (0, 100, 300, 1000),
            seeds=5,
            tuned=("learning_rate",),
            probe=train_and_test,
            shared={"activation": "relu", "std": 0.05, "train_images": 2000, **HELD_OUT},
        ),
        Experiment(
            "cluttered",
            "Do the two findings, a quicker start and a wider choice of settings, hold on a harder task?",
            8,
            grid(norm=PLAIN_AND_BN, learning_rate=(0.1, 0.3, 1.0, 3.0), std=(0.03, 0.1, 0.3, 1.0)),
            SHORT,
            shared={"images": "cluttered"},
        ),
        Experiment(
            "distributions",
            "What happens to the inputs of every hidden layer's sigmoid, and to the gradients?",
            0.5,
            grid(norm=PLAIN_AND_BN),
            looks((200, 25), (500, 100), (2000, 250), (5000, 250)),
            probe=distributions,
        ),
    )
}
