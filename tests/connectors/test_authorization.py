"""What an idTag is worth: the Authorization Cache and the offline rules (OCPP 1.6 §3.5, §4.1, §5.4, §9.1)."""

from itertools import product

import msgspec
import pytest

from bus.messages import IdTagInfo, LinkState
from bus.vocabulary import AuthorizationStatus, ClearCacheStatus, Reason
from services.connectors import authorization
from services.connectors import events as e
from services.connectors.state import Connector, Now, Settings, State
from services.connectors.work import Work
from tests.connectors.bench import ACCEPTED, BLOCKED, FAMILY, OFFLINE, REFUSED, Bench, charging

NOW_MS = 1_800_000_000_000
NOW = Now(0.0, "boot", "fresh", NOW_MS / 1000)
ENTRIES: dict[str, IdTagInfo | None] = {
    "unknown": None,
    "valid": ACCEPTED,
    "valid for a while": IdTagInfo(AuthorizationStatus.ACCEPTED, expiry_utc_ms=NOW_MS + 1),
    "valid until now": IdTagInfo(AuthorizationStatus.ACCEPTED, expiry_utc_ms=NOW_MS),
    "Blocked": BLOCKED,
    "Expired": IdTagInfo(AuthorizationStatus.EXPIRED),
    "Invalid": REFUSED,
    "ConcurrentTx": IdTagInfo(AuthorizationStatus.CONCURRENT_TX),
}
VALID = {"valid", "valid for a while"}


def station(entry: IdTagInfo | None, *, online: bool, **settings: bool) -> State:
    cache = {} if entry is None else {"tag": entry}
    return State((Connector(1, 32.0),), Settings(**settings), 32.0, online=online, ever_accepted=True, cache=cache)


@pytest.mark.parametrize(("entry", "cache", "local", "unknown"), list(product(ENTRIES, *[(False, True)] * 3)))
def test_offline_each_entry_under_each_setting(entry: str, cache: bool, local: bool, unknown: bool) -> None:
    """OCPP 1.6 §3.5, §3.5.4, §9.1.1, §9.1.2, §9.1.12: all of them. A NOT-valid entry is never permission."""
    state = station(
        ENTRIES[entry],
        online=False,
        authorization_cache_enabled=cache,
        local_authorize_offline=local,
        allow_offline_tx_for_unknown_id=unknown,
    )
    worth = authorization.without_asking(state, "TAG", NOW)
    assert worth is not None, "offline nobody is asked"
    seen = entry if cache else "unknown"
    expected = {"unknown": unknown}.get(seen, seen in VALID and (local or unknown))
    assert worth.may_start is expected
    assert worth.valid is (seen in VALID or (seen == "unknown" and unknown)), "whether it may end the session of its group"


@pytest.mark.parametrize(("entry", "cache", "pre"), list(product(ENTRIES, *[(False, True)] * 2)))
def test_online_each_entry_under_each_setting(entry: str, cache: bool, pre: bool) -> None:
    """OCPP 1.6 §3.5.1, §9.1.13: only LocalPreAuthorize starts without asking, and about a NOT-valid idTag one always asks."""
    state = station(ENTRIES[entry], online=True, authorization_cache_enabled=cache, local_pre_authorize=pre)
    worth = authorization.without_asking(state, "tAG", NOW)
    if pre and cache and entry in VALID:
        assert worth is not None
        assert worth.may_start
    else:
        assert worth is None


@pytest.mark.parametrize("online", [False, True])
def test_a_station_that_was_never_accepted_believes_no_cache(online: bool) -> None:
    """Errata v4.0 3.11, charge_before_first_acceptance false; true: as any other."""
    settings = {"allow_offline_tx_for_unknown_id": True, "local_pre_authorize": True}
    state = msgspec.structs.replace(station(ACCEPTED, online=online, **settings), ever_accepted=False)
    worth = authorization.without_asking(state, "TAG", NOW)
    assert worth is not None
    assert not worth.may_start
    assert not worth.valid
    allowed = msgspec.structs.replace(state, settings=Settings(charge_before_first_acceptance=True, local_pre_authorize=True))
    worth = authorization.without_asking(allowed, "TAG", NOW)
    assert worth is not None
    assert worth.may_start


