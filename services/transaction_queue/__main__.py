"""The transaction queue as a process: `python -m services.transaction_queue --config FILE --state-dir DIR`.

Topics: publishes `queue.`, `position.transaction.` and the journal `journal.delivery.`; stores the journal
`journal.transaction.`; answers `call.transaction_queue.`; calls `call.link.deliver.`; watches `link.`, `clock.`,
`configuration.`, `connector.status.`; takes the event `late_report.`.

Owns: opening `transactions.db` and reading the configuration once. Does not: decide.
"""

from bus import chance
from bus.clock import application_boot_id, hardware_boot_id
from bus.disk import MB, Disk
from bus.runtime import Runtime, run
from services.configuration.at_start import load_for
from services.configuration.store import FILE_NAME, read_configuration
from services.transaction_queue.schema import SCHEMA
from services.transaction_queue.service import Surroundings, TransactionQueue
from services.transaction_queue.space import Warden

SERVICE = "transaction_queue"
DATABASE = "../transactions.db"
STATE_DIRECTORY = ".."


def build(runtime: Runtime) -> TransactionQueue:
    """Wire the queue to this process. Raises sqlite3.Error if the database can't be opened."""
    config = load_for(runtime)
    surroundings = Surroundings(
        boot_id=hardware_boot_id(),
        run_id=application_boot_id(),
        unique_id=chance.unique_id,
        log=runtime.log,
        set_problem=runtime.set_problem,
        warden=Warden(Disk(STATE_DIRECTORY), config.system.disk_reserve_mb * MB, runtime.log, runtime.set_problem),
        backlog_per_s=config.policy.backlog_messages_per_s,
        share=chance.share,
    )
    database = runtime.open_store(DATABASE, SCHEMA)
    # As they are on disk at the start (design §2): the link need not be there.
    configuration = read_configuration(f"../{FILE_NAME}", config)
    return TransactionQueue(runtime.node, database, surroundings, configuration=configuration)


if __name__ == "__main__":
    raise SystemExit(run(SERVICE, build))
