"""The one table of topics: name, type, kind, owner. Services, broker, tests and documents read it.

Owns: what may be said on the bus, by whom, and how it is delivered (design §3). Does not: move bytes.
A topic's wire name is its `name` followed by a key that ends in a dot, so that `connector.status.1.` never matches
`connector.status.10.`.
"""

from enum import Enum

import msgspec

from bus import card_messages as cm
from bus import device_messages as dm
from bus import key_messages as km
from bus import latency_messages as lm
from bus import messages as m
from bus import operating_messages as om
from bus import profile_messages as pm
from bus import queue_messages as qm

EVERY_SERVICE = "*"
"""Publisher of a topic that each service has a key of its own in; of a call: each service answers those with its key."""


class Kind(Enum):
    """How a topic is delivered (design §3)."""

    STATE = "state"
    EVENT = "event"
    CALL = "call"
    JOURNAL = "journal"


class Topic(msgspec.Struct, frozen=True):
    """One line of the table. For a call, `publisher` is the service that answers it."""

    name: str
    message: type[m.Message]
    publisher: str
    kind: Kind
    period_s: float = 0.0
    """State: refreshed at least this often; older than three periods is unknown."""
    unknown: str = ""
    """State: what it means for readers when the value is unknown."""
    age_s_max: float = 0.0
    """Event: older ones are dropped and logged."""
    answer: type[m.Message] | None = None
    """Call: type of the answer."""
    consumer: str = ""
    """Journal: the service that stores the entries."""


def _state(name: str, type_: type[m.Message], publisher: str, period_s: float, unknown: str) -> Topic:
    return Topic(name, type_, publisher, Kind.STATE, period_s=period_s, unknown=unknown)


def _call(name: str, type_: type[m.Message], publisher: str, answer: type[m.Message]) -> Topic:
    return Topic(name, type_, publisher, Kind.CALL, answer=answer)


