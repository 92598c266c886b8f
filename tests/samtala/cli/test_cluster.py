from __future__ import annotations

import io
import json
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from room_server.cluster_report import ClusterReport, ClusterView, Invited, JoiningReport
from samtala.cli import main
from samtala.cli.cluster import status_lines
from tests.samtala.cli.admin_double import serving_answers
from tests.samtala.cli.servers import COMMAND_S_MAX, ROOT, Community, open_strangers
from tests.samtala.operate.cluster_reports import OTTER, node, report, vitals

TOKEN = msgspec.json.encode(Invited(token="sam1-join-abc", valid_s=86400))


def run(path: Path, answers: dict[str, bytes], *arguments: str) -> int:
    (path / "s").unlink(missing_ok=True)
    with serving_answers(path / "s", answers) as socket:
        return main(["cluster", *arguments, "--socket", str(socket)])


def showing(seen: ClusterReport) -> dict[str, bytes]:
    return {"/cluster": msgspec.json.encode(ClusterView(cluster=seen))}


def joining(**changes: object) -> dict[str, bytes]:
    told = {"is_under_way": True, "cluster": "makers", "words": "otter-lamp-brick", "trouble": "", **changes}
    view = ClusterView(joining=msgspec.convert(told, JoiningReport))
    return {"/cluster": msgspec.json.encode(view), "/cluster/join": b"null"}


def test_screen_shows_each_server_and_what_rooms_survive() -> None:
    seen = report(
        node("a", vitals(led=15)),
        node("b", vitals(led=27, backup_age_s=7200)),
        node("c", None, up=False),
        waiting=(OTTER,),
    )

    assert status_lines(seen) == [
        "Malmö makers   3 nodes, 42 rooms   all rooms survive 1 failure",
        "NODE  VERSION  STATE  LEADS  REPLICAS  LAG  RTT     DISK-FREE  BACKUP         ROSTER",
        "a*    0.4.1    ok     15     3         0    -       61%        never          voter",
        "b     0.4.1    ok     27     3         0    0.4 ms  61%        2 h 0 min ago  voter",
        "c     0.4.1    DOWN                         0.4 ms                            voter",
        "d (d.example:7610) asks to join: samtala cluster approve",
    ]


@pytest.mark.parametrize("verb", [["create", "makers"], ["invite", "--hours", "24"]])
def test_token_goes_to_standard_output_and_the_rest_does_not(
    tmp_path: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, {f"/cluster/{verb[0]}": TOKEN}, *verb) == 0

    out, err = capsys.readouterr()
    assert out == "sam1-join-abc\n"
    assert "samtala cluster join sam1-join-abc" in err
    assert "24 hours" in err


def test_a_node_s_refusal_is_told_as_it_said_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {"/cluster/create": b"409 this server belongs to a cluster already\n"}, "create", "x") == 4
    assert capsys.readouterr().err == "samtala: this server belongs to a cluster already\n"


def test_approval_shows_the_words_and_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answers = {**showing(report(waiting=(OTTER,))), "/cluster/approve": b"null"}

    assert run(tmp_path, answers, "approve", "--yes") == 0
    out, err = capsys.readouterr()
    assert "otter-lamp-brick" in err
    assert out == "d belongs to the cluster now.\n"
    assert run(tmp_path, answers, "approve") == 130, "nobody answers the question"


@pytest.mark.parametrize(
    ("waiting", "words", "text"),
    [
        ((), ["approve"], "nobody asks to join"),
        ((), ["approve", "d"], "no server 'd' asks"),
        ((OTTER, msgspec.structs.replace(OTTER, name="e")), ["approve"], "say which one: d, e"),
    ],
)
def test_approval_needs_one_that_asks(
    tmp_path: Path, waiting: tuple[()], words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, showing(report(waiting=waiting)), *words) == 3
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answers", "code", "text"),
    [
        (joining(), 5, "Words: otter-lamp-brick"),
        (joining(trouble="nobody answers", words=""), 5, "nobody answers; trying again"),
        (
            joining(is_under_way=False, trouble="the cluster's operator said no"),
            4,
            "not joined: the cluster's operator",
        ),
    ],
)
def test_joining_says_how_it_goes(
    tmp_path: Path, answers: dict[str, bytes], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, answers, "join", "sam1-join-abc", "--timeout", "0.1") == code
    assert text in capsys.readouterr().err


def test_joined_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {**showing(report()), "/cluster/join": b"null"}, "join", "sam1-join-abc") == 0
    assert capsys.readouterr().out == "This server belongs to 'Malmö makers' now; 2 of 2 others linked.\n"


