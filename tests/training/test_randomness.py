import torch

from pipeline.training.randomness import generator_at, index_at, seed_at


def test_an_address_always_gives_the_same_numbers_and_others_give_others() -> None:
    def numbers(*address):
        return torch.randn(4, generator=generator_at(*address))

    assert torch.equal(numbers(1, 5, "noise", 0), numbers(1, 5, "noise", 0))
    for other in [(2, 5, "noise", 0), (1, 6, "noise", 0), (1, 5, "class", 0), (1, 5, "noise", 1)]:
        assert not torch.equal(numbers(1, 5, "noise", 0), numbers(*other))


def test_addresses_do_not_run_into_each_other() -> None:
    assert seed_at(1, 23) != seed_at(12, 3)


def test_every_pass_shows_every_sample_once_in_another_order() -> None:
    passes = [[index_at(3, epoch * 12 + place, "instance", 12) for place in range(12)] for epoch in range(3)]
    assert all(sorted(order) == list(range(12)) for order in passes)
    assert len({tuple(order) for order in passes}) == 3
