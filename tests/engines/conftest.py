"""The frameworks that are installed; without requirements-frameworks.txt PyTorch alone."""

import pytest

from bnlib.engines import FRAMEWORKS


@pytest.fixture(params=FRAMEWORKS, ids=lambda layer: layer.convention.name)
def layer(request):
    """Give each framework's layer, or those of `parametrize("layer", [...], indirect=True)`, if installed."""
    if not request.param.is_here():
        pytest.skip(f"needs {', '.join(request.param.packages)}")
    return request.param