def test_authorize_conf_is_remembered_and_decides_offline() -> None:
    """OCPP 1.6 §3.5.1, §4.1, §9.1.12; idTags are compared without case (§7.28)."""
    bench = Bench()
    bench.authorize = {"GOOD": ACCEPTED, "BAD": BLOCKED}.get
    bench.card("GOOD")
    bench.card("GOOD")
    bench.card("BAD")
    bench.go_offline()
    bench.plug_in()
    for id_tag in ("bad", "STRANGER"):
        bench.card(id_tag)
        bench.advance(3)
        assert bench.transactions == []
    bench.card("gOOd")
    bench.advance(5)
    assert bench.status() == "Charging"


def test_start_transaction_conf_is_remembered_in_the_commit_that_takes_it() -> None:
    """OCPP 1.6 §4.8: the cache follows StartTransaction.conf; one step, one commit."""
    bench = charging()
    before = bench.commits
    bench.deliver_start(info=FAMILY)
    assert bench.commits == before + 1
    assert bench.state.cache == {"tag": FAMILY}


def test_stop_transaction_conf_tells_of_the_card_that_stopped() -> None:
    """OCPP 1.6 §4.10; the transaction is closed long before its answer comes."""
    bench = charging()
    bench.deliver_start(info=FAMILY)
    bench.authorize = lambda _: FAMILY
    bench.card("DAD")
    bench.advance(3)
    bench.deliver_stop(BLOCKED)
    assert bench.state.cache == {"tag": FAMILY, "dad": BLOCKED}


def test_stop_transaction_conf_of_a_stop_without_a_card_tells_of_nobody() -> None:
    """OCPP 1.6 §4.10: the information is about the idTag that stopped the transaction."""
    bench = charging()
    bench.deliver_start(5)
    bench.remote_stop(5)
    bench.advance(3)
    bench.deliver_stop(BLOCKED)
    assert bench.state.cache == {"tag": ACCEPTED}


def test_start_transaction_conf_of_a_transaction_that_is_over_is_remembered_too() -> None:
    """OCPP 1.6 §4.8: started and stopped offline, refused when the Central System hears of it."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True))
    bench.go_offline()
    bench.plug_in()
    bench.card()
    bench.advance(5)
    bench.card()
    bench.advance(5)
    bench.go_online()
    bench.deliver_start(info=BLOCKED)
    bench.go_offline()
    bench.card()
    bench.advance(5)
    assert len(bench.transactions) == 1


def test_authorize_conf_that_comes_too_late_to_decide_is_remembered() -> None:
    """OCPP 1.6 §3.5.1: all received idTagInfo."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.card()
    bench.go_offline()
    bench.answer_authorize(BLOCKED)
    assert bench.state.cache == {"tag": BLOCKED}


def test_the_cache_survives_a_restart_and_a_power_cut() -> None:
    """OCPP 1.6 §3.5.1, errata v4.0 3.4: reboots, resets and power outages."""
    bench = Bench()
    bench.authorize = {"A": FAMILY, "B": BLOCKED}.get
    bench.card("A")
    bench.card("B")
    bench.restart()
    bench.power_cut()
    assert list(bench.state.cache.items()) == [("a", FAMILY), ("b", BLOCKED)]


def test_what_the_cache_knows_already_is_not_written_again() -> None:
    """Field report 53: no flash wear."""
    bench = Bench()
    bench.authorize = lambda _: BLOCKED
    bench.card("TAG")
    before = bench.commits
    bench.card("tag")
    bench.card("TAG")
    assert bench.asked_about() == ["TAG", "tag", "TAG"]
    assert bench.commits == before


