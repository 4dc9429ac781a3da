"""The journal end to end: two nodes, a bus that fails, real databases. Try to lose or double an entry (design §3)."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.journal import RESEND_S, WINDOW
from bus.messages import JournalPosition
from bus.streams import ACKNOWLEDGE_EVERY, ACKNOWLEDGE_S
from bus.topics import position_topic
from tests.bus.rig import TOPIC, Clock, Consumer, Died, Publisher, Wires, copy_database, put_database


class Pair:
    """A publisher and a consumer, and what may happen to them."""

    def __init__(self, directory: Path, *, forgets: bool = False) -> None:
        self.directory = directory
        self.clock = Clock()
        self.wires = Wires(self.clock)
        self.consumer = Consumer(self.wires, directory / "consumer.db")
        self.publisher = Publisher(self.wires, directory / "publisher.db", forgets=forgets)
        self.appended = 0

    def append(self, count: int = 1) -> None:
        """Entries that nobody appended before, in one commit."""
        numbers = range(self.appended + 1, self.appended + count + 1)
        self.appended += count
        self.publisher.append(*numbers)

    def advance(self, seconds: float) -> None:
        """Time passes; both sides do what it demands."""
        self.clock.now_s += seconds
        self.consumer.tick()
        self.publisher.tick()

    def run(self, seconds: int = 8) -> None:
        """Let everything come to rest, without further faults."""
        self.wires.fault = lambda frame: [frame]
        for _ in range(seconds * 2):
            self.wires.settle()
            self.advance(0.5)
        self.wires.settle()

    def copy(self, side: str) -> None:
        """Keep a copy of one side's database."""
        copy_database(getattr(self, side).database, self.directory / f"{side}.copy")

    def put_back(self, side: str, *, lost: bool = False) -> None:
        """Stop one side, put its copy (or nothing) in place, start it."""
        who = getattr(self, side)
        copy = self.directory / f"{side}.copy"
        who.stop()
        put_database(None if lost or not copy.exists() else copy, who.path)
        who.start()

    def close(self) -> None:
        self.consumer.stop()
        self.publisher.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def upto(count: int) -> list[int]:
    return list(range(1, count + 1))


def test_entries_arrive_in_order_and_once(pair: Pair) -> None:
    for _ in range(5):
        pair.append(3)
    pair.run()
    assert pair.consumer.raw() == upto(15)
    assert pair.consumer.after_commit == upto(15)


def test_a_backlog_larger_than_the_window_drains(pair: Pair) -> None:
    pair.consumer.stop()
    pair.append(WINDOW * 3 + 1)
    pair.consumer.start()
    pair.run()
    assert pair.consumer.raw() == upto(WINDOW * 3 + 1)


