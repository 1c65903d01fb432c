"""Products of embeddings are exact, and what others set for theirs is set again."""

from __future__ import annotations

import pytest
import torch

from capivara_cli.stages.deduplication.cosine import exact_products


@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_the_precision_of_products_is_restored_even_after_an_error(before: str) -> None:
    own = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(before)
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == before
        with pytest.raises(KeyError), exact_products():
            raise KeyError
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision(own)
