"""A backbone that learns: what of it is frozen, its running statistics, its state as files hold it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny as made
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comix_fast.backbones import load_backbone
from comix_fast.backbones import precision as precisions
from comix_fast.backbones.state import write_state
from comix_fast.backbones.trainable import RunningStatistics, TrainableBackbone
from comix_fast.commands import train as command
from comix_fast.errors import WeightsError

pytestmark = pytest.mark.usefixtures("tiny")


def clips(n: int = 4, seed: int = 0) -> Tensor:
    """Coarse pictures, in [-1, 1]."""
    coarse = torch.rand(n, 3, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, (4, made.CLIP_SIZE, made.CLIP_SIZE), mode="nearest")


def norms_of(network: nn.Module) -> list[nn.BatchNorm3d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]


def copied(network: TrainableBackbone) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state().items()}


def differ(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


# ---- what it computes


def test_features_are_those_of_the_network_in_one_go() -> None:
    network = made.trainable(batch_norm="frozen")
    halved = F.avg_pool3d(clips(), (1, 2, 2))
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (made.TINY.mean, made.TINY.std))
    expected = network.network((halved / 2 + 0.5 - mean) / std)
    found = network(clips())
    assert found.requires_grad
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not network.has_frozen_parts
    assert "fc.weight" not in network.state()


def test_bf16_is_close_in_features_and_in_gradient() -> None:
    found: dict[str, list[Tensor]] = {}
    for precision in ("fp32", "bf16"):
        network = made.trainable(batch_norm="frozen", precision=precision)
        features = network(clips())
        features.square().sum().backward()  # type: ignore[no-untyped-call]
        gradient = torch.cat([value.grad.flatten() for value in network.trained().values() if value.grad is not None])
        assert features.dtype == gradient.dtype == torch.float32
        found[precision] = [features.detach().flatten(), gradient]
    for exact, rounded in zip(*found.values(), strict=True):
        assert not torch.equal(exact, rounded)
        assert torch.cosine_similarity(exact, rounded, dim=0) > 0.995


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_what_is_before_train_from_stays_as_it_is(first: int, batch_norm: str) -> None:
    network, whole = (
        made.trainable(batch_norm=batch_norm, train_from=name) for name in (made.PARTS[first], made.PARTS[0])
    )
    before = copied(network)
    # To rounding: frozen parts are folded. Where clips at hand normalise, the other's first parts use them too.
    if batch_norm == "frozen":
        torch.testing.assert_close(network(clips()), whole(clips()), rtol=0, atol=1e-5)
    optimiser = torch.optim.SGD(network.trained().values(), lr=0.1)
    network(clips()).square().sum().backward()  # type: ignore[no-untyped-call]
    frozen = {name: value for name, value in network.network.named_parameters() if name not in network.trained()}
    assert {name.split(".")[0] for name in frozen} == set(made.PARTS[:first])
    assert {name.split(".")[0] for name in network.trained()} == set(made.PARTS[first:])
    assert all(value.grad is None and not value.requires_grad for value in frozen.values())
    optimiser.step()
    changed = differ(before, copied(network))
    assert set(network.trained()) <= changed
    statistics = {name for name in changed if "running" in name}
    learning = {name for name in before if "running" in name and name.split(".")[0] in made.PARTS[first:]}
    assert statistics == (learning if batch_norm == "train" else set())
    assert changed == set(network.trained()) | statistics
    assert network.before(clips()).shape[1] == (6, 8)[first - 1]
    assert network.has_frozen_parts


def test_the_first_part_is_the_whole() -> None:
    network = made.trainable(train_from="stem")
    assert not network.has_frozen_parts
    assert set(network.trained()) == set(made.trainable().trained())


def test_an_unknown_part_is_refused_with_the_parts() -> None:
    with pytest.raises(WeightsError, match=r"(?s)tiny has no part named 'tail'.*in order: stem, middle, top"):
        TrainableBackbone("tiny", "random", train_from="tail")


def test_other_weights_are_taken_by_frozen_parts_too() -> None:
    network, other = made.trainable(train_from="top", batch_norm="frozen"), made.trainable(batch_norm="frozen")
    state = {name: value * 1.5 for name, value in other.state().items()}
    other.load(state, "made up")
    network.load(state, "made up")
    torch.testing.assert_close(network(clips()), other(clips()), rtol=1e-5, atol=1e-5)


# ---- state and frozen copies


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("train_from", [None, "middle"])
def test_a_frozen_copy_is_what_is_loaded_from_its_file(precision: str, train_from: str | None, tmp_path: Path) -> None:
    network = made.trainable(precision=precision, train_from=train_from, recomputes=True)
    network(clips()).square().sum().backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(network.trained().values(), lr=1e-3).step()
    write_state(network.state(), tmp_path / "kept.safetensors", {})
    frozen, loaded = network.frozen(), load_backbone("tiny", tmp_path / "kept.safetensors", precision)
    assert torch.equal(frozen(clips()), loaded(clips()))
    assert frozen.recipe() == loaded.recipe()
    assert frozen.recipe()["weights"] == "file"
    assert (frozen.precision, frozen.has_classifier) == (precision, False)
    assert not frozen.network.recomputes
    assert not any(value.requires_grad for value in frozen.parameters())
    before = frozen(clips())
    with torch.no_grad():
        for value in network.trained().values():
            value.mul_(2)
    # A copy: what is learnt later is none of it.
    assert torch.equal(frozen(clips()), before)
    assert not torch.equal(network.frozen()(clips()), before)


def test_state_goes_round() -> None:
    first, second = made.trainable(), TrainableBackbone("tiny", "random")
    assert differ(first.state(), second.state())
    layouts = {name: value.stride() for name, value in second.network.named_parameters()}
    second.load(copied(first), "the first")
    assert not differ(first.state(), second.state())
    assert {name: value.stride() for name, value in second.network.named_parameters()} == layouts
    assert not any("num_batches" in name for name in first.state())
    with pytest.raises(WeightsError, match=r"(?s)somewhere does not fit the network.*1 missing: top.0.weight"):
        second.load({name: value for name, value in first.state().items() if name != "top.0.weight"}, "somewhere")


def test_weights_that_are_not_there_are_refused() -> None:
    with pytest.raises(WeightsError, match="no weights named elsewhere"):
        TrainableBackbone("tiny", "elsewhere")
    assert "random" in TrainableBackbone("tiny", "random").warning


# ---- running statistics


def same(value: Tensor) -> Tensor:
    return value


def parts_by_hand(network: nn.Module, parts: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Of every batch norm, the mean over parts of the mean and the unbiased variance of what it is given."""
    given: list[list[Tensor]] = [[] for _ in norms_of(network)]
    hooks = [
        norm.register_forward_pre_hook(lambda _, inputs, into=into: into.append(inputs[0].transpose(0, 1).flatten(1)))
        for norm, into in zip(norms_of(network), given, strict=True)
    ]
    for part in parts:
        network(part)
    for hook in hooks:
        hook.remove()
    return [
        (torch.stack([x.mean(dim=1) for x in some]).mean(dim=0), torch.stack([x.var(dim=1) for x in some]).mean(dim=0))
        for some in given
    ]


