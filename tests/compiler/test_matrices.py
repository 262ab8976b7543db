"""Products of matrices with any number of axes of each kind, none included."""

from __future__ import annotations

import torch

from scrub.compiler.ops.matrices import product_of_matrices


def test_a_number_times_a_vector() -> None:
    places = ((), (), (), (), (0,), ())
    found = product_of_matrices(places, (0,), torch.tensor(2.0), torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(found, torch.tensor([2.0, 6.0]))


def test_numbers_and_several_rows() -> None:
    left, right = torch.arange(6.0).reshape(2, 3), torch.tensor(3.0)
    found = product_of_matrices(((), (0, 1), (), (), (), ()), (1, 0), left, right)
    torch.testing.assert_close(found, 3 * left.T)
