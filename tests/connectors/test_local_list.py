"""The Local Authorization List: updates, versions, bounds, what it decides (OCPP 1.6 §3.5.2 to §3.5.4, §5.10, §5.15, §9.2)."""

from itertools import product

import msgspec
import pytest

from bus.messages import IdTagInfo, LinkState
from bus.profile_messages import AuthorizationData, LocalListState, SendLocalList
from bus.vocabulary import AuthorizationStatus, ChargePointErrorCode, UpdateType
from services.connectors import events as e
from services.connectors.state import LocalList, Settings
from tests.connectors.bench import ACCEPTED, BLOCKED, FAMILY, OFFLINE, Bench, charging

ON = Settings(local_auth_list_enabled=True)
CONCURRENT = IdTagInfo(AuthorizationStatus.CONCURRENT_TX)
EXPIRED = IdTagInfo(AuthorizationStatus.EXPIRED)
INVALID = IdTagInfo(AuthorizationStatus.INVALID)


def with_list(version: int = 5, **entries: IdTagInfo | None) -> Bench:
    """A station that has this list."""
    bench = Bench(settings=ON)
    assert bench.send_local_list(version, "Full", **entries) == "Accepted"
    return bench


def listed(bench: Bench) -> dict[str, IdTagInfo]:
    """The list on disk."""
    rows = bench.database.execute("SELECT id_tag, body FROM local_list ORDER BY id_tag").fetchall()
    return {key: msgspec.json.decode(body, type=IdTagInfo) for key, body in rows}


def error_of(bench: Bench) -> tuple[str, str]:
    """What connector 0 tells last."""
    said = bench.audit.statuses[0][-1]
    return str(said.error_code), said.info


def test_a_full_list_replaces_what_was_there() -> None:
    """OCPP 1.6 §3.5.2, §5.15, §7.48; idTags are compared without case (§7.28)."""
    bench = with_list(5, A=ACCEPTED, B=BLOCKED)
    assert bench.send_local_list(6, "Full", b=FAMILY, C=EXPIRED) == "Accepted"
    assert listed(bench) == {"b": FAMILY, "c": EXPIRED}
    assert bench.local_list_version() == 6


def test_a_full_list_may_have_any_version_even_an_older_one() -> None:
    """OCPP 1.6 §7.47: VersionMismatch is about differential updates. A Central System that starts anew counts from 1."""
    bench = with_list(234, A=ACCEPTED)
    assert bench.send_local_list(1, "Full", A=ACCEPTED) == "Accepted"
    assert bench.local_list_version() == 1


def test_a_differential_update_adds_updates_and_deletes() -> None:
    """OCPP 1.6 §3.5.2, §7.1: with idTagInfo an entry is added or updated, without it is deleted; in one commit."""
    bench = with_list(5, A=ACCEPTED, B=ACCEPTED, C=ACCEPTED)
    before = bench.commits
    assert bench.send_local_list(8, "Differential", a=BLOCKED, B=None, D=FAMILY, GONE=None) == "Accepted"
    assert bench.commits == before + 1
    assert listed(bench) == {"a": BLOCKED, "c": ACCEPTED, "d": FAMILY}
    assert bench.state.local_list == LocalList(8, 3)
    assert bench.local_list_version() == 8


@pytest.mark.parametrize(("version", "status"), [(4, "VersionMismatch"), (5, "VersionMismatch"), (6, "Accepted")])
def test_a_differential_update_needs_a_higher_version(version: int, status: str) -> None:
    """OCPP 1.6 §7.47: less than or equal to that of the current list is a VersionMismatch, and changes nothing."""
    bench = with_list(5, A=ACCEPTED)
    assert bench.send_local_list(version, "Differential", A=BLOCKED) == status
    assert listed(bench) == {"a": BLOCKED if status == "Accepted" else ACCEPTED}


def test_the_first_list_may_be_a_differential_one() -> None:
    """OCPP 1.6 §5.10, §7.47: the empty list has version 0, any other is above it."""
    bench = Bench(settings=ON)
    assert bench.local_list_version() == 0
    assert bench.send_local_list(1, "Differential", A=ACCEPTED) == "Accepted"
    assert bench.local_list_version() == 1


