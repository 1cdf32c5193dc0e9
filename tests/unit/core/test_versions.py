"""REQUIRES: which versions are enough."""

import pytest

from hutch import OLLAMA_VERSION
from hutch.core.errors import BadInput
from hutch.core.versions import check_requires


@pytest.mark.parametrize(
    "text", ["0.1", "0", "v0.14.0", "0.33.0", "0.33.0-rc1", "0.33.0+build.5", OLLAMA_VERSION]
)
def test_what_is_reached_passes(text: str) -> None:
    check_requires(text)


@pytest.mark.parametrize("text", ["0.33.1", "0.34", "1", "v1.0.0", "0.34.0-rc0", "999999999.0.0"])
def test_what_is_newer_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^requires version .* and this Hutch speaks 0\.33\.0$"):
        check_requires(text)


@pytest.mark.parametrize("text", ["", "latest", "0.1.2.3", "0..1", "-1", "0.1\n", "9" * 5000, "１.0.0x"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^requires must be a valid semver \(e\.g\. 0\.14\.0\)$"):
        check_requires(text)