def test_a_session_makes_its_card_the_one_that_was_updated_last() -> None:
    """OCPP 1.6 §3.5.1: who charges often is not the oldest entry; it costs no commit of its own."""
    bench = Bench()
    for id_tag in ("A", "B", "A"):
        bench.card(id_tag)
    assert list(bench.state.cache) == ["a", "b"]
    bench.plug_in()
    bench.advance(5)
    before = bench.commits
    bench.deliver_start()
    assert list(bench.state.cache) == ["b", "a"]
    assert bench.commits == before + 1
    bench.restart()
    assert list(bench.state.cache) == ["b", "a"]


def filled(**entries: IdTagInfo) -> Work:
    """A step on a station whose cache is full: `entries` first, then valid ones."""
    cache = dict(entries)
    while len(cache) < authorization.CACHE_ENTRIES_MAX:
        cache[f"filler{len(cache)}"] = ACCEPTED
    return Work(msgspec.structs.replace(station(None, online=True), cache=cache), NOW)


def test_a_full_cache_drops_what_is_not_valid_before_the_oldest_valid_entry() -> None:
    """OCPP 1.6 §3.5.1: any NOT-valid entries, and then, if necessary, the oldest valid ones; never more than its bound."""
    expired = IdTagInfo(AuthorizationStatus.ACCEPTED, expiry_utc_ms=NOW_MS - 1)
    work = filled(oldest=ACCEPTED, blocked=BLOCKED, expired=expired, second=ACCEPTED)
    authorization.remember(work, "NEW1", ACCEPTED)
    assert "blocked" not in work.state.cache
    assert "expired" not in work.state.cache
    assert list(work.state.cache)[:2] == ["oldest", "second"]
    for number in range(2, 5):
        authorization.remember(work, f"NEW{number}", ACCEPTED)
    assert len(work.state.cache) == authorization.CACHE_ENTRIES_MAX
    assert next(iter(work.state.cache)) == "filler4"
    assert list(work.state.cache)[-1] == "new4"


def test_an_update_of_a_full_cache_drops_nothing() -> None:
    """OCPP 1.6 §3.5.1: only a new identifier needs space."""
    work = filled(blocked=BLOCKED)
    authorization.remember(work, "FILLER1", FAMILY)
    assert len(work.state.cache) == authorization.CACHE_ENTRIES_MAX
    assert "blocked" in work.state.cache


def test_an_overflow_is_the_same_on_disk() -> None:
    """OCPP 1.6 §3.5.1: what made room is gone after a restart too."""
    bench = Bench()
    bench.state = msgspec.structs.replace(bench.state, cache=filled(blocked=BLOCKED).state.cache)
    changes = tuple(e.SaveCached(key, info) for key, info in bench.state.cache.items())
    bench.audit._commit(changes)
    bench.card("NEW")
    bench.restart()
    assert len(bench.state.cache) == authorization.CACHE_ENTRIES_MAX
    assert "blocked" not in bench.state.cache
    assert "new" in bench.state.cache


def expiring(in_s: float = 60.0) -> Bench:
    """A station that knows a card for so long, and is offline now."""
    bench = Bench()
    bench.authorize = lambda _: IdTagInfo(AuthorizationStatus.ACCEPTED, expiry_utc_ms=bench.utc_ms(in_s))
    bench.card()
    bench.card()
    bench.go_offline()
    bench.plug_in()
    return bench


def test_an_entry_is_valid_until_its_expiry_date_and_is_changed_to_expired() -> None:
    """OCPP 1.6 §3.5.1, §3.5.4: valid once, apparently expired now, so rejected; a changed entry is a written one."""
    bench = expiring()
    bench.advance(61)
    bench.card()
    bench.advance(5)
    assert bench.transactions == []
    assert bench.state.cache["tag"].status is AuthorizationStatus.EXPIRED
    before = bench.commits
    bench.card()
    assert bench.commits == before