TOPICS: tuple[Topic, ...] = (
    _state("broker.", m.BrokerState, "broker", 2.0, "the bus is down: go on with what is known"),
    _state("service.health.", m.ServiceHealth, EVERY_SERVICE, 3.0, "the service is down or hangs"),
    _state("clock.", m.ClockState, "ocpp_link", 10.0, "go on with the last known offset"),
    _state("link.", m.LinkState, "ocpp_link", 5.0, "offline"),
    _state("link_times.", lm.LinkTimes, "ocpp_link", 10.0, "nothing is known of how long calls took"),
    _state("configuration.", m.ConfigurationState, "ocpp_link", 30.0, "go on with the last known values"),
    _state("connector.status.", m.ConnectorState, "connectors", 5.0, "the connector's status is not known"),
    _state("connector.reset.", m.ResetReady, "connectors", 5.0, "wait; a Hard reset does not wait for ever"),
    _state("connector.local_list.", pm.LocalListState, "connectors", 10.0, "the Local Authorization List is not known"),
    _state("connector.reading.", dm.ControllerReading, "connectors", 1.0, "the controller gives no reading"),
    _state("meter.sample.", m.MeterSample, "meter", 1.0, "no trustworthy reading"),
    _state("meter.state.", m.MeterState, "meter", 5.0, "PowerMeterFailure"),
    _state("rfid.reader.", m.ReaderState, "rfid", 5.0, "ReaderFailure"),
    _state("queue.", m.QueueState, "transaction_queue", 5.0, "the queue is down; finished steps wait in connectors.db"),
    _state("watchdog.", m.WatchdogState, "watchdog", 5.0, "nobody looks after the services, and nobody tells of them"),
    Topic("rfid.presented.", m.IdTagPresented, "rfid", Kind.EVENT, age_s_max=2.0),
    Topic("connector.card.", cm.CardAnswered, "connectors", Kind.EVENT, age_s_max=2.0),
    Topic("connector.meter_values.", m.ConnectorMeterValues, "connectors", Kind.EVENT, age_s_max=10.0),
    Topic("late_report.", m.DeliveryReport, "ocpp_link", Kind.EVENT, age_s_max=30.0),
    _call("call.link.authorize.", m.Authorize, "ocpp_link", m.IdTagInfo),
    _call("call.link.change_key.", km.ChangeKey, "ocpp_link", km.KeyChanged),
    _call("call.link.deliver.", m.Deliver, "ocpp_link", m.DeliveryReport),
    _call("call.connectors.remote_start_transaction.", m.RemoteStartTransaction, "connectors", m.RemoteStartStopAnswer),
    _call("call.connectors.remote_stop_transaction.", m.RemoteStopTransaction, "connectors", m.RemoteStartStopAnswer),
    _call("call.connectors.change_availability.", m.ChangeAvailability, "connectors", m.ChangeAvailabilityAnswer),
    _call("call.connectors.out_of_service.", om.OutOfService, "connectors", om.OutOfServiceAnswer),
    _call("call.connectors.reserve_now.", pm.ReserveNow, "connectors", pm.ReserveNowAnswer),
    _call("call.connectors.cancel_reservation.", pm.CancelReservation, "connectors", pm.CancelReservationAnswer),
    _call("call.connectors.clear_cache.", m.ClearCache, "connectors", m.ClearCacheAnswer),
    _call("call.connectors.send_local_list.", pm.SendLocalList, "connectors", pm.SendLocalListAnswer),
    _call("call.connectors.get_local_list_version.", pm.GetLocalListVersion, "connectors", pm.LocalListVersion),
    _call("call.connectors.take_meter_values.", pm.TakeMeterValues, "connectors", pm.MeterValuesTaken),
    _call("call.connectors.unlock_connector.", m.UnlockConnector, "connectors", m.UnlockConnectorAnswer),
    _call("call.connectors.reset.", m.Reset, "connectors", m.ResetAnswer),
    _call("call.connectors.close_lost.", m.CloseLostTransaction, "connectors", qm.LostTransactionAnswer),
    _call("call.meter.read.", m.ReadMeter, "meter", m.MeterSample),
    _call("call.device.trace.", dm.ReadTrace, EVERY_SERVICE, dm.Trace),
    _call("call.transaction_queue.again.", qm.QueueTransactionAgain, "transaction_queue", qm.QueueChanged),
    _call("call.transaction_queue.take_in.", qm.TakeInTransaction, "transaction_queue", qm.QueueChanged),
    Topic("journal.transaction.", m.TransactionEntry, "connectors", Kind.JOURNAL, consumer="transaction_queue"),
    Topic("journal.delivery.", m.DeliveryEntry, "transaction_queue", Kind.JOURNAL, consumer="connectors"),
    _state("position.transaction.", m.JournalPosition, "transaction_queue", 5.0, "the consumer is down: wait"),
    _state("position.delivery.", m.JournalPosition, "connectors", 5.0, "the consumer is down: wait"),
)

REPLY_PREFIX = "reply."
"""Answers to calls travel on `reply.CALLER.`; no table row: their type is the call's `answer`."""
CANCEL_PREFIX = "cancel."
"""A caller that stopped waiting says so on `cancel.SERVICE.`, to the service that answers."""

_BY_NAME = {topic.name: topic for topic in TOPICS}
_BY_TYPE = {topic.message: topic for topic in TOPICS if topic.message is not m.JournalPosition}


def topic_of(type_: type[m.Message]) -> Topic:
    """The topic that carries messages of this type. Raises KeyError: our bug."""
    return _BY_TYPE[type_]


def topic_named(name: str) -> Topic:
    """The topic of this name. Raises KeyError: our bug."""
    return _BY_NAME[name]


def position_topic(journal: Topic) -> Topic:
    """The state topic on which the journal's consumer says what it last stored."""
    return _BY_NAME["position." + journal.name.removeprefix("journal.")]


def find_topic(wire_name: str) -> tuple[Topic, str] | None:
    """The table row and the key of a topic as it stands on the wire; None for one that is not ours."""
    end = len(wire_name)
    while end > 0:
        topic = _BY_NAME.get(wire_name[:end])
        if topic is not None:
            return topic, wire_name[end:].removesuffix(".")
        end = wire_name.rfind(".", 0, end - 1) + 1
    return None


def wire_name(topic: Topic, key: str = "") -> str:
    """The topic as it stands on the wire, the key closed by a dot."""
    return f"{topic.name}{key}." if key else topic.name
