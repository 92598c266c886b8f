from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from client.discovery import Discovery, OtherSources
from client.errors import UnavailableError
from tests.client.test_discovery import item, link, replica

NETWORK = (
    "ip link set lo up && ip link add lan0 type veth peer name lan1 && ip link set lan1 up && ip addr add 10.77.1.1/24 dev lan0 && ip link set lan0 up"
    ' && ip route add default dev lan0 && exec "$@"'
)


def run_in_a_network(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine that has one network and no way out of it."""
    namespace = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", NETWORK, "sh"]
    return subprocess.run([*namespace, *command], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def network() -> None:
    if sys.platform != "linux" or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip")
    if importlib.util.find_spec("zeroconf") is None:
        pytest.skip("zeroconf is not installed")
    if run_in_a_network("true").returncode:
        pytest.skip("network namespaces are not permitted here")


def test_a_link_without_addresses_opens_on_a_network_without_internet(network: None, tmp_path: Path) -> None:
    done = run_in_a_network(sys.executable, "-m", "tests.client.lan_story", str(tmp_path), "10.77.1.1")

    assert done.returncode == 0, done.stderr


async def test_a_machine_without_multicast_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    search = Discovery(link(), others=OtherSources(has_lan=True))

    with pytest.raises(UnavailableError, match="no address") as caught:
        await search.first()

    assert "multicast does not work here" in caught.value.tried[0]


async def test_nobody_listens_when_a_server_has_answered() -> None:
    async with replica(item(1)) as node:
        search = Discovery(link(node.address), others=OtherSources(has_lan=True))
        await search.search(lambda found: False)

    assert [attempt.source for attempt in search.trace] == ["hints of the link"]