def test_a_full_list_without_entries_empties_it() -> None:
    """OCPP 1.6 §6.41, §5.10: an empty list has version 0. Choice: what comes late from before does not count all the same."""
    bench = with_list(5, A=ACCEPTED)
    assert bench.send_local_list(7, "Full") == "Accepted"
    assert bench.local_list_version() == 0
    assert listed(bench) == {}
    assert bench.send_local_list(6, "Differential", A=ACCEPTED) == "VersionMismatch"
    assert bench.send_local_list(8, "Differential", A=ACCEPTED) == "Accepted"
    assert bench.local_list_version() == 8


def test_a_list_whose_last_entry_is_deleted_is_empty() -> None:
    """OCPP 1.6 §5.10: version 0."""
    bench = with_list(5, A=ACCEPTED)
    assert bench.send_local_list(6, "Differential", A=None) == "Accepted"
    assert bench.local_list_version() == 0


def test_a_differential_update_without_entries_changes_the_version_only() -> None:
    """OCPP 1.6 §6.41: no effect on the list; the version is what the Central System has associated with it (§5.15)."""
    bench = with_list(5, A=ACCEPTED)
    assert bench.send_local_list(9, "Differential") == "Accepted"
    assert listed(bench) == {"a": ACCEPTED}
    assert bench.local_list_version() == 9


BOUNDS = {"local_auth_list_max_length": 3, "send_local_list_max_length": 4}
ONE = {"A": ACCEPTED}
FOUR = {"A": ACCEPTED, "B": ACCEPTED, "C": ACCEPTED, "D": ACCEPTED}


@pytest.mark.parametrize(
    ("version", "type_", "entries", "words"),
    [
        (0, "Full", ONE, "0 is no version of a list"),
        (-1, "Full", ONE, "-1 is no version of a list"),
        (-7, "Full", ONE, "-7 is no version of a list"),
        (7, "Full", {"A": ACCEPTED, "B": None}, "without idTagInfo"),
        (7, "Full", {"A": ACCEPTED, "a": BLOCKED}, "twice"),
        (7, "Differential", {"A": None, "a": BLOCKED}, "twice"),
        (7, "Full", {**FOUR, "E": ACCEPTED}, "SendLocalListMaxLength is 4"),
        (7, "Differential", {**FOUR, "E": None}, "SendLocalListMaxLength is 4"),
        (7, "Full", FOUR, "LocalAuthListMaxLength is 3"),
        (7, "Differential", {"C": ACCEPTED, "D": ACCEPTED}, "LocalAuthListMaxLength is 3"),
    ],
)
def test_what_can_not_be_applied_fails_whole(
    version: int, type_: str, entries: dict[str, IdTagInfo | None], words: str
) -> None:
    """OCPP 1.6 §6.41, §7.1, §7.47, §9.2.2, §9.2.3, errata v4.0 3.52: Failed, told in words, and nothing is changed."""
    bench = with_list(5, A=FAMILY, B=BLOCKED)
    bench.settings(**BOUNDS)
    before = bench.commits
    data = tuple(AuthorizationData(id_tag, info) for id_tag, info in entries.items())
    answer = bench.send_list(SendLocalList(version, UpdateType(type_), data))
    assert answer.status == "Failed"
    assert words in answer.reason
    assert bench.commits == before
    assert listed(bench) == {"a": FAMILY, "b": BLOCKED}
    assert bench.local_list_version() == 5


def test_a_list_that_is_full_can_be_changed_within_its_bound() -> None:
    """OCPP 1.6 §9.2.2: it counts what the list has in the end. One that became too long can still shrink."""
    bench = with_list(5, A=ACCEPTED, B=ACCEPTED, C=ACCEPTED)
    bench.settings(**BOUNDS)
    assert bench.send_local_list(6, "Differential", A=None, D=ACCEPTED, B=BLOCKED) == "Accepted"
    bench.settings(local_auth_list_max_length=1)
    assert bench.send_local_list(7, "Differential", B=None) == "Accepted"
    assert bench.send_local_list(8, "Differential", E=ACCEPTED) == "Failed"
    assert listed(bench) == {"c": ACCEPTED, "d": ACCEPTED}


