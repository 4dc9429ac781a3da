"""What a transaction may bill when nobody has seen its plug for a while (pure; design §2).

The register of when the plug was last seen is on disk as long as nobody sees it: this process may die, or the power fail,
before the controller says whose plug is in now. If it is the same plug-in, all that flowed is its own. If it may be another
one, or is gone, the transaction ends with that register. With StopTransactionOnEVSideDisconnect false it outlives its plug,
and all that is charged is its own.

A controller falls silent with the power, a moment before the board does. A power cut opens the contactor, and nobody is given
energy before the transaction is closed: so it ends with the register of afterwards as any other, unless the plug may have been
exchanged before. That it may is on disk when the time of an exchange has passed.

Choice: a stop that somebody asks for while nobody sees the plug, and that is over before anybody does, takes the register of
now. Who asks is most often there, and the controller may be silent for as long as a whole session.

Owns: `Transaction.sure`, and `StopIntent.final`, which says that it was needed. Does not: decide whose plug it is
(`observations.py`, `recovery.py`).
"""

import msgspec

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
    if transaction is None or (transaction.stop is not None and transaction.stop.final):
        return connector
    since_s, sure = connector.unseen_since_s, transaction.sure
    if since_s is not None and sure is None and work.state.settings.stop_transaction_on_ev_side_disconnect:
        # A process that has not heard the controller yet knows only what the one before has seen.
        heard = not isinstance(connector.phase, Resuming)
        sure = Sure(transaction.last.energy_wh, work.now.moment(since_s)) if heard else transaction.own
    elif since_s is None and isinstance(connector.phase, Running):
        sure = None
    if sure == transaction.sure:
        return connector
    return transactions.save(work, connector, msgspec.structs.replace(transaction, sure=sure))


def doubted_s(connector: Connector) -> float | None:
    """Boottime at which the plug may have been exchanged, unless it is seen before; None: it is seen, or that is on disk."""
    transaction, since_s = connector.transaction, connector.unseen_since_s
    if since_s is None or transaction is None or transaction.sure is None or transaction.sure.doubted:
        return None
    return since_s + UNSEEN_S_MAX


def pass_time(work: Work, connector: Connector) -> Connector:
    """Keep that the plug may have been exchanged, once it may."""
    transaction, at_s = connector.transaction, doubted_s(connector)
    if transaction is None or transaction.sure is None or at_s is None or work.now.boottime_s < at_s:
        return connector
    doubted = msgspec.structs.replace(transaction.sure, doubted=True)
    return transactions.save(work, connector, msgspec.structs.replace(transaction, sure=doubted))


def after_power_cut(transaction: Transaction) -> Transaction:
    """The next reading is its own, unless the plug may have been exchanged before the cut."""
    doubted = transaction.sure is not None and transaction.sure.doubted
    return transaction if doubted else msgspec.structs.replace(transaction, sure=None)


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


def ended(transaction: Transaction) -> Transaction:
    """It closes with what is sure, if that is not all."""
    if transaction.sure is None or transaction.stop is None:
        return transaction
    return msgspec.structs.replace(
        transaction, last=transaction.sure.reading, sure=None, stop=msgspec.structs.replace(transaction.stop, final=True)
    )