def test_an_entry_that_is_lost_is_sent_again(pair: Pair) -> None:
    pair.wires.settle()
    lost: list[bytes] = []

    def lose_the_first(frame: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        if frame[0] == TOPIC.name.encode() and not lost:
            lost.append(frame[1])
            return []
        return [frame]

    pair.wires.fault = lose_the_first
    pair.append(10)
    pair.wires.settle()
    assert lost
    assert pair.consumer.raw() == upto(10)


def test_one_lost_entry_costs_at_most_one_more_window(pair: Pair) -> None:
    pair.wires.settle()
    sent: list[bytes] = []

    def count_and_lose_the_first(frame: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        if frame[0] != TOPIC.name.encode():
            return [frame]
        sent.append(frame[1])
        return [frame] if len(sent) > 1 else []

    pair.wires.fault = count_and_lose_the_first
    pair.append(WINDOW)
    pair.wires.settle()
    assert pair.consumer.raw() == upto(WINDOW)
    assert len(sent) <= 2 * WINDOW


def test_the_last_entry_of_all_is_sent_again_when_nobody_answers(pair: Pair) -> None:
    pair.wires.settle()
    pair.wires.fault = lambda frame: [] if frame[0] == TOPIC.name.encode() else [frame]
    pair.append()
    pair.wires.settle()
    pair.wires.fault = lambda frame: [frame]
    assert pair.consumer.raw() == []
    pair.advance(RESEND_S)
    pair.wires.settle()
    assert pair.consumer.raw() == [1]


def test_a_lost_acknowledgement_doubles_nothing(pair: Pair) -> None:
    pair.wires.settle()
    pair.wires.fault = lambda frame: [] if frame[0].startswith(b"position.") else [frame]
    pair.append(3)
    pair.wires.settle()
    pair.advance(RESEND_S)
    pair.run()
    assert pair.consumer.raw() == upto(3)


def test_a_consumer_that_dies_before_its_commit_gets_the_entry_again(pair: Pair) -> None:
    pair.wires.settle()
    pair.append(2)
    pair.consumer.dies_storing = True
    with pytest.raises(Died):
        pair.wires.settle()
    pair.consumer.dies_storing = False
    pair.consumer.restart()
    pair.run()
    assert pair.consumer.raw() == [1, 2]


def test_a_publisher_that_dies_before_its_commit_has_said_nothing(pair: Pair) -> None:
    pair.append(1)
    pair.publisher.die_while_appending(99)
    pair.run()
    assert pair.consumer.raw() == [1]
    pair.append(1)
    pair.run()
    assert pair.consumer.raw() == [1, 2]


def test_a_publisher_that_dies_after_its_commit_sends_at_its_next_start(pair: Pair) -> None:
    pair.run()
    pair.publisher.append(1)
    pair.publisher.restart()
    pair.run()
    assert pair.consumer.raw() == [1]


def test_an_entry_is_never_sent_inside_its_transaction(pair: Pair) -> None:
    pair.run()
    pair.publisher.database.execute("BEGIN IMMEDIATE")
    with pytest.raises(AssertionError, match="after its commit"):
        pair.publisher.journal.send()
    pair.publisher.database.execute("ROLLBACK")


def test_a_consumer_that_lost_its_store_gets_all_that_is_kept(pair: Pair) -> None:
    pair.append(5)
    pair.run()
    pair.publisher.forget(2)
    pair.put_back("consumer", lost=True)
    pair.run()
    assert pair.consumer.known() == [1, 3, 4, 5]


def test_a_consumer_that_is_an_older_copy_gets_what_it_lacks(pair: Pair) -> None:
    pair.append(3)
    pair.run()
    pair.copy("consumer")
    pair.append(3)
    pair.run()
    pair.put_back("consumer")
    pair.append(1)
    pair.run()
    assert pair.consumer.raw() == upto(7)


@pytest.mark.parametrize("had", [0, 2])
@pytest.mark.parametrize(("forgets", "restarted"), [(True, False), (True, True), (False, False)])
def test_a_consumer_that_lacks_what_is_forgotten_is_told_of_once(
    tmp_path: Path, forgets: bool, restarted: bool, had: int
) -> None:
    pair, behind = Pair(tmp_path, forgets=forgets), []
    pair.append(had)
    pair.run()
    pair.copy("consumer")
    pair.append(3)
    pair.run()
    if restarted:
        pair.publisher.restart()
    pair.publisher.journal.on_consumer_behind = lambda: behind.append(True)
    pair.run()
    assert not behind
    pair.put_back("consumer")
    pair.run(20)
    assert behind == [True] * forgets
    pair.append(1)
    pair.run()
    assert pair.consumer.raw() == ([*upto(had), had + 4] if forgets else upto(had + 4))
    assert behind == [True] * forgets
    pair.close()


def test_a_publisher_that_lost_its_store_starts_a_stream_of_its_own(pair: Pair) -> None:
    pair.append(5)
    pair.run()
    pair.put_back("publisher", lost=True)
    pair.append(2)
    pair.run()
    assert pair.consumer.raw() == upto(7)


def test_a_publisher_that_is_an_older_copy_begins_anew(pair: Pair) -> None:
    """Design §3: a store whose last number is below what its peer has seen begins a new incarnation."""
    pair.append(3)
    pair.run()
    pair.copy("publisher")
    pair.append(4)
    pair.run()
    before = pair.publisher.journal.outbox.incarnation
    pair.put_back("publisher")
    pair.run()
    assert pair.publisher.journal.outbox.incarnation != before
    pair.append(2)
    pair.run()
    assert pair.consumer.known() == upto(9)


@pytest.mark.parametrize("caught_up", [1, 4, 5, 9])
def test_an_older_copy_that_has_caught_up_unheard_loses_nothing(pair: Pair, caught_up: int) -> None:
    """The queue was down while a restored board charged on: its new entries bear numbers that the queue knows already."""
    pair.append(3)
    pair.run()
    pair.copy("publisher")
    pair.append(4)
    pair.run()
    pair.consumer.stop()
    pair.wires.restart_broker()
    pair.put_back("publisher")
    pair.append(caught_up)
    pair.consumer.start()
    pair.run()
    assert pair.consumer.known() == upto(7 + caught_up)


def test_what_a_copy_appends_before_it_hears_keeps_its_order(pair: Pair) -> None:
    """The acknowledgement of what the lost original sent is still on its way: the copy begins under the same numbers."""
    pair.wires.settle()
    pair.copy("publisher")
    pair.append(1)
    pair.wires.pass_on()
    pair.put_back("publisher")
    pair.append(1)
    pair.append(1)
    pair.run()
    assert pair.consumer.known() == upto(3)


def test_a_copy_of_a_copy_does_not_begin_the_same_incarnation_twice(pair: Pair) -> None:
    pair.append(3)
    pair.run()
    pair.copy("publisher")
    pair.append(3)
    pair.run()
    seen = set()
    for _ in range(3):
        pair.put_back("publisher")
        pair.append(2)
        pair.run()
        seen.add(pair.publisher.journal.outbox.incarnation)
    assert len(seen) == 3
    assert pair.consumer.known() == upto(12)


def test_both_sides_lost_start_clean(pair: Pair) -> None:
    pair.append(3)
    pair.run()
    pair.put_back("publisher", lost=True)
    pair.put_back("consumer", lost=True)
    pair.append(2)
    pair.run()
    assert pair.consumer.raw() == [4, 5]


def test_swapped_boards_find_each_other_again(tmp_path: Path) -> None:
    """A consumer that has served another publisher in between takes the first one's entries for what they are."""
    pair = Pair(tmp_path)
    pair.append(3)
    pair.run()
    pair.copy("publisher")
    pair.put_back("publisher", lost=True)
    pair.append(3)
    pair.run()
    pair.put_back("publisher")
    pair.append(3)
    pair.run()
    assert pair.consumer.known() == upto(9)


def test_a_dead_consumer_is_not_sent_to_and_a_returning_one_is(pair: Pair) -> None:
    pair.run()
    pair.consumer.stop()
    pair.wires.restart_broker()
    for _ in range(40):
        pair.clock.now_s += 0.5
        pair.publisher.tick()
    pair.append(3)
    pair.wires.collect()
    assert [name for name, _ in pair.wires.queue if name == TOPIC.name.encode()] == []
    pair.consumer.start()
    pair.run()
    assert pair.consumer.raw() == upto(3)


def test_a_broker_that_forgot_everything_changes_nothing(pair: Pair) -> None:
    pair.append(3)
    pair.wires.restart_broker()
    pair.append(3)
    pair.run()
    assert pair.consumer.raw() == upto(6)


def test_an_acknowledgement_is_the_last_word_of_a_commit(pair: Pair) -> None:
    """What the publisher hears as stored is on the consumer's disk, in another connection's eyes."""
    pair.wires.settle()
    seen: list[tuple[int, int]] = []

    def compare(_: str, position: JournalPosition) -> None:
        seen.append((position.last_seq, len(pair.consumer.raw())))

    observer = pair.wires.node("observer")
    observer.watch(JournalPosition, compare, topic=position_topic(TOPIC))
    pair.wires.attach(observer)
    pair.append(20)
    pair.run()
    assert (20, 20) in seen
    assert all(acknowledged <= stored for acknowledged, stored in seen)


def test_entries_that_come_together_share_a_commit(pair: Pair) -> None:
    """All of them or none are stored, and one acknowledgement is for all of them."""
    pair.wires.settle()
    pair.append(5)
    pair.wires.collect()
    pair.consumer.dies_storing = True
    with pytest.raises(Died):
        pair.wires.pass_on(together=5)
    assert (pair.consumer.raw(), pair.consumer.after_commit) == ([], [])
    pair.consumer.dies_storing = False
    pair.consumer.restart()
    pair.run()
    assert pair.consumer.raw() == pair.consumer.after_commit == upto(5)


@pytest.mark.parametrize(("count", "at_once"), [(ACKNOWLEDGE_EVERY - 1, 0), (ACKNOWLEDGE_EVERY, 1), (3 * ACKNOWLEDGE_EVERY, 3)])
def test_acknowledgements_wait_for_each_other_and_not_for_long(pair: Pair, count: int, at_once: int) -> None:
    """A window that is never acknowledged would stand still; one message for each entry would be for nothing."""
    pair.wires.settle()
    said: list[int] = []
    observer = pair.wires.node("observer")
    observer.watch(JournalPosition, lambda _, position: said.append(position.last_seq), topic=position_topic(TOPIC))
    pair.wires.attach(observer)
    said.clear()
    pair.append(count)
    pair.wires.settle()
    assert len(said) == at_once
    pair.advance(ACKNOWLEDGE_S)
    pair.wires.settle()
    assert said[-1] == count


HARMLESS = ("append", "append many", "lose", "repeat", "deliver", "deliver", "deliver", "wait", "broker", "restart publisher",
            "restart consumer", "die appending", "die storing", "forget")  # fmt: skip
HARMFUL = (*HARMLESS, "copy publisher", "copy consumer", "put publisher", "put consumer", "lose consumer", "lose publisher")
Plan = list[tuple[str, int]]


def plans(steps: tuple[str, ...]) -> st.SearchStrategy[Plan]:
    return st.lists(st.tuples(st.sampled_from(steps), st.integers(0, 1000)), max_size=60)


class Chaos(Pair):
    """A pair to which a plan of faults happens. `alive` are the entries that no lost database took with it."""

    def play(self, plan: Plan) -> None:
        """All steps of the plan, then rest."""
        for step, number in plan:
            self._step(step, number)
        self.run()

    def _step(self, step: str, number: int) -> None:
        side = step.split()[-1]
        match step.split()[0]:
            case "append":
                self.append(number % 90 + 1 if step == "append many" else 1)
            case "lose" if side == "lose":
                self.wires.collect()
                del self.wires.queue[: number % 5]
            case "repeat":
                self.wires.collect()
                self.wires.queue[:0] = self.wires.queue[: number % 5]
            case "deliver":
                for choice in range(number % 20):
                    self.wires.pass_on(number + choice, together=1 + number % 3)
            case "wait":
                self.advance(number % 20 / 2)
            case "broker":
                self.wires.restart_broker()
            case "restart":
                getattr(self, side).restart()
            case "die":
                self._die(side, number)
            case "forget":
                self._forget_one_that_is_stored(number)
            case "copy":
                self.copy(side)
            case "put":
                self.put_back(side)
            case "lose":
                self.put_back(side, lost=True)

    def _die(self, side: str, number: int) -> None:
        if side == "appending":
            self.publisher.die_while_appending(-1)
            return
        self.consumer.dies_storing = True
        try:
            for choice in range(number % 20):
                self.wires.pass_on(choice, together=1 + number % 3)
        except Died:
            self.consumer.restart()
        self.consumer.dies_storing = False

    def _forget_one_that_is_stored(self, number: int) -> None:
        stored = set(self.consumer.known())
        fulfilled = [kept for kept in self.publisher.kept() if kept in stored]
        if fulfilled:
            self.publisher.forget(fulfilled[number % len(fulfilled)])


def follows(order: list[int], wanted: list[int]) -> bool:
    """Whether `wanted` stands in `order`, in its own order."""
    places = [order.index(number) for number in wanted if number in order]
    return places == sorted(places)


@pytest.mark.parametrize("forgets", [False, True])
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(plan=plans(HARMLESS))
def test_no_fault_of_bus_or_process_loses_doubles_or_reorders(
    tmp_path_factory: pytest.TempPathFactory, forgets: bool, plan: Plan
) -> None:
    """Design §3: in order, effectively once, across a crash of either side at any instruction."""
    chaos = Chaos(tmp_path_factory.mktemp("chaos"), forgets=forgets)
    try:
        chaos.play(plan)
        assert chaos.consumer.raw() == upto(chaos.appended)
    finally:
        chaos.close()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans(HARMFUL))
def test_restored_and_lost_databases_lose_nothing_that_is_on_a_disk(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan
) -> None:
    """Every entry that the publisher keeps is stored in the end, by content once, and in the order of the journal.

    The order holds as far as nothing was forgotten on the word of a store that is lost now.
    """
    chaos = Chaos(tmp_path_factory.mktemp("chaos"))
    try:
        chaos.play(plan)
        kept, known = chaos.publisher.kept(), chaos.consumer.known()
        assert set(kept) <= set(known)
        assert len(known) == len(set(known))
        if not any(step == "forget" for step, _ in plan):
            assert follows(known, kept)
    finally:
        chaos.close()