def test_the_whole_update_is_one_commit_before_the_answer() -> None:
    """Design §3: the answer goes out after the commit, and there is one commit, whatever the update has in it."""
    bench = with_list(5, A=ACCEPTED)
    bench.effects.clear()
    bench.send_local_list(6, "Differential", A=None, B=ACCEPTED, C=BLOCKED)
    kinds = [type(effect) for effect in bench.effects if isinstance(effect, e.Commit | e.Answer)]
    assert kinds == [e.Commit, e.Answer]


def test_the_list_survives_a_restart_and_a_power_cut() -> None:
    """OCPP 1.6 §3.5.2: in non-volatile memory, over reboots and power outages."""
    bench = with_list(5, A=FAMILY, B=BLOCKED)
    bench.restart()
    bench.power_cut()
    assert bench.state.local_list == LocalList(5, 2)
    assert bench.local_list_version() == 5
    assert listed(bench) == {"a": FAMILY, "b": BLOCKED}


def test_it_decides_from_the_first_second_of_a_boot_without_network() -> None:
    """Field report 33; OCPP 1.6 §3.5.2, §9.1.12: nobody was connected, not even the time is known."""
    bench = with_list(5, CARD=ACCEPTED)
    bench.utc_offset_s = None
    bench.power_cut()
    bench.plug_in()
    bench.card("card")
    bench.advance(3)
    assert bench.status() == "Charging"
    assert bench.asked_about() == []


STATUSES = {"Accepted": ACCEPTED, "Blocked": BLOCKED, "Expired": EXPIRED, "Invalid": INVALID, "ConcurrentTx": CONCURRENT}


@pytest.mark.parametrize(("status", "local", "unknown"), list(product(STATUSES, *[(False, True)] * 2)))
def test_offline_each_entry_under_each_setting(status: str, local: bool, unknown: bool) -> None:
    """OCPP 1.6 §3.5.4: another status than Accepted MUST be rejected, whatever AllowOfflineTxForUnknownId says."""
    bench = with_list(5, CARD=STATUSES[status])
    bench.settings(local_authorize_offline=local, allow_offline_tx_for_unknown_id=unknown)
    bench.go_offline()
    bench.plug_in()
    bench.card("CARD")
    bench.advance(3)
    assert bool(bench.transactions) is (status == "Accepted" and (local or unknown))


@pytest.mark.parametrize(("status", "pre"), list(product(STATUSES, [False, True])))
def test_online_each_entry_under_each_setting(status: str, pre: bool) -> None:
    """OCPP 1.6 §3.5, §4.1: only LocalPreAuthorize starts without asking, and about whom the list refuses one asks."""
    bench = with_list(5, CARD=STATUSES[status])
    bench.settings(local_pre_authorize=pre)
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.card("CARD")
    at_once = pre and status == "Accepted"
    assert bench.asked_about() == ([] if at_once else ["CARD"])
    bench.advance(3)
    assert bool(bench.transactions) is at_once


def test_the_list_has_priority_over_the_cache() -> None:
    """OCPP 1.6 §3.5.3: either way."""
    bench = Bench(settings=msgspec.structs.replace(ON, authorization_cache_enabled=True))
    bench.authorize = {"A": ACCEPTED, "B": BLOCKED}.get
    for id_tag in ("A", "B"):
        bench.card(id_tag)
    bench.card("A")
    bench.settings(local_auth_list_enabled=False)
    bench.go_offline()
    bench.settings(local_auth_list_enabled=True)
    bench.state = msgspec.structs.replace(bench.state, local_list=LocalList(5, 2))
    bench.audit._commit((e.SaveLocalList(True, (("a", BLOCKED), ("b", ACCEPTED)), ()), e.SaveLocalListSize(LocalList(5, 2))))
    assert list(bench.state.cache) == ["a", "b"], "both have an entry in both"
    bench.plug_in()
    bench.card("A")
    bench.advance(3)
    assert bench.transactions == []
    bench.card("B")
    bench.advance(3)
    assert len(bench.transactions) == 1


