"""What a transaction may bill when nobody has seen its plug for a while (pure; design §2).

The register of when the plug was last seen is on disk as long as nobody sees it: this process may die, or the power fail,
before the controller says whose plug is in now. If it is the same plug-in, all that flowed is its own. If it may be another
one, or is gone, the transaction ends with that register. With StopTransactionOnEVSideDisconnect false it outlives its plug,
and all that is charged is its own.

A controller falls silent with the power, a moment before the board does: what has flowed in between is on the bill, if it is
no more than the vehicle took in the time that an exchange of plugs takes. If it is more, another one may have taken it. A power
cut has opened the contactor, so that after it nothing more comes to a transaction, wherever the plug is.

Choice: a stop that somebody asks for while nobody sees the plug, and that is over before anybody does, takes the register of
now. Who asks is most often there, and the controller may be silent for as long as a whole session.

Owns: `Transaction.sure`, and `StopIntent.final`, which says that it was needed. Does not: decide whose plug it is
(`observations.py`, `recovery.py`).
"""

import math

import msgspec

from bus.messages import Moment
from bus.vocabulary import Reason
from services.connectors import transactions
from services.connectors.observations import UNSEEN_S_MAX
from services.connectors.open_transaction import Sure, Transaction
from services.connectors.state import Connector, Resuming, Running, Stopping
from services.connectors.status import EV_SIDE_DISCONNECTED
from services.connectors.work import Work


def watch(work: Work, connector: Connector) -> Connector:
    """Keep what is sure when the plug is not seen any more, and forget it when a running transaction's own is seen again.

    Resuming and Stopping first have to find out whose plug it is.
    """
    transaction = connector.transaction
    if transaction is None or transaction.started_at.boot_id != work.now.boot_id:
        return connector
    if transaction.stop is not None and transaction.stop.final:
        return connector
    since_s, sure = connector.unseen_since_s, transaction.sure
    outlives = not work.state.settings.stop_transaction_on_ev_side_disconnect
    if outlives or (since_s is None and isinstance(connector.phase, Running)):
        sure = None
    elif since_s is not None and sure is None:
        # A process that has not heard the controller yet knows only what the one before has seen.
        heard = not isinstance(connector.phase, Resuming)
        sure = _last_seen(connector, transaction, work.now.moment(since_s)) if heard else transaction.own
    if sure == transaction.sure:
        return connector
    return transactions.save(work, connector, msgspec.structs.replace(transaction, sure=sure))


def _last_seen(connector: Connector, transaction: Transaction, at: Moment) -> Sure:
    power_w = 0.0 if connector.sample is None else max(0.0, connector.sample.power_w or 0.0)
    energy_wh = transaction.last.energy_wh
    return Sure(energy_wh, at, energy_wh + math.ceil(power_w * UNSEEN_S_MAX / 3600))


def end(work: Work, connector: Connector) -> Connector:
    """The plug was out while nobody could see it: what was charged since may be somebody else's."""
    transaction = connector.transaction
    outlives = not work.state.settings.stop_transaction_on_ev_side_disconnect
    if transaction is None or transaction.sure is None or outlives or isinstance(connector.phase, Resuming):
        return connector
    if isinstance(connector.phase, Running):
        transactions.stop(work, connector, Reason.EV_DISCONNECTED, info=EV_SIDE_DISCONNECTED)
    stopping = work.connector(connector.connector_id)
    assert stopping is not None
    assert isinstance(stopping.phase, Stopping)
    stopping = transactions.save(work, stopping, ended(stopping.phase.transaction))
    return work.put(stopping, phase=msgspec.structs.replace(stopping.phase, unplugged=True))


def ended(transaction: Transaction, *, power_failed: bool = False) -> Transaction:
    """It closes with what is sure, if that is not all."""
    sure, stop = transaction.sure, transaction.stop
    if sure is None or stop is None:
        return transaction
    stop = msgspec.structs.replace(stop, final=True, up_to_wh=sure.up_to_wh if power_failed else 0)
    return msgspec.structs.replace(transaction, last=sure.reading, sure=None, stop=stop)
