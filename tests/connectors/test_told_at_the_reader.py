"""What a person at the reader is told about the card: asked about, accepted, refused (issue 6; OCPP 1.6 §3.10, §4.1)."""

from pathlib import Path

import pytest

from bus.card_messages import CardAnswered, CardOutcome
from bus.vocabulary import ResetType
from services.connectors import events as e
from tests.connectors.bench import FAMILY, REFUSED, Bench, charging
from tests.connectors.world import World

WAIT, ACCEPTED, REFUSAL = CardOutcome.WAIT, CardOutcome.ACCEPTED, CardOutcome.REFUSED


def told(bench: Bench, id_tag: str = "TAG") -> list[CardOutcome]:
    """What was said about a card, since this was asked last."""
    said = [effect.card for effect in bench.effects if isinstance(effect, e.TellCard)]
    bench.effects = [effect for effect in bench.effects if not isinstance(effect, e.TellCard)]
    return [card.outcome for card in said if card.id_tag == id_tag]


def test_a_card_waits_while_the_central_system_is_asked_and_is_then_accepted() -> None:
    """OCPP 1.6 §4.1."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.card()
    assert told(bench) == [WAIT]
    bench.card()
    assert told(bench) == [WAIT]
    bench.authorize = lambda _: FAMILY
    bench.answer_authorize(FAMILY)
    assert told(bench) == [ACCEPTED]


def test_a_card_that_the_central_system_does_not_accept_is_refused() -> None:
    """OCPP 1.6 §4.1."""
    bench = Bench()
    bench.authorize = lambda _: REFUSED
    bench.card()
    assert told(bench) == [WAIT, REFUSAL]


def test_offline_an_unknown_card_is_refused_without_a_wait() -> None:
    """OCPP 1.6 §3.5.2."""
    bench = Bench()
    bench.go_offline()
    bench.card()
    assert told(bench) == [REFUSAL]


def test_a_link_that_is_lost_ends_the_wait() -> None:
    """OCPP 1.6 §3.5: who waits at the reader need not wait any longer."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.card()
    bench.go_offline()
    assert told(bench) == [WAIT, REFUSAL]


@pytest.mark.parametrize("id_tag", ["TAG", "SISTER"])
def test_a_card_that_stops_its_session_is_accepted(id_tag: str) -> None:
    """OCPP 1.6 §3.10, §4.10: its own session at once, that of its group when the Central System has spoken."""
    bench = Bench()
    bench.authorize = lambda _: FAMILY
    bench.plug_in()
    bench.card()
    bench.advance(10)
    told(bench)
    bench.card(id_tag)
    assert told(bench, id_tag) == ([ACCEPTED] if id_tag == "TAG" else [WAIT, ACCEPTED])
    assert bench.status() == "Finishing"


def test_a_card_that_takes_its_authorization_back_is_refused() -> None:
    """OCPP 1.6 §4.9 B1: nobody may think that a vehicle charges with it now."""
    bench = Bench()
    bench.card()
    told(bench)
    bench.card()
    assert told(bench) == [REFUSAL]


def test_a_card_that_no_connector_is_there_for_is_refused() -> None:
    """With a session there, whoever comes may be of its group: that is asked first."""
    bench = charging()
    told(bench)
    bench.card("OTHER")
    assert told(bench, "OTHER") == [WAIT, REFUSAL]
    bench.reset(ResetType.SOFT)
    bench.card("OTHER")
    assert told(bench, "OTHER") == [REFUSAL]


def test_a_start_that_the_meter_prevents_is_refused_after_all() -> None:
    """design §4.1: without a trustworthy reading nothing starts, and the card has to be presented again."""
    bench = Bench()
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert told(bench) == [WAIT, ACCEPTED, REFUSAL]


def test_of_a_remote_start_nobody_at_the_reader_is_told() -> None:
    """OCPP 1.6 §5.11."""
    bench = Bench()
    bench.authorize = lambda _: REFUSED
    bench.remote_start()
    assert told(bench) == []


def test_a_card_that_lies_there_since_before_a_restart_of_rfid_is_told_nothing() -> None:
    bench = charging()
    bench.card()
    told(bench)
    bench.feed(e.CardPresented("TAG", maybe_held=True))
    assert told(bench) == []


def test_what_is_said_comes_after_the_commit_and_all_that_charges() -> None:
    """It delays nothing."""
    bench = Bench()
    bench.effects.clear()
    bench.card()
    (wait, accepted) = (at for at, effect in enumerate(bench.effects) if isinstance(effect, e.TellCard))
    commit = next(at for at, effect in enumerate(bench.effects) if isinstance(effect, e.Commit))
    rest = {type(effect) for effect in bench.effects[accepted + 1 :]}
    assert wait < commit < accepted
    assert rest <= {e.Note}


def test_the_service_says_it_on_the_bus(tmp_path: Path) -> None:
    world = World(tmp_path)
    heard: list[CardAnswered] = []
    world.reader.on_event(CardAnswered, lambda _, card: heard.append(card))
    world.card("TAG")
    world.advance(1)
    assert heard == [CardAnswered("TAG", WAIT), CardAnswered("TAG", ACCEPTED)]