def test_an_id_tag_of_the_list_is_not_added_to_the_cache() -> None:
    """OCPP 1.6 §3.5.3, §4.1, §4.8, §4.10: neither by Authorize.conf nor by StartTransaction.conf nor StopTransaction.conf."""
    bench = with_list(5, TAG=ACCEPTED)
    bench.plug_in()
    bench.card("TAG")
    bench.advance(5)
    bench.deliver_start(info=ACCEPTED)
    bench.card("TAG")
    bench.advance(5)
    bench.deliver_stop(ACCEPTED)
    assert bench.asked_about() == ["TAG"]
    assert bench.state.cache == {}


def test_the_cache_forgets_whom_the_list_takes_in() -> None:
    """Choice, OCPP 1.6 §3.5.3: a word from before the list must not count again when the list lets go of the idTag."""
    bench = Bench(settings=ON)
    bench.card("A")
    bench.card("B")
    bench.card("B")
    assert list(bench.state.cache) == ["a", "b"]
    bench.send_local_list(1, "Full", A=BLOCKED)
    bench.send_local_list(2, "Differential", A=None)
    assert list(bench.state.cache) == ["b"]
    bench.restart()
    assert list(bench.state.cache) == ["b"]


def test_a_list_that_is_switched_off_is_not_there() -> None:
    """OCPP 1.6 §9.2.1, §5.10, §7.47: live; what it held counts again when the key is true again."""
    bench = with_list(5, TAG=BLOCKED)
    bench.settings(local_auth_list_enabled=False, allow_offline_tx_for_unknown_id=True)
    assert bench.local_list_version() == -1
    assert bench.send_local_list(6, "Full", A=ACCEPTED) == "NotSupported"
    bench.go_offline()
    bench.plug_in()
    bench.settings(local_auth_list_enabled=True)
    bench.card("TAG")
    bench.advance(3)
    assert bench.transactions == []
    assert bench.local_list_version() == 5
    bench.settings(local_auth_list_enabled=False)
    bench.card("TAG")
    bench.advance(3)
    assert len(bench.transactions) == 1


def test_an_entry_is_valid_until_its_expiry_date() -> None:
    """OCPP 1.6 §3.5.4: expired by the passage of time MUST be rejected; only SendLocalList changes the list (§3.5.2)."""
    bench = Bench(settings=msgspec.structs.replace(ON, allow_offline_tx_for_unknown_id=True))
    entry = IdTagInfo(AuthorizationStatus.ACCEPTED, expiry_utc_ms=bench.utc_ms(60))
    bench.send_local_list(5, "Full", TAG=entry)
    bench.go_offline()
    bench.plug_in()
    bench.advance(61)
    before = bench.commits
    bench.card("TAG")
    bench.advance(3)
    assert bench.transactions == []
    assert bench.commits == before
    assert listed(bench) == {"tag": entry}
    assert bench.state.cache == {}


def test_an_entry_before_its_expiry_date_is_valid() -> None:
    """OCPP 1.6 §7.27."""
    bench = Bench(settings=ON)
    bench.send_local_list(5, "Full", TAG=IdTagInfo(AuthorizationStatus.ACCEPTED, expiry_utc_ms=bench.utc_ms(60)))
    bench.go_offline()
    bench.plug_in()
    bench.advance(50)
    bench.card("TAG")
    bench.advance(3)
    assert len(bench.transactions) == 1


def test_a_card_of_the_same_group_stops_by_the_list_alone() -> None:
    """OCPP 1.6 §3.10, §7.27 parentIdTag: both groups are known from the list, offline."""
    bench = with_list(5, MUM=FAMILY, DAD=FAMILY, OTHER=ACCEPTED)
    bench.go_offline()
    bench.plug_in()
    bench.card("MUM")
    bench.advance(5)
    bench.card("OTHER")
    bench.advance(5)
    assert bench.status() == "Charging"
    bench.card("DAD")
    bench.advance(5)
    assert bench.stop_message().id_tag == "DAD"


def test_a_remote_start_asks_the_list_too() -> None:
    """OCPP 1.6 §5.11: AuthorizeRemoteTxRequests means as for a card, by list, cache or Authorize."""
    bench = with_list(5, APP=ACCEPTED)
    bench.settings(local_pre_authorize=True)
    bench.plug_in()
    bench.remote_start("APP", 1)
    bench.advance(5)
    assert bench.asked_about() == []
    assert bench.status() == "Charging"