def test_upgrade_check_says_which_server_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, showing(report()), "upgrade-check") == 0
    assert capsys.readouterr().out.splitlines()[2] == "a  0.4.1  may be stopped"

    wounded = report(node("a"), node("b", vitals(critical=("a",))), node("c", up=False))
    assert run(tmp_path, showing(wounded), "upgrade-check") == 7
    out = capsys.readouterr().out
    assert "not now: a room led by b would lose its majority" in out
    assert "formats   level 1, known to all" in out
    assert run(tmp_path, showing(wounded), "upgrade-check", "--json") == 7
    assert json.loads(capsys.readouterr().out)["nodes"][0]["node"] == "a"


def test_other_verbs_say_what_they_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {**showing(report()), **{f"/cluster/{verb}": b"null" for verb in ("deny", "remove", "policy", "forget")}}

    assert run(tmp_path, answers, "deny", "d") == 0
    assert run(tmp_path, answers, "remove", "b", "--yes", "--json") == 0
    assert run(tmp_path, answers, "policy", "--rooms", "nobody") == 0
    assert run(tmp_path, answers, "forget", "--yes") == 0
    assert run(tmp_path, answers, "status", "--json") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:4] == [
        "d was turned away.", '{"removed": "b"}', "everybody may make rooms; a new room has 3 servers",
        "This server belongs to no cluster now; its rooms are as they were.",
    ]  # fmt: skip
    assert msgspec.json.decode(out[4], type=ClusterView).cluster == report()


def test_a_server_without_a_cluster_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {"/cluster": msgspec.json.encode(ClusterView())}, "status") == 3
    assert "samtala cluster create NAME" in capsys.readouterr().err


def let_in(servers: Community, name: str, by: str) -> None:
    invited = servers.samtala("cluster", "invite", *at(servers, by))
    assert invited.code == 0, invited.err
    token = invited.out.strip()
    with subprocess.Popen(
        servers.command("cluster", "join", token, *at(servers, name)), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as joiner:
        approved = servers.samtala("cluster", "approve", name, "--yes", "--wait", "20", "--json", *at(servers, by))
        assert approved.code == 0, approved.err
        _, err = joiner.communicate(timeout=COMMAND_S_MAX)
    assert joiner.returncode == 0, err
    assert f"Words: {approved.objects[0]['words']}" in err


def at(servers: Community, name: str) -> tuple[str, str]:
    return "--config", str(servers.folder / name / "node.toml")


def roles(servers: Community, name: str) -> list[tuple[str, str]]:
    view = msgspec.json.decode(servers.samtala("cluster", "status", "--json", *at(servers, name)).out, type=ClusterView)
    assert view.cluster is not None
    return [(one.name, one.role.value) for one in view.cluster.nodes]


@pytest.mark.process
def test_roster_outlives_the_server_that_began_it(tmp_path: Path) -> None:
    with open_strangers(tmp_path, "abcd") as servers:
        assert servers.samtala("cluster", "create", "makers", *at(servers, "a")).code == 0
        let_in(servers, "b", by="a")
        let_in(servers, "c", by="a")
        deadline = time.monotonic() + COMMAND_S_MAX
        while roles(servers, "b") != [("a", "voter"), ("b", "voter"), ("c", "voter")]:
            assert time.monotonic() < deadline, roles(servers, "b")

        made = servers.samtala("room", "create", "lobby", "--node", servers.addresses[0], "--my-name", "alice")
        assert made.code == 0, made.err

        servers.kill(0)
        let_in(servers, "d", by="b")

        assert [name for name, _ in roles(servers, "d")] == ["a", "b", "c", "d"]
        status = servers.samtala("cluster", "status", *at(servers, "c"))
        assert "4 nodes" in status.out
        assert "DOWN" in status.out
        planned = servers.samtala("cluster", "rebalance", "--without", "a", *at(servers, "c"))
        assert "a            1 room, and gets none: it is down" in planned.out
        emptied = servers.samtala("cluster", "rebalance", "--without", "a", "--apply", *at(servers, "c"))
        assert emptied.code == 0, (emptied.out, emptied.err)
        assert "a            0 rooms" in emptied.out
        sent = servers.samtala("send", "lobby", "on b, c and d")
        assert sent.code == 0, sent.err
        check = servers.samtala("cluster", "upgrade-check", *at(servers, "c"))
        assert (check.code, "not now: it is down already" in check.out) == (7, True)
