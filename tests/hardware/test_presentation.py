"""When a card counts as presented, and which idTag it is (hardware.md §5.2, §5.6; field report 49)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.hardware.contract import TokenSeen
from services.rfid import presentation as p
from services.rfid.presentation import IdTagRules, Presented, ReaderFound, ReaderLost, Refused, State

CARD, OTHER = "0100CDA4EC", "01001293D8"


def seen(state: State, uid: str, now_s: float) -> tuple[State, tuple[p.Effect, ...]]:
    return p.step(state, p.TokenRead(TokenSeen(uid, now_s)), now_s)


def presented(uids: list[tuple[float, str]], state: State | None = None) -> list[tuple[float, str]]:
    """When which card counted as presented."""
    state = state or State()
    found = []
    for at_s, uid in uids:
        state, effects = seen(state, uid, at_s)
        found += [(effect.seen_boottime_s, effect.id_tag) for effect in effects if isinstance(effect, Presented)]
    return found


def test_a_card_held_at_the_reader_is_one_presentation() -> None:
    assert presented([(index * 0.06, CARD) for index in range(1000)]) == [(0.0, CARD)]


def test_a_card_counts_again_after_it_was_away_for_a_while() -> None:
    """hardware.md §5.2: removed after 600 ms without it, and a second more before anything is done by it again."""
    assert p.REMOVED_S == 0.6 + 1.0
    assert presented([(0.0, CARD), (1.59, CARD), (3.18, CARD), (4.78, CARD)]) == [(0.0, CARD), (4.78, CARD)]


def test_a_card_that_lies_there_while_the_reader_is_lost_is_not_presented_again() -> None:
    """It would end the session that it began, because a cable was loose for a moment."""
    state, _ = seen(State(), CARD, 10.0)
    state, _ = p.step(state, p.ReaderDown("no answer"), 12.4)
    state, _ = p.step(state, p.ReaderDown("the port is not there"), 20.0)
    state, _ = p.step(state, p.ReaderUp(), 60.0)
    assert presented([(60.5, CARD), (60.6, OTHER), (62.2, CARD)], state) == [(60.6, OTHER), (62.2, CARD)]
    assert presented([(60.7, CARD)], state) == [(60.7, CARD)], "it was taken away meanwhile"


def test_a_card_that_was_taken_away_before_the_reader_was_lost_counts_at_once() -> None:
    state, _ = seen(State(), CARD, 10.0)
    state, _ = p.step(state, p.ReaderDown("no answer"), 10.0 + p.LOST_S_MAX)
    state, _ = p.step(state, p.ReaderUp(), 16.0)
    assert presented([(16.1, CARD)], state) == [(16.1, CARD)]


def test_a_card_that_lies_there_as_the_process_begins_may_have_counted_before() -> None:
    """It is told all the same: whoever waits for that may be the first to come."""
    state, _ = p.step(State(), p.ReaderUp(), 10.0)
    early = seen(state, CARD, 10.0 + p.REMOVED_S - 0.1)[1]
    late = seen(state, CARD, 10.1 + p.REMOVED_S)[1]
    assert early == (Presented(CARD, 10.0 + p.REMOVED_S - 0.1, maybe_held=True),)
    assert late == (Presented(CARD, 10.1 + p.REMOVED_S),)


def test_another_card_counts_at_once() -> None:
    assert presented([(0.0, CARD), (0.06, OTHER)]) == [(0.0, CARD), (0.06, OTHER)]


def test_two_cards_that_alternate_are_two_presentations() -> None:
    alternating = [(index * 0.06, (CARD, OTHER)[index % 2]) for index in range(1000)]
    assert presented(alternating) == [(0.0, CARD), (0.06, OTHER)]


def test_a_report_that_was_late_counts_for_when_the_card_was_seen() -> None:
    state, _ = seen(State(), CARD, 10.0)
    state, effects = p.step(state, p.TokenRead(TokenSeen(CARD, 10.5)), 20.0)
    assert effects == ()


def test_a_flood_of_different_cards_is_bounded() -> None:
    state = State()
    for index in range(100):
        state, _ = seen(state, f"{index:010X}", index * 0.001)
    assert len(state.held) <= p.HELD_MAX


@pytest.mark.parametrize(
    ("uid", "rules", "id_tag"),
    [
        ("0100CDA4EC", IdTagRules(), "0100CDA4EC"),
        ("04a1b2c3d4e580", IdTagRules(), "04A1B2C3D4E580"),
        ("04A1B2C3D4E580", IdTagRules("hex_reversed"), "80E5D4C3B2A104"),
        ("DEADBEEF", IdTagRules(), "DEADBEEF"),
        ("DEADBEEF", IdTagRules("hex_reversed"), "EFBEADDE"),
        ("00112233445566778899", IdTagRules(), "00112233445566778899"),
        ("0100CDA4EC", IdTagRules("dec10"), "0013477100"),
        ("01001293D8", IdTagRules("dec10"), "0001217496"),
        ("100086F444", IdTagRules("dec10"), "0008844356"),
        ("DEADBEEF", IdTagRules("dec10"), "3735928559"),
        ("DEADBEEF", IdTagRules("dec10_reversed"), "4022250974"),
        ("0100CDA4EC", IdTagRules("dec10_reversed"), str(0xECA4CD00)),
        ("DEADBEEF", IdTagRules("hex", "DE-"), "DE-DEADBEEF"),
        ("Visitor 17", IdTagRules("hex_reversed"), "Visitor 17"),
        ("04A1B2C3D4E580", IdTagRules(max_bytes=6), "04A1B2C3D4E5"),
        ("04A1B2C3D4E580", IdTagRules("hex_reversed", max_bytes=4), "C3B2A104"),
        ("DEADBEEF", IdTagRules(max_bytes=7), "DEADBEEF"),
        ("DEADBEEF22", IdTagRules("dec10", max_bytes=4), "3735928559"),
        ("08A1B2C3D4E580", IdTagRules(max_bytes=4), "08A1B2C3"),
        ("0100CDA4EC", IdTagRules(strip_leading_zeros=True), "100CDA4EC"),
        ("0100CDA4EC", IdTagRules("dec10", "T", strip_leading_zeros=True), "T13477100"),
        ("00000000", IdTagRules(strip_leading_zeros=True), "0"),
    ],
)
def test_a_uid_becomes_the_id_tag_that_the_site_wants(uid: str, rules: IdTagRules, id_tag: str) -> None:
    """hardware.md §5.1 has the printed numbers; both lengths of UID, and the byte orders (field report 49)."""
    assert p.id_tag_of(TokenSeen(uid, 0.0), rules) == id_tag


@pytest.mark.parametrize("text", ["deadbeef", "08ABCDEF", "x" * 20, "aBc"])
def test_a_text_that_a_reader_sends_is_the_id_tag_as_it_is(text: str) -> None:
    """Report 18 of operators: 20 characters come through, case kept."""
    token = TokenSeen(text, 1.0, verbatim=True)
    _, effects = p.step(State(IdTagRules("hex_reversed", "P", max_bytes=3, strip_leading_zeros=True)), p.TokenRead(token), 1.0)
    assert effects == (Presented(text, 1.0),)


@pytest.mark.parametrize(
    ("uid", "rules", "why"),
    [
        ("08A1B2C3", IdTagRules(), "random"),
        ("88A1B2C3", IdTagRules(), "only in part"),
        ("08A1B2C367", IdTagRules(max_bytes=4), "random"),
        ("04A1B2C3D4E580", IdTagRules("dec10"), "set [reader] id_tag_format to hex"),
        ("00112233445566778899", IdTagRules("hex", "X"), "1 to 20 printable characters"),
        ("x" * 21, IdTagRules(), "1 to 20 printable characters"),
        ("", IdTagRules(), "1 to 20 printable characters"),
        ("ab\n", IdTagRules(), "1 to 20 printable characters"),
        ("Käte", IdTagRules(), "1 to 20 printable characters"),
    ],
)
def test_a_card_that_can_be_no_id_tag_is_refused_once_with_the_reason(uid: str, rules: IdTagRules, why: str) -> None:
    state, effects = seen(State(rules), uid, 1.0)
    (refused,) = effects
    assert isinstance(refused, Refused)
    assert why in refused.reason
    assert uid not in refused.reason or not uid
    assert seen(state, uid, 1.5)[1] == ()


@pytest.mark.parametrize("uid", ["0812345678", "8812345678", "08A1B2C3D4E580"])
def test_longer_uids_may_begin_as_they_like(uid: str) -> None:
    assert presented([(0.0, uid)]) == [(0.0, uid)]


def test_the_reader_is_told_of_on_changes_only() -> None:
    state, effects = p.step(State(), p.ReaderUp(), 0.0)
    assert effects == (ReaderFound(),)
    state, effects = p.step(state, p.ReaderUp(), 0.0)
    assert effects == ()
    state, effects = p.step(state, p.ReaderDown("gone"), 0.0)
    assert effects == (ReaderLost("gone"),)
    state, effects = p.step(state, p.ReaderDown("gone"), 0.0)
    assert effects == ()
    state, effects = p.step(state, p.ReaderDown("busy"), 0.0)
    assert effects == (ReaderLost("busy"),)
    state, effects = p.step(state, p.ReaderUp(), 0.0)
    assert effects == (ReaderFound(),)


def test_a_reader_that_is_not_there_from_the_start_is_told() -> None:
    assert p.step(State(), p.ReaderDown("gone"), 0.0)[1] == (ReaderLost("gone"),)


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.sampled_from([CARD, OTHER, "08A1B2C3", "Guest"]) | st.text(max_size=24)), max_size=60
    ),
    st.sampled_from(["hex", "hex_reversed", "dec10", "dec10_reversed"]),
)
def test_between_two_presentations_of_a_card_it_was_away(steps: list[tuple[float, str]], format_: str) -> None:
    state, now_s = State(IdTagRules(format_)), 0.0
    last_seen: dict[str, float] = {}
    for pause_s, uid in steps:
        now_s += pause_s
        state, effects = seen(state, uid, now_s)
        if effects and uid in last_seen and len(last_seen) <= p.HELD_MAX:
            assert now_s - last_seen[uid] >= p.REMOVED_S
        for effect in effects:
            if isinstance(effect, Presented):
                assert 1 <= len(effect.id_tag) <= 20
                assert effect.id_tag.isascii()
                assert effect.id_tag.isprintable()
        last_seen[uid] = now_s