def test_another_central_system_begins_with_an_empty_list() -> None:
    """Choice: the list belongs to the Central System that sent it; the next one could take its version for one of its own."""
    bench = with_list(5, TAG=ACCEPTED)
    bench.feed(e.LinkChanged(LinkState(connected=True, ever_accepted=False)))
    assert bench.local_list_version() == 0
    assert listed(bench) == {}
    assert bench.send_local_list(1, "Differential", TAG=ACCEPTED) == "Accepted"
    bench.feed(e.LinkChanged(None))
    bench.feed(e.LinkChanged(OFFLINE))
    assert bench.local_list_version() == 1, "a link that is down is no other Central System"


def test_a_list_that_is_not_whole_any_more_is_emptied() -> None:
    """OCPP 1.6 §5.10: after damage to the file the Central System learns by version 0 that it has to send the list again."""
    bench = with_list(5, A=ACCEPTED, B=BLOCKED)
    bench.database.execute("DELETE FROM local_list WHERE id_tag = 'a'")
    bench.audit.store.load()
    assert bench.audit.store.unreadable == ["local_list: 1 of 2 entries are left of version 5"]
    assert listed(bench) == {}
    bench.audit.store.unreadable.clear()
    bench.restart()
    assert bench.local_list_version() == 0


@pytest.mark.parametrize("body", ["{", "7", '{"status":"Wonderful"}'])
def test_a_list_with_an_entry_that_can_not_be_read_is_emptied(body: str) -> None:
    """As above: one that could refuse or accept the wrong person is no list."""
    bench = with_list(5, A=ACCEPTED, B=BLOCKED)
    bench.database.execute("UPDATE local_list SET body = ? WHERE id_tag = 'a'", (body,))
    loaded = bench.audit.store.load()
    assert loaded.local_list == LocalList()
    assert listed(bench) == {}
    assert "can't be read" in bench.audit.store.unreadable[0]


def test_what_the_list_is_is_said_on_the_bus() -> None:
    """For people: `station status`."""
    bench = with_list(5, A=ACCEPTED, B=BLOCKED)
    bench.settings(local_auth_list_enabled=False)
    said = [effect.state for effect in bench.effects if isinstance(effect, e.PublishLocalList)]
    assert said == [LocalListState(True), LocalListState(True, 5, 2), LocalListState(False, 5, 2)]


