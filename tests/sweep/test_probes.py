"""What is kept at a look: as large as it should be, and of the right units, images and statistics."""

import numpy as np
import pytest
import torch
from torch import nn

from bnlib.lab import Split, accuracy, gradient_shift
from bnlib.layers import recompute_statistics
from bnlib.sweep import EDGES, PaperSetting, probes


class Given(nn.Module):
    """A network whose sigmoids receive the images themselves."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.ModuleList([nn.Sequential()])
        self.hidden[0].activation = nn.Sigmoid()

    def forward(self, x):
        return self.hidden[0].activation(x)


def test_the_histograms_hold_every_input_and_the_saturated_are_beyond_log_19():
    images = torch.tensor([[-9.0, -2.9], [2.95, 9.0]])
    found = probes.distributions(Given(), PaperSetting(), None, Split(images, None))
    assert found["saturated"].tolist() == [0.75]
    assert found["histogram"].shape == (1, len(EDGES) - 1)
    assert found["histogram"].sum() == pytest.approx(1)
    assert found["histogram"][0, [0, -1]].tolist() == [0.25, 0.25]  # beyond the edges: in the last bins


def test_the_last_layers_percentiles_are_of_its_first_units(mnist):
    setting = PaperSetting(width=5, hidden_layers=2)
    model, sets = setting.build(0).eval(), setting.sets(mnist)
    u = model.hidden[1].linear(model.hidden[0](sets[1].images)).detach().numpy()
    found = probes.last_percentiles(model, setting, *sets[:2])["percentiles"]
    np.testing.assert_allclose(found, np.percentile(u[:, :3], (15, 50, 85), axis=0), rtol=1e-4, atol=1e-6)


def test_the_gradients_norms_are_those_of_the_weight_matrices():
    model = PaperSetting(norm="before", width=5, hidden_layers=1).build(0)
    assert np.isnan(probes.gradient_norms(model, None, None, None)["gradient_norm"]).all()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    found = probes.gradient_norms(model, None, None, None)["gradient_norm"]
    assert found == pytest.approx([(784 * 5) ** 0.5, 50**0.5])


def test_recomputed_statistics_give_an_accuracy_and_change_nothing(mnist):
    setting = PaperSetting(norm="before", batch_size=20)
    model, sets = setting.build(0), setting.sets(mnist)
    before = {name: v.clone() for name, v in model.state_dict().items()}
    found = probes.recomputed_accuracy(model, setting, *sets[:2])
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    recompute_statistics(model, sets[0].images.split(512))
    assert found["accuracy_recomputed"] == accuracy(model, *sets[1])
    assert probes.recomputed_accuracy(PaperSetting().build(0), setting, *sets[:2]) == {}


def test_the_gap_is_seen_with_pooled_statistics_of_whole_batches(mnist):
    setting = PaperSetting(norm="ghost", ghost=10, batch_size=20, train_images=110)
    train_set, test_set = setting.sets(mnist)[:2]
    model = setting.build(0)
    found = probes.train_and_test(model, setting, train_set, test_set)
    recompute_statistics(model, train_set.images[:100].split(20))
    assert found["accuracy_train"] == accuracy(model, *train_set)
    assert found["accuracy_recomputed"] == accuracy(model, *test_set)


def test_the_shift_is_averaged_over_batches_and_redrawn_for_a_noisy_network(mnist):
    setting = PaperSetting(norm="noisy", batch_size=20, width=5)
    train_set, test_set = setting.sets(mnist)[:2]
    found = probes.shift_and_landscape(setting.build(0), setting, train_set, test_set)
    assert found["shift_cosine"].shape == found["redrawn_cosine"].shape == (4,)
    assert found["along_loss"].shape == (len(probes.ALONG),)
    one, other = (
        gradient_shift(setting.build(0), *(part[i : i + 20] for part in train_set), 0.1) for i in (0, 20)
    )
    np.testing.assert_allclose(found["shift_change"], (one.change + other.change) / 2, rtol=1e-5)
