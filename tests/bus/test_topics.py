"""The one table of topics keeps its own rules (design §3, style §2)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.topics import EVERY_SERVICE, TOPICS, Kind, Topic, find_topic, position_topic, topic_named, topic_of, wire_name
from services.station.programs import PROGRAMS

SERVICES = {program.name for program in PROGRAMS}
by_name = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)


@by_name
def test_a_topic_ends_in_a_dot_and_is_found_under_its_name(topic: Topic) -> None:
    assert topic.name.endswith(".")
    assert topic_named(topic.name) is topic
    assert find_topic(topic.name) == (topic, "")
    assert find_topic(wire_name(topic, "1")) == (topic, "1")


@by_name
def test_its_publisher_and_consumer_are_services(topic: Topic) -> None:
    assert topic.publisher in SERVICES | {EVERY_SERVICE}
    assert topic.consumer in SERVICES | {""}


@by_name
def test_its_kind_has_what_it_needs_and_nothing_else(topic: Topic) -> None:
    assert (topic.period_s > 0) == (topic.kind is Kind.STATE)
    assert bool(topic.unknown) == (topic.kind is Kind.STATE), "each state says what it means for readers when it is unknown"
    assert (topic.age_s_max > 0) == (topic.kind is Kind.EVENT)
    assert (topic.answer is not None) == (topic.kind is Kind.CALL)
    assert bool(topic.consumer) == (topic.kind is Kind.JOURNAL)


@by_name
def test_its_message_is_frozen(topic: Topic) -> None:
    assert topic.message.__struct_config__.frozen
    assert msgspec.inspect.type_info(topic.message)


def test_a_name_is_used_once_and_a_type_too() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    types = [topic.message for topic in TOPICS if not topic.name.startswith("position.")]
    assert len(set(types)) == len(types)
    assert all(topic_of(type_).message is type_ for type_ in types)


def test_no_topic_is_the_prefix_of_another() -> None:
    """Subscriptions match prefixes: who watches one must not receive another."""
    clashes = [(a.name, b.name) for a in TOPICS for b in TOPICS if a is not b and b.name.startswith(a.name)]
    assert clashes == []


def test_a_key_closes_with_a_dot_so_that_1_does_not_match_10() -> None:
    topic = topic_named("connector.status.")
    assert not wire_name(topic, "10").startswith(wire_name(topic, "1"))


def test_calls_go_to_the_service_in_their_name() -> None:
    short = {"link": "ocpp_link"}
    for topic in TOPICS:
        if topic.kind is Kind.CALL and topic.publisher != EVERY_SERVICE:
            service = topic.name.split(".")[1]
            assert topic.publisher == short.get(service, service)


def test_each_journal_has_a_position_that_its_consumer_publishes() -> None:
    for topic in TOPICS:
        if topic.kind is Kind.JOURNAL:
            assert position_topic(topic).publisher == topic.consumer


@pytest.mark.parametrize("name", ["", ".", "nonsense.", "connector.", "connector.statu", "xlink.", "reply.meter."])
def test_what_is_not_in_the_table_is_not_found(name: str) -> None:
    assert find_topic(name) is None


@given(st.text())
def test_finding_never_raises(name: str) -> None:
    found = find_topic(name)
    assert found is None or name.startswith(found[0].name)
