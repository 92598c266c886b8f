"""What to break in the code to see a claim of docs/security.md fail: `python -m tests.defences [WORD]`.

Works on a copy of the tree in a temporary folder. For each defence the change is made, its test is run, and must fail; a
table of the rows is printed. Every row of docs/security.md has a defence here.
`tests/test_security.py` checks at every run that the changes can still be made.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent
TREES = ("samtala", "room_server", "client", "wire", "vr", "mls", "dht", "tests", "pyproject.toml")
TEST_S_MAX = 120
_TESTS_FAILED = 1
"""pytest's exit code for that; others mean that nothing was tested."""
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


class Defence(msgspec.Struct, frozen=True):
    """A line of code that keeps a promise, what it is replaced by, and the test that notices."""

    path: str
    line: str
    broken: str
    test: str


DEFENCES = (
    Defence(
        "room_server/roster.py",
        "if invitation.asked is not None and invitation.asked.node_key != record.node_key:",
        "if False:",
        "tests/room_server/test_roster.py::test_a_token_is_for_the_first_that_asks_with_it",
    ),
    Defence(
        "room_server/joining.py",
        "    verify_ask(record, message.signature, token=token_hash(message.secret), asked=own)\n",
        "",
        "tests/room_server/test_joining.py::test_nobody_asks_in_the_name_of_another_key",
    ),
    Defence(
        "room_server/vitals.py",
        "            or any(len(key) != NODE_KEY_BYTES for key in vitals.critical)\n",
        "",
        "tests/room_server/test_vitals.py::test_vitals_out_of_bounds_end_the_link",
    ),
    Defence(
        "room_server/relay.py",
        "if self._relay is None or key != self._relay.node_key or len(token) != TOKEN_BYTES:",
        "if self._relay is None:",
        "tests/room_server/test_relay.py::test_nobody_but_our_relay_has_us_dial_and_not_without_end",
    ),
    Defence(
        "room_server/relay.py",
        "elif self._open >= self.connections_max:",
        "elif False:",
        "tests/room_server/test_relay.py::test_as_many_are_carried_as_the_configuration_says",
    ),
    Defence(
        "room_server/relay.py",
        "leg = self._awaited.pop(arrival.token, None)",
        "leg = self._awaited.get(arrival.token)",
        "tests/room_server/test_relay.py::test_a_token_is_good_once_and_only_if_it_was_given_out",
    ),
    Defence(
        "room_server/node.py",
        "            if config.dht.public:\n",
        "            if True:\n",
        "tests/client/test_public_dht.py::test_nobody_comes_near_it_unless_asked_to",
    ),
    Defence(
        "room_server/dial_back.py",
        "if message.port != peer.port and not limits.DIAL_BACK_PORT_MIN <= message.port <= _PORT_MAX:",
        "if False:",
        "tests/room_server/test_dial_back.py::test_strangers_and_ports_of_other_services_are_not_dialled",
    ),
    Defence(
        "room_server/dial_back.py",
        "        if wait_s > 0:\n",
        "        if wait_s > 1e9:\n",
        "tests/room_server/test_dial_back.py::test_an_address_is_dialled_once_in_a_while_whatever_key_and_port_it_names",
    ),
    Defence(
        "wire/descriptor.py",
        "        item.verify()\n    except InvalidSignature as error:\n        raise ForgedError",
        "        pass\n    except InvalidSignature as error:\n        raise ForgedError",
        "tests/wire/test_node_record.py::test_record_that_the_server_did_not_sign_is_refused",
    ),
    Defence(
        "wire/node_record.py",
        "if [replica.node_key for replica in descriptor.replicas] != [node_key]:",
        "if False:",
        "tests/wire/test_node_record.py::test_record_about_others_is_refused",
    ),
    Defence(
        "wire/descriptor.py",
        "    blinded: bytes = bindings.crypto_scalarmult_ed25519_noclamp(factor, root_public)\n    return blinded",
        "    del factor\n    return root_public",
        "tests/wire/test_node_record.py::test_record_shows_others_neither_key_nor_address",
    ),
    Defence(
        "client/witness.py",
        "if known == payload.seen_chain:",
        "if True:",
        "tests/client/test_room_core_attacks.py::test_a_forked_history_is_noticed_at_the_first_crossing_message",
    ),
    Defence(
        "client/evidence.py",
        "    _check_statement(evidence)\n",
        "",
        "tests/client/test_evidence.py::test_whatever_is_changed_or_does_not_contradict_proves_nothing",
    ),
    Defence(
        "client/payload.py",
        'content.ljust(size_class(len(content)), b"\\0")',
        "content",
        "tests/client/test_payload.py::test_short_messages_all_have_the_same_size",
    ),
    Defence(
        "client/seals.py",
        "    associated = purpose.value + place\n    sealed: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt("
        "plaintext, associated, nonce, key)\n    return nonce + sealed",
        "    return nonce + bytes(_TAG_BYTES) + plaintext",
        "tests/client/test_secrecy.py::test_names_texts_and_keys_are_not_in_what_servers_store",
    ),
    Defence(
        "client/seals.py",
        'return room_id + epoch.to_bytes(8, "big")',
        'return b""',
        "tests/client/test_seals.py::test_a_seal_does_not_open_elsewhere",
    ),
    Defence(
        "client/seals.py",
        'write_seed=group.export("samtala write", b"", KEY_BYTES)',
        'write_seed=group.export("samtala write", bytes([group.own_leaf_index]), KEY_BYTES)',
        "tests/client/test_secrecy.py::test_members_are_one_to_servers",
    ),
    Defence(
        "client/commits.py",
        "if (secrets.write_key, secrets.read_key) != (body.next_write_key, body.next_read_key):",
        "if False:",
        "tests/client/test_commits.py::test_announcing_other_keys_is_refused",
    ),
    Defence(
        "client/commits.py",
        "        check_facts(group, staged.group, committer=staged.committer, body=body, keys=keys)\n",
        "",
        "tests/client/test_facts.py::test_only_the_owner_may_change_facts",
    ),
    Defence(
        "client/facts.py",
        "if body.join_key != expected:",
        "if False:",
        "tests/client/test_facts.py::test_servers_and_members_are_told_of_the_same_link",
    ),
    Defence(
        "client/facts.py",
        "return keys_of(Link(root_public=keys.root_public, secret=secret)) if secret else keys",
        "return keys",
        "tests/client/test_facts.py::test_new_link_is_agreed_on_by_all_and_closes_the_old_one",
    ),
    Defence(
        "client/room.py",
        "            await self.rotate_link()\n        return sequence",
        "            pass\n        return sequence",
        "tests/client/test_client.py::test_whoever_was_removed_cannot_come_back_by_the_link_they_know",
    ),
    Defence(
        "client/room_core.py",
        "            self._stall(delivery.first_sequence, f",
        "            self._break(delivery.first_sequence, f",
        "tests/client/test_stalls.py::test_garbage_commit_holds_the_room_up_for_thirty_seconds_at_most",
    ),
    Defence(
        "client/room_core.py",
        "self._break(delivery.first_sequence, _UNDONE)\n        elif",
        "return\n        elif",
        "tests/client/test_stalls.py::"
        "test_removed_member_who_wins_an_unacknowledged_race_is_an_alarm_and_is_thrown_out_by_the_owner",
    ),
    Defence(
        "room_server/room.py",
        "header.epoch == self.epoch - 1 and self._is_stalled(timestamp_us)",
        "False",
        "tests/client/test_rescue.py::test_garbage_commit_holds_a_room_up_only_for_a_while",
    ),
    Defence(
        "room_server/room.py",
        "        self._begin(header.epoch, body.write_key, body.read_key)\n",
        "",
        "tests/room_server/test_room_rules.py::test_override_sends_the_room_back_and_its_dead_entries_are_readable_to_who_stayed",
    ),
    Defence(
        "room_server/room.py",
        "if header.epoch != self.epoch and not reopens:",
        "if header.epoch > self.epoch and not reopens:",
        "tests/room_server/test_room.py::test_loser_of_a_commit_race_learns_the_sequence_of_the_winner_and_leaves_no_trace",
    ),
    Defence(
        "room_server/attachment.py",
        "return self.join_key == self.room.service.join_key",
        'return self.join_key != b""',
        "tests/room_server/test_attachment.py::test_new_link_needs_the_admin_key_and_shuts_out_who_came_by_the_old_one",
    ),
    Defence(
        "room_server/attachment.py",
        "            nacl.signing.VerifyKey(key).verify(signed, prove.signature)\n",
        "            pass\n",
        "tests/room_server/test_attachment.py::test_wrong_proof_opens_nothing",
    ),
    Defence(
        "room_server/attachment.py",
        "if self.room.joins.wait_s(now, per_s=limits.JOINS_PER_S, at_once=at_once):",
        "if False:",
        "tests/room_server/test_attachment.py::test_joins_by_link_are_rationed_per_room",
    ),
    Defence(
        "room_server/edge.py",
        "if self._bad_proofs >= limits.BAD_PROOFS_MAX:",
        "if False:",
        "tests/room_server/test_attachment.py::test_guessing_proofs_ends_the_connection",
    ),
    Defence(
        "client/linking.py",
        'self._derive(b"words", shared + transcript)',
        'self._derive(b"words", b"")',
        "tests/client/test_linking.py::test_words_tell_somebody_in_between_who_has_the_code",
    ),
    Defence(
        "client/linking.py",
        "if commitment_to(device) != commitment or ",
        "if ",
        "tests/client/test_linking.py::test_a_device_cannot_choose_its_keys_by_those_of_the_other",
    ),
    Defence(
        "client/linking.py",
        'self._derive(b"handover", shared + transcript)',
        'self._derive(b"handover", b"")',
        "tests/client/test_linking.py::test_the_code_alone_does_not_open_what_was_handed_over",
    ),
    Defence(
        "room_server/letterboxes.py",
        "if len(self._letters) >= limits.LETTERS_MAX or self._left < 1:",
        "if False:",
        "tests/room_server/test_letterboxes.py::test_letters_are_rationed_and_their_number_is_bounded",
    ),
    Defence(
        "mls/group.py",
        "        state.secret_tree.consume(content.sender.index, RatchetType.APPLICATION, key)\n",
        "",
        "tests/client/test_secrecy.py::test_device_stolen_in_the_middle_of_an_epoch_does_not_open_what_it_read_in_it",
    ),
    Defence(
        "mls/receiving.py",
        "    verify_content(signer_key(state, opened), opened, state.context_bytes)\n",
        "",
        "tests/mls/test_attacks.py::test_an_insider_can_neither_pose_as_another_nor_burn_its_keys",
    ),
    Defence(
        "mls/receiving.py",
        "if group_id != state.context.group_id:",
        "if False:",
        "tests/client/test_room_core_attacks.py::test_a_message_of_another_room_is_refused",
    ),
    Defence(
        "client/letting_in.py",
        "if not chosen or _holds(group, chosen, entropy, now_s):",
        "if True:",
        "tests/client/test_letting_in.py::test_one_bad_key_package_does_not_keep_the_others_out",
    ),
    Defence(
        "client/letting_in.py",
        "if len(self._waiting) >= limits.KNOCKS_MAX and",
        "if False and",
        "tests/client/test_letting_in.py::test_who_waits_is_bounded_and_so_is_one_commit",
    ),
    Defence(
        "room_server/room.py",
        "if self._knocks >= limits.KNOCKS_MAX:",
        "if False:",
        "tests/room_server/test_knocks.py::test_so_many_knocks_are_taken_between_two_commits",
    ),
    Defence(
        "room_server/attachment.py",
        "if is_external or header.kind is BlockKind.KNOCK:",
        "if is_external:",
        "tests/room_server/test_knocks.py::test_knocks_need_the_link_and_are_rationed_with_other_joins",
    ),
    Defence(
        "room_server/room.py",
        "if isinstance(body, Place) and not self.by_quorum:",
        "if False:",
        "tests/room_server/test_room_moves.py::test_servers_place_no_room_that_is_its_owners_to_move",
    ),
    Defence(
        "client/seals.py",
        '    return room_id + epoch.to_bytes(8, "big")\n',
        "    return bytes(room_id)\n",
        "tests/client/test_letting_in.py::test_a_knock_is_not_good_for_another_epoch_than_that_it_was_made_for",
    ),
    Defence(
        "client/letting_in.py",
        "if not group.epoch - limits.KNOCK_EPOCHS_MAX <= epoch <= group.epoch:",
        "if False:",
        "tests/client/test_letting_in.py::test_an_old_knock_that_a_server_shows_again_counts_no_more",
    ),
    Defence(
        "client/letting_in.py",
        "        if keys.bundle_key != self._bundle_key:\n            self._waiting.clear()\n",
        "        if False:\n",
        "tests/client/test_letting_in.py::test_another_link_ends_the_wait_of_who_knocked_with_the_old_one",
    ),
    Defence(
        "client/membership.py",
        "            return False  # Any member can put one there: it must not bar the other ways in.",
        "            raise",
        "tests/client/test_membership.py::test_a_false_welcome_does_not_bar_the_other_ways_in",
    ),
    Defence(
        "client/facts.py",
        "if body.external or staged.committer in staged.added:",
        "if body.external:",
        "tests/client/test_admission.py::test_nobody_comes_in_by_a_commit_of_their_own",
    ),
    Defence(
        "client/facts.py",
        "if staged.added and (committer is None or person_of(committer, 0).user_key != facts.owner):",
        "if False:",
        "tests/client/test_admission.py::test_nobody_but_the_owner_lets_people_in",
    ),
    Defence(
        "client/facts.py",
        "if (new.owner, new.by_approval) != (old.owner, old.by_approval) or",
        "if new.owner != old.owner or",
        "tests/client/test_admission.py::test_a_room_by_approval_stays_one_even_for_its_owner",
    ),
    Defence(
        "room_server/room.py",
        "if body.external and self.by_approval:",
        "if False:",
        "tests/client/test_admission.py::test_servers_of_a_room_by_approval_take_no_external_commit",
    ),
    Defence(
        "client/commits.py",
        '    if facts_of(group).by_approval:\n        return b""\n',
        "",
        "tests/client/test_admission.py::test_who_has_the_link_is_told_nothing_of_the_members",
    ),
    Defence(
        "client/reading.py",
        "        if self._cursor != self._until:",
        "        if False:",
        "tests/client/test_reading.py::test_a_server_that_changes_the_past_is_found_out_before_anything_is_shown",
    ),
    Defence(
        "client/reading.py",
        "if self._is_strict:",
        "if False:",
        "tests/client/test_reading.py::test_a_false_record_shows_nothing_and_another_member_is_asked",
    ),
    Defence(
        "client/reading.py",
        "if self._context is not None and self._public.context != self._context:",
        "if False:",
        "tests/client/test_reading.py::test_a_beginning_that_leads_to_another_group_shows_nothing",
    ),
    Defence(
        "mls/history.py",
        "        verify_content(signer_key(state, opened), opened, state.context_bytes)\n",
        "",
        "tests/mls/test_history.py::test_who_holds_a_record_cannot_write_history_in_anothers_name",
    ),
    Defence(
        "mls/history.py",
        "        verify_content(signer_key(self._state, message), message, self._state.context_bytes)\n",
        "",
        "tests/mls/test_history.py::test_a_tree_with_another_person_in_it_does_not_lead_to_the_present_group",
    ),
    Defence(
        "client/archive.py",
        "given = [_without_messages(record) for record in run[begin:first]]",
        "given = list(run[begin:first])",
        "tests/client/test_archive.py::test_whoever_keeps_more_gives_no_more_than_the_window",
    ),
    Defence(
        "client/letting_in.py",
        "if not person.is_verified or person.user_key in self._denied:",
        "if person.user_key in self._denied:",
        "tests/client/test_admission.py::test_a_person_waits_once_and_nobody_under_a_key_that_is_not_theirs",
    ),
    Defence(
        "client/letting_in.py",
        "if knock.device_key in approved or not self.by_approval]",
        "]",
        "tests/client/test_admission.py::test_only_those_who_were_approved_are_let_in",
    ),
    Defence(
        "client/store.py",
        '    database.pragma("hexkey", f"raw:{key.hex()}".encode().hex())\n',
        "",
        "tests/client/test_store.py::test_nothing_readable_is_on_the_disk",
    ),
    Defence(
        "client/room_protocol.py",
        'self._alarm(f"a server holds another history through {after}")',
        "return",
        "tests/client/test_connection_faults.py::test_server_with_another_history_raises_an_alarm_and_is_left",
    ),
    Defence(
        "wire/certificate.py",
        "if statement.room_id != room_id or statement.epoch != known.epoch + 1:",
        "if False:",
        "tests/client/test_connection_faults.py::test_replayed_move_raises_an_alarm",
    ),
    Defence(
        "wire/certificate.py",
        "if signature.node_key not in known.node_keys:",
        "if False:",
        "tests/wire/test_certificate.py::test_new_servers_cannot_vouch_for_themselves",
    ),
    Defence(
        "client/room_protocol.py",
        "        self._reset(prover)\n        self._window.resend()\n",
        "        self._reset(prover)\n",
        "tests/client/test_connection.py::test_no_gap_and_no_double_whatever_is_cut",
    ),
    Defence(
        "wire/tls.py",
        "if self.peer_key != node_key:",
        "if False:",
        "tests/wire/test_tls.py::test_man_in_the_middle_with_another_key_gets_nothing",
    ),
    Defence(
        "mls/key_schedule.py",
        "member_secret=extract(joiner, psks)",
        "member_secret=extract(joiner, bytes(32))",
        "tests/client/test_secrecy.py::test_recorder_with_a_quantum_computer_needs_the_pre_shared_key_as_well",
    ),
    Defence(
        "client/seals.py",
        'read_seed=group.export("samtala read", b"", KEY_BYTES)',
        "read_seed=hashlib.sha256(group.group_id).digest()",
        "tests/client/test_secrecy.py::test_removed_member_who_keeps_everything_opens_nothing",
    ),
    Defence(
        "room_server/room.py",
        "        self.epoch = epoch\n        self.write_key = write_key\n",
        "        self.epoch = epoch\n",
        "tests/client/test_client.py::test_a_removed_member_is_out_for_reading_and_writing",
    ),
    Defence(
        "client/room_driver.py",
        "if self._renewal.is_new(renewal) and self._renewed is not None:",
        "if False:",
        "tests/client/test_client.py::test_a_device_changes_its_keys_by_itself_when_it_is_time",
    ),
    Defence(
        "client/store.py",
        '            database.execute("BEGIN IMMEDIATE")\n            yield\n            database.execute("COMMIT")\n',
        "            yield\n",
        "tests/client/test_store.py::test_a_kill_between_any_two_statements_leaves_the_state_before",
    ),
    Defence(
        "client/vault.py",
        "hashlib.blake2b(purpose, key=secret, digest_size=size,",
        "hashlib.blake2b(purpose, digest_size=size,",
        "tests/client/test_vault.py::test_another_code_finds_nothing",
    ),
    Defence(
        "client/recovery.py",
        "hashlib.blake2b(key=secret, digest_size=32,",
        "hashlib.blake2b(digest_size=32,",
        "tests/client/test_recovery.py::test_neither_says_anything_alone",
    ),
    Defence(
        "room_server/addresses.py",
        "        if self._requests < cost:\n            self._refill(now)\n",
        "        if False:\n            self._refill(now)\n",
        "tests/room_server/test_addresses.py::test_flood_from_one_address_is_told_busy_and_costs_bounded_memory",
    ),
    Defence(
        "room_server/room.py",
        "        except DecodeError:\n            return BlockResult(ResultKind.MALFORMED",
        "        except ZeroDivisionError:\n            return BlockResult(ResultKind.MALFORMED",
        "tests/room_server/test_room.py::test_broken_block_is_malformed_and_changes_nothing",
    ),
    Defence(
        "mls/receiving.py",
        "    check_membership_tag(state.secrets.membership_key, public, state.context_bytes)\n",
        "",
        "tests/mls/test_mutations.py::test_no_changed_commit_is_accepted",
    ),
    Defence(
        "client/seals.py",
        'write_seed=group.export("samtala write", b"", KEY_BYTES)',
        "write_seed=hashlib.sha256(group.group_id).digest()",
        "tests/client/test_device_link.py::test_a_revoked_device_that_keeps_its_state_reads_and_writes_nothing_more",
    ),
    Defence(
        "client/room.py",
        "sequence = await self._propose(MemberChange(remove=(member.device_key,)))",
        "sequence = await self._propose(MemberChange())",
        "tests/samtala/cli/test_device.py::test_lost_device_is_shut_out_although_it_keeps_everything",
    ),
)