def test_an_expired_card_is_asked_about_online() -> None:
    """OCPP 1.6 §3.5.1: NOT-valid and online, so Authorize.req; LocalPreAuthorize is no way round it."""
    bench = expiring()
    bench.settings(local_pre_authorize=True)
    bench.advance(61)
    bench.go_online()
    bench.card()
    assert bench.asked_about() == ["TAG", "TAG"]


@pytest.mark.parametrize(("floor_s", "charges"), [(None, True), (0.0, True), (120.0, False)])
def test_while_the_clock_is_unknown_an_entry_holds_until_it_has_expired_for_sure(floor_s: float | None, charges: bool) -> None:
    """Choice in authorization.py; design §5: the last known time is a floor."""
    bench = expiring()
    bench.utc_floor_ms = None if floor_s is None else bench.utc_ms(floor_s)
    bench.utc_offset_s = None
    bench.power_cut()
    bench.advance(5)
    bench.card()
    bench.advance(5)
    assert bool(bench.transactions) is charges


def test_an_entry_that_was_seen_expired_stays_so_when_the_clock_is_lost() -> None:
    """OCPP 1.6 §3.5.1: it SHALL be changed to expired, which a power cut does not undo."""
    bench = expiring()
    bench.advance(61)
    bench.card()
    bench.utc_offset_s = None
    bench.power_cut()
    bench.advance(5)
    bench.card()
    bench.advance(5)
    assert bench.transactions == []


def test_a_cache_that_is_switched_off_is_neither_read_nor_written() -> None:
    """OCPP 1.6 §9.1.2, live; what it held is there when it is switched on again."""
    bench = Bench()
    bench.card("KNOWN")
    bench.card("KNOWN")
    bench.settings(authorization_cache_enabled=False)
    bench.authorize = lambda _: BLOCKED
    before = bench.commits
    bench.card("KNOWN")
    bench.card("OTHER")
    assert bench.commits == before
    bench.go_offline()
    bench.plug_in()
    bench.card("KNOWN")
    bench.advance(3)
    assert bench.transactions == []
    bench.settings(authorization_cache_enabled=True)
    bench.card("KNOWN")
    bench.advance(3)
    assert len(bench.transactions) == 1
    assert bench.state.cache == {"known": ACCEPTED}


def test_a_commit_without_the_cache_takes_a_start_transaction_conf_all_the_same() -> None:
    bench = charging(settings=Settings(authorization_cache_enabled=False))
    bench.deliver_start(9, info=FAMILY)
    assert bench.state.cache == {}
    assert bench.remote_stop(9).status == "Accepted"


def test_clear_cache_is_on_disk_before_it_is_answered() -> None:
    """OCPP 1.6 §5.4; field report 50."""
    bench = Bench()
    bench.card()
    bench.card()
    before = len(bench.effects)
    assert bench.clear_cache().status is ClearCacheStatus.ACCEPTED
    kinds = [type(effect) for effect in bench.effects[before:]]
    assert kinds[:2] == [e.Commit, e.Answer]
    bench.restart()
    assert bench.state.cache == {}
    bench.go_offline()
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.transactions == []


def test_clearing_an_empty_cache_is_accepted_and_writes_nothing() -> None:
    """OCPP 1.6 §5.4; field report 53."""
    bench = Bench()
    before = bench.commits
    assert bench.clear_cache().status is ClearCacheStatus.ACCEPTED
    assert bench.commits == before


def test_clear_cache_is_rejected_while_there_is_no_cache() -> None:
    """Errata v4.0 3.23; with the reason for the log (field report 63)."""
    bench = Bench(settings=Settings(authorization_cache_enabled=False))
    answer = bench.clear_cache()
    assert answer.status is ClearCacheStatus.REJECTED
    assert "AuthorizationCacheEnabled" in answer.reason


