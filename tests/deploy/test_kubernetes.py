"""Kubernetes takes the resources, nothing in them kills the survivors of a failure, and the first start works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from room_server.config import load_config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
RESOURCES: dict[str, dict[str, Any]] = {
    document["kind"]: document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((FOLDER / name).read_text())
}
POD: dict[str, Any] = RESOURCES["StatefulSet"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("kind", RESOURCES)
def test_resource_is_as_the_schema_says(kind: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    resource = RESOURCES[kind]

    validate.validate(resource, "1.31", strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**resource, "spec": {"replicsa": 3}}, "1.31", strict=True)


def test_kustomize_puts_it_together() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: apt install kubernetes-client")

    run = subprocess.run([kubectl, "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(run.stdout)]
    assert sorted(kinds) == sorted([*RESOURCES, "ConfigMap"])


def test_only_a_dead_loop_is_killed_and_nobody_is_for_want_of_a_majority() -> None:
    [container] = POD["containers"]

    assert container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert RESOURCES["Service"]["spec"]["publishNotReadyAddresses"] is True


def test_two_of_three_stay() -> None:
    budget, labels = RESOURCES["PodDisruptionBudget"]["spec"], RESOURCES["StatefulSet"]["spec"]["template"]["metadata"]

    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels["labels"].items()
    assert RESOURCES["Service"]["spec"]["selector"].items() <= labels["labels"].items()


def first_start(folder: Path, pod: str) -> Path:
    """Run the first container's script with its folders moved; the configuration that it makes."""
    script = POD["initContainers"][0]["args"][0]
    for place in ("/var/lib/samtala", "/run/samtala", "/peers"):
        script = script.replace(place, f"{folder}/{pod}{place}" if place != "/peers" else f"{folder}/peers")
        (folder / f"{pod}{place}").mkdir(parents=True, exist_ok=True)
    if not list((folder / "peers").glob("*.toml")):
        shutil.copytree(FOLDER / "peers", folder / "peers", dirs_exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "samtala"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m samtala "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        ["/bin/sh", "-ec", script], env={**environment, "POD": pod, "NAMESPACE": "samtala"}, cwd=folder,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return folder / pod / "run/samtala/node.toml"


@pytest.mark.process
def test_servers_make_themselves_and_then_know_each_other(tmp_path: Path) -> None:
    pods = ["samtala-0", "samtala-1"]
    for pod in pods:
        assert load_config(first_start(tmp_path, pod)).peers == ()
    for pod in pods:
        shutil.copy(tmp_path / pod / "var/lib/samtala/peer.toml", tmp_path / "peers" / f"{pod}.toml")

    config = load_config(first_start(tmp_path, "samtala-0"))

    assert [peer.name for peer in config.peers] == ["samtala-1"]
    assert config.peers[0].address.startswith("samtala-1.samtala.samtala.svc:7610#")
    assert config.advertise == "samtala-0.samtala.samtala.svc:7610"
