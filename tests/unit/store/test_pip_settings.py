"""pip's settings, in pip's order."""

import os
import sys
from pathlib import Path

import pytest

from hutch.core.errors import BadInput
from hutch.store.sources import pip_settings
from hutch.store.sources.pip_settings import PipSettings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the places are those of Linux")


class Machine:
    """A machine with no settings but those that a test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "XDG_CONFIG_DIRS": f"{folder}/xdg1{os.pathsep}{folder}/xdg2",
            "VIRTUAL_ENV": f"{folder}/venv",
        }

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, **variables: str) -> PipSettings:
        return pip_settings.read({**self.environment, **variables})


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    real = pip_settings.config_files

    def without_etc(environment: dict[str, str]) -> list[Path]:
        return [path for path in real(environment) if path != Path("/etc/pip.conf")]

    monkeypatch.setattr(pip_settings, "config_files", without_etc)
    return Machine(tmp_path)


def test_without_any_setting_pips_defaults_hold(machine: Machine) -> None:
    assert machine.read() == PipSettings()


def test_later_places_win_over_earlier_ones(machine: Machine) -> None:
    places = [
        "xdg1/pip/pip.conf",
        "xdg2/pip/pip.conf",
        "home/.pip/pip.conf",
        "home/.config/pip/pip.conf",
        "prefix/pip.conf",
        "venv/pip.conf",
    ]
    for place in places:
        machine.write(place, f"[global]\nindex-url = https://{place.replace('/', '-')}.example/\n")
        assert machine.read().index_url == f"https://{place.replace('/', '-')}.example/"
    machine.write("named.conf", "[global]\nindex-url = https://named.example/\n")
    named = str(machine.folder / "named.conf")
    assert machine.read(PIP_CONFIG_FILE=named).index_url == "https://named.example/"
    variables = {"PIP_CONFIG_FILE": named, "PIP_INDEX_URL": "https://variable.example/"}
    assert machine.read(**variables).index_url == "https://variable.example/"


def test_a_named_file_takes_the_place_of_the_users(machine: Machine) -> None:
    machine.write("home/.config/pip/pip.conf", "[global]\nproxy = http://user.example\ntimeout = 3\n")
    machine.write("xdg1/pip/pip.conf", "[global]\ntimeout = 4\n")
    machine.write("named.conf", "[global]\nretries = 1\n")
    found = machine.read(PIP_CONFIG_FILE=str(machine.folder / "named.conf"))
    assert (found.proxy, found.timeout_s, found.retries) == ("", 4.0, 1)
    assert machine.read(PIP_CONFIG_FILE=str(machine.folder / "absent")).timeout_s == 3.0
    assert machine.read(PIP_CONFIG_FILE=os.devnull) == PipSettings()


def test_the_commands_section_wins_over_global_even_from_an_earlier_file(machine: Machine) -> None:
    machine.write(
        "xdg1/pip/pip.conf", "[download]\nno-index = yes\n[install]\nproxy = http://other.example\n"
    )
    machine.write("venv/pip.conf", "[global]\nno-index = false\n")
    assert machine.read().no_index
    assert machine.read().proxy == ""


def test_lists_are_split_at_white_space_and_replaced_whole(machine: Machine) -> None:
    machine.write(
        "home/.config/pip/pip.conf",
        "[global]\nfind-links =\n    /wheels\n    ~/more\nextra_index_url = https://a.example https://b.example\n"
        "trusted-host = a.example\n    b.example:8080\n",
    )
    found = machine.read()
    assert found.find_links == ("/wheels", "~/more")
    assert found.extra_index_urls == ("https://a.example", "https://b.example")
    assert found.trusted_hosts == ("a.example", "b.example:8080")
    assert machine.read(PIP_FIND_LINKS="/x /y").find_links == ("/x", "/y")
    assert machine.read(PIP_FIND_LINKS="").find_links == ("/wheels", "~/more")


def test_every_name_of_a_setting_is_known(machine: Machine) -> None:
    found = machine.read(
        PIP_DEFAULT_TIMEOUT="180",
        PIP_RETRIES="2",
        PIP_CERT="/c",
        PIP_CLIENT_CERT="/k",
        PIP_PROXY="p:1",
        PIP_NO_INDEX="1",
    )
    assert (found.timeout_s, found.retries, found.cert, found.client_cert) == (180.0, 2, "/c", "/k")
    assert (found.proxy, found.no_index) == ("p:1", True)


@pytest.mark.parametrize(
    ("variable", "value"), [("PIP_NO_INDEX", "perhaps"), ("PIP_TIMEOUT", "soon"), ("PIP_RETRIES", "-1")]
)
def test_nonsense_is_refused_by_name(machine: Machine, variable: str, value: str) -> None:
    with pytest.raises(BadInput, match=variable.removeprefix("PIP_").lower().replace("_", "-")):
        machine.read(**{variable: value})


def test_a_broken_file_is_named(machine: Machine) -> None:
    machine.write("venv/pip.conf", "index-url = x\n")
    with pytest.raises(BadInput, match=r"venv/pip\.conf"):
        machine.read()