def test_another_central_system_begins_with_an_empty_cache() -> None:
    """Errata v4.0 3.11, current connection settings: the word of another Central System is not its own."""
    bench = Bench()
    bench.card()
    bench.card()
    bench.feed(e.LinkChanged(LinkState(connected=True)))
    assert bench.state.cache == {}
    bench.restart()
    assert bench.state.cache == {}


def test_a_card_that_is_asked_about_while_another_central_system_takes_over_is_refused() -> None:
    """Errata v4.0 3.11: whoever would have answered is gone, and the new one has not accepted this station."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True))
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.card()
    bench.feed(e.LinkChanged(LinkState(connected=True)))
    bench.advance(5)
    assert bench.transactions == []


class TestPreAuthorize:
    """OCPP 1.6 §3.5, §9.1.13: LocalPreAuthorize."""

    def known(self, info: IdTagInfo = ACCEPTED, **settings: object) -> Bench:
        """A station that knows TAG, with a car plugged in."""
        bench = Bench(settings=Settings(local_pre_authorize=True, **settings))  # type: ignore[arg-type]
        bench.authorize = lambda _: info
        bench.card()
        bench.card()
        bench.plug_in()
        bench.authorize = lambda _: None
        return bench

    def test_a_known_card_starts_without_an_authorize_conf(self) -> None:
        bench = self.known()
        bench.card()
        bench.advance(5)
        assert bench.status() == "Charging"
        assert bench.asked_about() == ["TAG"]

    def test_a_remote_start_of_a_known_card_does_so_too(self) -> None:
        """OCPP 1.6 §5.11: as a local action; authorized by the cache."""
        bench = self.known()
        assert bench.remote_start("tag", 1).status == "Accepted"
        bench.advance(5)
        assert bench.status() == "Charging"
        assert bench.asked_about() == ["TAG"]

    def test_an_unknown_card_is_asked_about(self) -> None:
        bench = self.known()
        bench.card("OTHER")
        bench.advance(5)
        assert bench.transactions == []
        assert bench.asked_about() == ["TAG", "OTHER"]

    def test_the_central_system_judges_at_the_start_and_is_believed(self) -> None:
        """OCPP 1.6 §4.8: it may have been blocked since; the transaction stops, and the next time one asks."""
        bench = self.known()
        bench.card()
        bench.advance(5)
        bench.deliver_start(info=BLOCKED)
        bench.advance(3)
        assert bench.stop_message().reason is Reason.DE_AUTHORIZED
        assert bench.stop_message().id_tag is None
        bench.card()
        bench.advance(3)
        assert bench.asked_about() == ["TAG", "TAG"]
        assert len(bench.transactions) == 1

    def test_a_known_card_of_the_group_stops_without_asking(self) -> None:
        """OCPP 1.6 §3.10: the group from the cache."""
        bench = self.known(FAMILY)
        bench.authorize = lambda _: FAMILY
        bench.card("DAD")
        bench.advance(5)
        bench.card("TAG")
        bench.advance(3)
        assert bench.stop_message().id_tag == "TAG"
        assert bench.asked_about() == ["TAG", "DAD"]

    def test_the_switch_is_live(self) -> None:
        bench = self.known()
        bench.settings(local_pre_authorize=False)
        bench.card()
        bench.advance(5)
        assert bench.transactions == []
        assert bench.asked_about() == ["TAG", "TAG"]


class TestGroupsOffline:
    """OCPP 1.6 §3.10 without a Central System."""

    def running(self, info: IdTagInfo = FAMILY, **settings: object) -> Bench:
        """DAD's card is known as `info`, MUM charges, and the link is gone."""
        bench = Bench(settings=Settings(**settings))  # type: ignore[arg-type]
        bench.authorize = lambda _: info
        bench.card("DAD")
        bench.card("DAD")
        bench.plug_in()
        bench.authorize = lambda _: FAMILY
        bench.card("MUM")
        bench.advance(5)
        assert bench.status() == "Charging"
        bench.go_offline()
        return bench

    @pytest.mark.parametrize("local", [False, True])
    @pytest.mark.parametrize("unknown", [False, True])
    def test_a_known_card_of_the_group_stops_whatever_may_start(self, local: bool, unknown: bool) -> None:
        """OCPP 1.6 §9.1.12 is about starting a transaction."""
        bench = self.running(local_authorize_offline=local, allow_offline_tx_for_unknown_id=unknown)
        bench.card("dad")
        bench.advance(3)
        assert (bench.stop_message().id_tag, bench.stop_message().reason) == ("dad", Reason.LOCAL)

    @pytest.mark.parametrize("info", [ACCEPTED, IdTagInfo(AuthorizationStatus.BLOCKED, parent_id_tag="FAMILY")])
    def test_a_card_of_no_group_or_one_that_is_blocked_does_not(self, info: IdTagInfo) -> None:
        bench = self.running(info, allow_offline_tx_for_unknown_id=True)
        bench.card("DAD")
        bench.card("STRANGER")
        bench.advance(3)
        assert bench.status() == "Charging"

    def test_the_transactions_own_group_may_be_known_from_the_cache_alone(self) -> None:
        """OCPP 1.6 §5.11 without authorization: neither Authorize.conf nor StartTransaction.conf has told it."""
        bench = Bench(settings=Settings(authorize_remote_tx_requests=False))
        bench.authorize = lambda _: FAMILY
        for id_tag in ("DAD", "MUM"):
            bench.card(id_tag)
            bench.card(id_tag)
        bench.plug_in()
        bench.remote_start("mum", 1)
        bench.advance(5)
        bench.go_offline()
        bench.card("DAD")
        bench.advance(3)
        assert bench.stop_message().id_tag == "DAD"

    def test_a_group_that_start_transaction_conf_told_holds_offline(self) -> None:
        bench = self.running()
        bench.deliver_start(info=IdTagInfo(AuthorizationStatus.ACCEPTED, parent_id_tag="family"))
        bench.clear_cache()
        bench.card("DAD")
        bench.advance(3)
        assert bench.status() == "Charging", "nobody knows DAD any more"