class TestConflict:
    """OCPP 1.6 §3.5.2: StatusNotification of connector 0 with LocalListConflict."""

    def refused_at_start(self) -> Bench:
        bench = with_list(5, TAG=ACCEPTED)
        bench.settings(local_pre_authorize=True)
        bench.plug_in()
        bench.card("TAG")
        bench.advance(3)
        bench.deliver_start(info=BLOCKED)
        return bench

    def test_start_transaction_conf_refuses_whom_the_list_accepts(self) -> None:
        """OCPP 1.6 §3.5.2; the transaction is stopped as any that is refused (§4.8), and the list stays as it is."""
        bench = self.refused_at_start()
        assert error_of(bench) == ("LocalListConflict", "T…: list Accepted, told Blocked")
        assert bench.audit.statuses[0][-1].status == "Available", "it is news, no fault"
        bench.advance(5)
        assert bench.stop_message().reason == "DeAuthorized"
        assert listed(bench) == {"tag": ACCEPTED}

    def test_authorize_conf_accepts_whom_the_list_refuses(self) -> None:
        """OCPP 1.6 §3.5.2: "for instance" StartTransaction.conf; here the Central System's word of now decides."""
        bench = with_list(5, TAG=BLOCKED)
        bench.plug_in()
        bench.card("TAG")
        bench.advance(3)
        assert error_of(bench) == ("LocalListConflict", "T…: list Blocked, told Accepted")
        assert bench.status() == "Charging"

    def test_stop_transaction_conf_may_bring_it_too(self) -> None:
        """OCPP 1.6 §3.5.2, §4.10."""
        bench = with_list(5, TAG=ACCEPTED)
        bench.plug_in()
        bench.card("TAG")
        bench.advance(3)
        bench.deliver_start()
        bench.card("TAG")
        bench.advance(3)
        bench.deliver_stop(EXPIRED)
        assert error_of(bench) == ("LocalListConflict", "T…: list Accepted, told Expired")

    @pytest.mark.parametrize(
        ("here", "told"), [("Accepted", "ConcurrentTx"), ("ConcurrentTx", "Accepted"), ("Blocked", "Invalid")]
    )
    def test_two_words_for_the_same_validity_are_none(self, here: str, told: str) -> None:
        """OCPP 1.6 §3.5.2: valid is Accepted or ConcurrentTx."""
        bench = with_list(5, TAG=STATUSES[here])
        bench.authorize = lambda _: STATUSES[told]
        bench.card("TAG")
        assert error_of(bench) == ("NoError", "")

    def test_an_entry_that_has_expired_is_in_conflict_with_accepted(self) -> None:
        """OCPP 1.6 §3.5.4: apparently expired by time, so that the list refuses whom the Central System accepts."""
        bench = Bench(settings=ON)
        bench.send_local_list(5, "Full", TAG=IdTagInfo(AuthorizationStatus.ACCEPTED, expiry_utc_ms=bench.utc_ms(-1)))
        bench.card("TAG")
        assert error_of(bench) == ("LocalListConflict", "T…: list Expired, told Accepted")

    def test_it_ends_when_the_two_agree(self) -> None:
        """The next answer on that idTag."""
        bench = self.refused_at_start()
        bench.advance(5)
        bench.settings(local_pre_authorize=False)
        bench.card("TAG")
        assert error_of(bench) == ("NoError", "")

    @pytest.mark.parametrize(
        ("type_", "entries", "ends"),
        [
            ("Full", {"OTHER": ACCEPTED}, True),
            ("Differential", {"TAG": BLOCKED}, True),
            ("Differential", {"TAG": None}, True),
            ("Differential", {"OTHER": ACCEPTED}, False),
        ],
    )
    def test_it_ends_with_an_update_that_concerns_it(self, type_: str, entries: dict[str, IdTagInfo], ends: bool) -> None:
        """The Central System has done something about it."""
        bench = self.refused_at_start()
        assert bench.send_local_list(6, type_, **entries) == "Accepted"
        assert (error_of(bench)[0] == "NoError") is ends

    def test_it_ends_with_the_list_being_switched_off(self) -> None:
        """OCPP 1.6 §9.2.1."""
        bench = self.refused_at_start()
        bench.settings(local_auth_list_enabled=False)
        assert error_of(bench)[0] == "NoError"

    def test_each_one_is_told_and_their_number_is_bounded(self) -> None:
        """OCPP 1.6 §3.5.2: "when this happens"."""
        many = {f"CARD{number}": BLOCKED for number in range(20)}
        bench = with_list(5, **many)
        for number in range(20):
            bench.card(f"CARD{number}")
            bench.card(f"CARD{number}")
        told = [said.info for said in bench.audit.statuses[0] if said.error_code == ChargePointErrorCode.LOCAL_LIST_CONFLICT]
        assert told[:2] == ["CA…: list Blocked, told Accepted", "CA…: list Blocked, told Accepted +1"]
        assert len(told) == len(set(told)) == 16, "shortened alike they are told all the same"
        assert len(bench.state.list_conflicts) == 16

    def test_it_is_told_beside_a_graver_error(self) -> None:
        """Field report 40: no error is merged away."""
        bench = with_list(5, TAG=BLOCKED)
        bench.feed(e.ReaderFailureChanged("no answer"))
        bench.card("TAG")
        assert [said.error_code for said in bench.audit.statuses[0][-2:]] == ["LocalListConflict", "ReaderFailure"]


def test_a_running_transaction_does_not_mind_a_new_list() -> None:
    """OCPP 1.6 §5.15: the list authorizes idTags when they are presented; who charges goes on, and may stop."""
    bench = charging(settings=ON)
    bench.send_local_list(5, "Full", TAG=BLOCKED)
    bench.advance(5)
    assert bench.status() == "Charging"
    bench.card("TAG")
    bench.advance(5)
    assert bench.stop_message().reason == "Local"