def iteration(network: TrainableBackbone, parts: list[Tensor], n_streams: int, again: bool = True) -> None:
    """As Learning does it: each part without a graph, then once more on the way back."""
    network.statistics.begin()
    for part in parts:
        with network.statistics.counting(), torch.no_grad():
            network(part)
    with network.statistics.resting():
        for part in parts if again else []:
            network(part).sum().backward()  # type: ignore[no-untyped-call]
    network.statistics.end(n_streams, same)


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize(("sizes", "n_streams"), [((3,), 1), ((3, 3), 2), ((2, 1, 2, 1), 2), ((3, 4, 3, 4), 4)])
def test_statistics_move_as_after_so_many_batches(sizes: tuple[int, ...], n_streams: int, recomputes: bool) -> None:
    network = made.trainable(recomputes=recomputes)
    parts = [clips(size, seed) for seed, size in enumerate(sizes)]
    with torch.no_grad():
        given = parts_by_hand(copy.deepcopy(network.network), [network.before(part) for part in parts])
    expected = [[norm.running_mean.clone(), norm.running_var.clone()] for norm in norms_of(network.network)]
    for values, means in zip(expected, given, strict=True):
        for _ in range(n_streams):
            for value, mean in zip(values, means, strict=True):
                value.copy_(0.9 * value + 0.1 * mean)
    iteration(network, parts, n_streams)
    for norm, values in zip(norms_of(network.network), expected, strict=True):
        torch.testing.assert_close([norm.running_mean, norm.running_var], values, rtol=1e-5, atol=1e-6)
        assert norm.momentum == 0.1


