"""Muon: updates are nearly orthogonal, and scaled as its paper says."""

import copy

import pytest
import torch
from torch import nn

from ssd_resnet34.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_singular_values_of_an_update_are_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    found = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert found.shape == (min(shape),)
    assert float(found.min()) > 0.3
    assert float(found.max()) < 1.3


def test_directions_stay_those_of_the_matrix() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(5, 12)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert float((orthogonalised(matrix) * (u @ v)).sum()) / 5 > 0.6


def test_a_step_has_the_length_of_adamw() -> None:
    """Root mean square of an update is about 0.2 · rate, whatever the gradient's size."""
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(16, 32, 3, 3))
    optimizer = Muon([kernel], lr=0.1, weight_decay=0)
    kernel.grad = 1e-6 * torch.randn_like(kernel)
    optimizer.step()
    assert 0.5 < float(kernel.detach().square().mean().sqrt()) / (0.2 * 0.1) < 1.3


def test_a_kernel_without_gradient_stays_and_state_survives_saving() -> None:
    torch.manual_seed(0)
    used, unused = (nn.Parameter(torch.randn(4, 3, 3, 3)) for _ in range(2))
    before = unused.detach().clone()
    optimizer = Muon([used, unused], lr=0.1)
    used.grad = torch.randn_like(used)
    optimizer.step()
    assert torch.equal(unused, before)
    twin_kernel = nn.Parameter(used.detach().clone())
    twin = Muon([twin_kernel, nn.Parameter(before)], lr=0.1)
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    used.grad = twin_kernel.grad = torch.randn_like(used)
    optimizer.step()
    twin.step()
    assert torch.equal(used, twin_kernel)


def test_it_learns_a_convolution() -> None:
    torch.manual_seed(0)
    wanted, found = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(3, 4, 3, bias=False)
    optimizer = Muon(found.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        x = torch.randn(4, 3, 8, 8)
        loss = (wanted(x) - found(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 10