def rows() -> list[str]:
    """Lines of the tables of docs/security.md that make a claim."""
    lines = (ROOT / "docs" / "security.md").read_text().splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| The attacker")]


def named_in(row: str) -> list[str]:
    """The tests that a row names."""
    return ["::".join(found) for found in _TEST.findall(row)]


def is_noticed(defence: Defence, tree: Path) -> bool:
    """Whether the test fails when the defence is gone; a program that does not even load proves nothing."""
    target = tree / defence.path
    intact = target.read_text()
    target.write_text(intact.replace(defence.line, defence.broken))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", defence.test],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=TEST_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        target.write_text(intact)
    return done.returncode == _TESTS_FAILED


def main() -> int:
    """Break one defence after the other, print a table of the rows; the exit code counts what nobody missed."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in TREES:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, tree / name)
        for row in rows():
            wanted = [defence for defence in DEFENCES if defence.test in named_in(row)]
            chosen = [defence for defence in wanted if word in defence.path + defence.test + row]
            unseen = [defence for defence in chosen if not is_noticed(defence, tree)]
            missed += len(unseen)
            if chosen:
                _print(row, noticed=len(chosen) - len(unseen), removed=len(chosen))
            for defence in unseen:
                sys.stdout.write(f"    MISSED {defence.path}: {defence.line.strip()[:60]} {defence.test}\n")
    return missed


def _print(row: str, *, noticed: int, removed: int) -> None:
    attacker = row.split("|")[1].strip()
    sys.stdout.write(f"| {attacker:<84} | {len(named_in(row)):2} tests | {noticed} of {removed} removals noticed |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