def test_one_whole_batch_is_what_torch_does() -> None:
    network, reference = made.trainable(), made.trainable()
    iteration(network, [clips()], 1)
    reference(clips())
    for found, expected in zip(network.network.buffers(), reference.network.buffers(), strict=True):
        if found.is_floating_point():
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_a_second_pass_counts_nothing() -> None:
    once, twice = made.trainable(), made.trainable()
    iteration(once, [clips(), clips(seed=1)], 2, again=False)
    iteration(twice, [clips(), clips(seed=1)], 2)
    assert not differ(copied(once), copied(twice))


def test_iterations_follow_one_another() -> None:
    """The second begins from what the first left, not from the parts' own sums."""
    network, reference = made.trainable(), made.trainable()
    for seed in range(3):
        iteration(network, [clips(seed=seed)], 1)
        reference(clips(seed=seed))
    for found, expected in zip(norms_of(network.network), norms_of(reference.network), strict=True):
        torch.testing.assert_close(found.running_var, expected.running_var, rtol=1e-5, atol=1e-6)


def test_statistics_are_averaged_over_machines() -> None:
    """Of two machines with a part each: as one that has both parts."""
    both, first, second = (made.trainable() for _ in range(3))
    iteration(both, [clips(seed=0), clips(seed=1)], 1)
    sent: list[Tensor] = []

    def send(value: Tensor) -> Tensor:
        sent.append(value.clone())
        return value

    for network, seed, average in ((first, 0, send), (second, 1, lambda value: (value + sent[0]) / 2)):
        network.statistics.begin()
        with network.statistics.counting(), torch.no_grad():
            network(clips(seed=seed))
        network.statistics.end(1, average)
    for found, expected in zip(norms_of(second.network), norms_of(both.network), strict=True):
        torch.testing.assert_close(found.running_mean, expected.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.running_var, expected.running_var, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"batch_norm": "frozen"}, {"train_from": "middle"}])
def test_frozen_statistics_never_change(options: dict[str, Any]) -> None:
    network = made.trainable(**options)
    before = copied(network)
    iteration(network, [clips(), clips(seed=1)], 2)
    running = {name for name in differ(before, copied(network)) if "running" in name}
    assert {name.split(".")[0] for name in running} == ({"middle", "top"} if "train_from" in options else set())


def test_momentum_is_restored_after_an_error() -> None:
    network = made.trainable()
    norms_of(network.network)[1].momentum = 0.03
    statistics = RunningStatistics(norms_of(network.network))
    kinds: list[Callable[[], Any]] = [statistics.counting, statistics.resting]
    for kind in kinds:
        with pytest.raises(ValueError, match="stop"), kind():
            assert norms_of(network.network)[1].momentum in (1.0, 0.0)
            raise ValueError("stop")
        assert [norm.momentum for norm in norms_of(network.network)] == [0.1, 0.03, 0.1]


@pytest.mark.parametrize(("typed", "settled"), [("auto", "fp32"), ("bf16", "bf16")])
def test_bf16_that_disagrees_is_left_or_said_aloud(typed: str, settled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precisions, "_disagreement", lambda *seen: "bf16 features differ (cosine 0.4)")
    monkeypatch.setattr(command, "has_bf16_units", lambda device: True)
    asked = command.Backbone("tiny", "random", typed)
    place = torch.device("cpu")
    network = command._network(asked, command._precision(typed, place), place, recomputes=False)
    assert network.precision == settled
    assert ("cosine 0.4" in network.warning) == (settled == "bf16")
