"""Hard histories as text: each line does one thing to the small world, and what must be true follows in the same file.

    # comment                      suspect 1 0        node 1 takes node 0 for dead (trust 1 0: hears it again)
    submit 0                       tick 2             time passes at node 2 (tick: everywhere)
    deliver                        crash 1            power loss; `crash 1 kept`: what was under way is on the disk;
    deliver StartView 1→2                             `crash 1 rotten 2`: op 2 unreadable, `crash 1 tail`: the last one lost
    hold Prepare 0→*               show               the state; the lines after `----`, to an empty line, are what it must be
    repeat PrepareOk 1→0           pass Prepare 0→*   ends a hold or a repeat
    release StartView *→*          forget * 0→*       what is held goes on its way; is lost
    wait                           everybody's patience is over
    nodes 5                        the first line of a history of five nodes; else there are three

A packet is `Name source→target`, each `*` for any; `sync 1→1` is the sync of node 1's disk. `deliver` alone delivers all
that is under way, in order, until nothing is; with a packet, the oldest such one, held or not. Promises are checked at
every step, as in the exhaustive search, whose findings are scenarios too (`text_of`), in words of their own:

    next, hold next, repeat next   the oldest packet under way      late 0       the first held one
    cut 1, heal                    node 1 alone, until healed       suspect * 0  everybody else does
    leave 2                        the primary ends the epoch: the others go on without node 2
    crash 1 keeping 2              two of the writes under way are on the disk
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from vr.messages import decode
from vr.simulator.errors import ScenarioError
from vr.simulator.small_world import NEVER_S, Budget, Choice, Packet, Rotten, SmallWorld, Step, first_world, perform

DELIVERIES_MAX = 10_000  # of one `deliver`: replicas that never fall silent are a finding
OPERATIONS_MAX = 200
_EXPECTED = "----"
_LINK = re.compile(r"([0-9*])→([0-9*])")


_MANY = 1_000_000
_BUDGET = Budget(
    _MANY, operations=OPERATIONS_MAX, view_changes=_MANY, crashes=_MANY, cuts=_MANY, ticks=_MANY, epochs=_MANY
)


class Scenario:
    """One scenario being played."""

    def __init__(self) -> None:
        self.world: SmallWorld = first_world(_BUDGET)
        self._holding: list[str] = []
        self._repeating: list[str] = []

    def play(self, command: str) -> list[str]:
        """Carry out one line; returns what it shows.

        Raises:
            ScenarioError: not a command.
            Violation: a promise is broken.
        """
        verb, *words = command.split()
        match verb, words:
            case "show", []:
                return self._show()
            case "nodes", ["3" | "5" as count]:
                self.world = first_world(_BUDGET, count=int(count))
            case "hold" | "repeat" | "pass", [_, _]:
                self._rule(verb, " ".join(words))
            case "release" | "forget", [_, _]:
                self._take_held(" ".join(words), is_released=verb == "release")
            case "deliver", []:
                self._deliver_all()
            case "deliver", [_, _]:
                self._deliver_one(" ".join(words))
            case "wait", []:
                self.world.now_s += 2 * NEVER_S
            case _ if (choice := _choice(command)) is not None:
                self.world = perform(self.world, choice)
            case _:
                self._step(verb, words)
        return []

    def _step(self, verb: str, words: Sequence[str]) -> None:
        step = Step(self.world)
        match verb, words:
            case "suspect", [node, other]:
                step.suspect(int(node), int(other))
            case "trust", [node, other]:
                step.trust(int(node), int(other))
            case "tick", [node]:
                step.tick(int(node))
            case "crash", [node, *how]:
                self._crash(step, int(node), how)
            case _:
                raise ScenarioError(f"not a command: {verb} {' '.join(words)}")
        self.world = step.done()

    def _crash(self, step: Step, node: int, how: Sequence[str]) -> None:
        match how:
            case []:
                step.crash(node, 0)
            case ["kept"]:
                step.crash(node, len(self.world.nodes[node].writes))
            case ["tail"]:
                step.crash(node, 0, Rotten(is_tail_lost=True))
            case ["rotten", *ops]:
                step.crash(node, 0, Rotten(ops=tuple(int(op) for op in ops)))
            case _:
                raise ScenarioError(f"no such crash: {' '.join(how)}")

    def _show(self) -> list[str]:
        held = sorted(_name(packet) for packet in self.world.held)
        return self.world.describe() + ([f"held: {', '.join(held)}"] if held else [])

    # --- packets ---

    def _rule(self, verb: str, pattern: str) -> None:
        _require_packet(pattern)
        match verb:
            case "hold":
                self._holding.append(pattern)
            case "repeat":
                self._repeating.append(pattern)
            case _:
                self._holding = [known for known in self._holding if known != pattern]
                self._repeating = [known for known in self._repeating if known != pattern]

    def _take_held(self, pattern: str, *, is_released: bool) -> None:
        _require_packet(pattern)
        step = Step(self.world)
        taken = tuple(packet for packet in self.world.held if _matches(packet, pattern))
        step.world.held = tuple(packet for packet in self.world.held if not _matches(packet, pattern))
        if is_released:
            step.world.queue += taken
        self.world = step.done()

    def _deliver_all(self) -> None:
        for _ in range(DELIVERIES_MAX):
            if not self.world.queue:
                return
            step = Step(self.world)
            packet, step.world.queue = step.world.queue[0], step.world.queue[1:]
            if any(_matches(packet, pattern) for pattern in self._holding):
                step.world.held += (packet,)
            else:
                if any(_matches(packet, pattern) for pattern in self._repeating):
                    step.world.held += (packet,)
                step.deliver(packet)
            self.world = step.done()
        raise ScenarioError("the replicas never fall silent")

    def _deliver_one(self, pattern: str) -> None:
        _require_packet(pattern)
        step = Step(self.world)
        for name in ("held", "queue"):
            packets: tuple[Packet, ...] = getattr(self.world, name)
            for place, packet in enumerate(packets):
                if _matches(packet, pattern):
                    setattr(step.world, name, packets[:place] + packets[place + 1 :])
                    step.deliver(packet)
                    self.world = step.done()
                    return
        raise ScenarioError(f"nothing under way is {pattern}")


def _choice(command: str) -> Choice | None:
    """What the exhaustive search calls a choice."""
    match command.split():
        case ["next"]:
            return Choice(command, "deliver")
        case ["hold" | "repeat" as kind, "next"]:
            return Choice(command, kind)
        case ["late" | "submit" | "cut" | "leave" as kind, place]:
            return Choice(command, kind, int(place))
        case ["heal" | "tick" as kind]:
            return Choice(command, kind)
        case ["suspect", "*", primary]:
            return Choice(command, "suspect", int(primary))
        case ["crash", node, "keeping", count]:
            return Choice(command, "crash", int(node), int(count))
        case _:
            return None


def text_of(path: Sequence[Choice]) -> str:
    """The scenario of a finding of the exhaustive search: playing it does the same again."""
    return "".join(f"{_command(choice)}\n" for choice in path)


def _command(choice: Choice) -> str:
    match choice.kind:
        case "deliver":
            return "next"
        case "hold" | "repeat":
            return f"{choice.kind} next"
        case "suspect":
            return f"suspect * {choice.argument}"
        case "crash":
            return f"crash {choice.argument} keeping {choice.kept}"
        case "heal" | "tick":
            return choice.kind
        case _:
            return f"{choice.kind} {choice.argument}"


def _name(packet: Packet) -> str:
    kind = type(decode(packet.data)).__name__ if packet.data else "sync"
    return f"{kind} {packet.source}→{packet.target}"


def _matches(packet: Packet, pattern: str) -> bool:
    kind, _, link = _name(packet).partition(" ")
    wanted_kind, _, wanted_link = pattern.partition(" ")
    # The disk is no part of the network: only its own name means it.
    if (kind == "sync") != (wanted_kind == "sync"):
        return False
    return fnmatchcase(kind, wanted_kind) and fnmatchcase(link, wanted_link)


def _require_packet(pattern: str) -> None:
    _, _, link = pattern.partition(" ")
    if not _LINK.fullmatch(link):
        raise ScenarioError(f"not a packet: {pattern}")


def play_text(text: str) -> str:
    """Play a scenario; returns it with what it really showed. Equal to `text`: everything was as it must be.

    Raises:
        ScenarioError: not a scenario; names the line.
        Violation: a promise is broken.
    """
    scenario = Scenario()
    played: list[str] = []
    for number, line in _commands(text):
        played.append(line)
        if not line or line.startswith("#"):
            continue
        try:
            shown = scenario.play(line)
        except (ScenarioError, ValueError, IndexError) as error:
            raise ScenarioError(f"line {number}: {error}") from error
        if shown:
            played += [_EXPECTED, *shown]
    return "\n".join(played).rstrip("\n") + "\n"


def _commands(text: str) -> Iterator[tuple[int, str]]:
    """The lines, without what was expected."""
    is_expected = False
    for number, line in enumerate(text.splitlines(), 1):
        is_expected = (is_expected or line == _EXPECTED) and bool(line)
        if not is_expected:
            yield number, line