@pytest.mark.parametrize(
    ("known", "local", "charges"), [(ACCEPTED, True, True), (ACCEPTED, False, False), (BLOCKED, True, False)]
)
def test_a_remote_start_whose_answer_never_came_is_decided_by_the_cache(known: IdTagInfo, local: bool, charges: bool) -> None:
    """OCPP 1.6 §5.11, §3.5, §9.1.12: the cache is one of the ways to authorize; the link was lost after the request."""
    bench = Bench(settings=Settings(local_authorize_offline=local))
    bench.authorize = lambda _: known
    bench.card("APP")
    bench.card("APP")
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.remote_start("APP", 1)
    bench.advance(1)
    assert bench.transactions == []
    bench.go_offline()
    bench.advance(5)
    assert bool(bench.transactions) is charges


def test_a_card_offline_on_a_station_that_was_never_accepted_is_refused_though_the_cache_knows_it() -> None:
    """Errata v4.0 3.11: charge_before_first_acceptance stays what it is beside the cache."""
    for policy in (False, True):
        bench = Bench(settings=Settings(charge_before_first_acceptance=policy))
        bench.card()
        bench.card()
        bench.state = msgspec.structs.replace(bench.state, ever_accepted=False)
        bench.feed(e.LinkChanged(None))
        bench.plug_in()
        bench.card()
        bench.advance(5)
        assert bool(bench.transactions) is policy


def test_offline_is_what_the_link_says() -> None:
    """OCPP 1.6 §3.5: connected but not accepted is offline for the authorization of a card."""
    bench = Bench()
    bench.card()
    bench.card()
    bench.feed(e.LinkChanged(msgspec.structs.replace(OFFLINE, connected=True)))
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.asked_about() == ["TAG"]
    assert bench.status() == "Charging"
