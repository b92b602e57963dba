import pytest
import torch
from diffusers import DDPMScheduler

from pipeline.training.objective import dreambooth_loss, sample_losses, snr_weights, training_target

ALPHAS = torch.tensor([0.9, 0.5, 0.1])  # SNR 9, 1, 1/9


def test_epsilon_weights_are_min_snr_gamma_over_snr() -> None:
    weights = snr_weights(ALPHAS, torch.tensor([0, 1, 2]), 5.0, "epsilon")
    assert weights.tolist() == pytest.approx([5 / 9, 1.0, 1.0], rel=1e-5)


def test_velocity_weights_are_min_snr_gamma_over_snr_plus_one() -> None:
    weights = snr_weights(ALPHAS, torch.tensor([0, 1, 2]), 5.0, "v_prediction")
    assert weights.tolist() == pytest.approx([0.5, 0.5, 0.1], rel=1e-5)


def test_no_gamma_means_no_weights() -> None:
    assert snr_weights(ALPHAS, torch.tensor([0, 2]), None, "epsilon").tolist() == [1, 1]


LOSSES, WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 0.5, 2.0, 0.25])
CLASSES = torch.tensor([False, False, True, True])


def test_each_sample_is_weighted_by_its_own_timestep_before_the_means() -> None:
    found = dreambooth_loss(LOSSES, WEIGHTS, CLASSES, total=2, prior_weight=0.5)
    assert float(found["instance_loss"]) == pytest.approx((1 * 1 + 2 * 0.5) / 2)
    assert float(found["prior_loss"]) == pytest.approx((3 * 2 + 4 * 0.25) / 2)
    assert float(found["loss"]) == pytest.approx(1.0 + 0.5 * 3.5)


def test_the_parts_of_a_batch_add_up_to_the_whole() -> None:
    whole = dreambooth_loss(LOSSES, WEIGHTS, CLASSES, total=2, prior_weight=0.5)
    for parts in ([[0, 2], [1, 3]], [[0, 1], [2, 3]], [[3], [0, 1, 2]]):
        found = [dreambooth_loss(LOSSES[part], WEIGHTS[part], CLASSES[part], 2, 0.5) for part in parts]
        for name, value in whole.items():
            assert float(sum(one[name] for one in found)) == pytest.approx(float(value))


def test_without_class_samples_the_loss_is_that_of_the_instances() -> None:
    found = dreambooth_loss(torch.tensor([1.0, 3.0]), torch.ones(2), torch.tensor([False, False]), 2, 1.0)
    assert (float(found["loss"]), float(found["prior_loss"])) == (2, 0)


def test_losses_are_means_over_one_sample() -> None:
    predicted = torch.stack([torch.zeros(4, 2, 2), torch.ones(4, 2, 2)])
    target = torch.stack([torch.full((4, 2, 2), 2.0), torch.ones(4, 2, 2)])
    assert sample_losses(predicted, target).tolist() == [4.0, 0.0]


def test_losses_with_a_focus_are_weighted_means() -> None:
    predicted, target = torch.zeros(1, 4, 1, 2), torch.tensor([1.0, 3.0]).expand(1, 4, 1, 2)
    focus = torch.tensor([1.0, 0.25]).reshape(1, 1, 1, 2)
    assert sample_losses(predicted, target, focus).tolist() == [pytest.approx((1 + 0.25 * 9) / 1.25)]
    assert sample_losses(predicted, target, torch.full((1, 1, 1, 2), 0.3)).tolist() == [pytest.approx(5.0)]


def test_targets_follow_their_definitions() -> None:
    clean, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    steps = torch.tensor([10, 900])
    epsilon = DDPMScheduler(prediction_type="epsilon")
    assert training_target(epsilon, clean, noise, steps) is noise
    velocity = DDPMScheduler(prediction_type="v_prediction")
    alpha = velocity.alphas_cumprod[steps].reshape(2, 1, 1, 1)
    expected = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    assert torch.allclose(training_target(velocity, clean, noise, steps), expected, atol=1e-6)
