"""A card that the Central System refuses after the start (OCPP 1.6 §4.8, §9.1.14, §9.1.24, errata v4.0 3.17)."""

import pytest

from bus.messages import IdTagInfo, MeterSample
from bus.vocabulary import AuthorizationStatus, Reason
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import BLOCKED, FAMILY, Bench, charging


class TestMaxEnergyOnInvalidId:
    """OCPP 1.6 §9.1.14, §9.1.24, errata v4.0 3.17: what a refused idTag may still have."""

    def refused(self, info: IdTagInfo = BLOCKED, *, allowed_wh: int = 100, stops: bool = True) -> Bench:
        """A car charges, and the Central System has just refused its card; it draws about one watt-hour a second."""
        settings = Settings(max_energy_on_invalid_id_wh=allowed_wh, stop_transaction_on_invalid_id=stops)
        bench = charging(settings=settings)
        transaction = bench.connector().transaction
        assert transaction is not None
        self.refused_at_wh = transaction.last.energy_wh
        bench.deliver_start(info=info)
        return bench

    @pytest.mark.parametrize("status", [s for s in AuthorizationStatus if s is not AuthorizationStatus.ACCEPTED])
    def test_every_refusal_lets_it_draw_so_much_and_then_stops(self, status: AuthorizationStatus) -> None:
        """The last reading within the allowance decides, so that it is exceeded by one sample at most."""
        bench = self.refused(IdTagInfo(status))
        bench.advance(60)
        assert bench.status() == "Charging"
        bench.advance(60)
        stop = bench.stop_message()
        assert (stop.reason, stop.id_tag) == (Reason.DE_AUTHORIZED, None)
        assert 100 <= stop.meter_stop_wh - self.refused_at_wh <= 102

    def test_with_stop_on_invalid_id_false_only_energy_ends_and_the_holder_can_end_the_rest(self) -> None:
        bench = self.refused(stops=False)
        bench.advance(60)
        assert bench.status() == "Charging"
        bench.advance(60)
        assert bench.status() == "SuspendedEVSE"
        register_wh = bench.plants[1].register_wh
        bench.advance(60)
        assert bench.plants[1].register_wh == register_wh
        bench.card()
        bench.advance(3)
        assert (bench.stop_message().reason, bench.stop_message().id_tag) == (Reason.LOCAL, "TAG")

    @pytest.mark.parametrize("stops", [False, True])
    def test_the_holder_or_his_group_can_end_it_while_it_still_draws(self, stops: bool) -> None:
        """OCPP 1.6 §4.10: also a refused transaction is ended by its card, without asking."""
        bench = self.refused(IdTagInfo(AuthorizationStatus.BLOCKED, parent_id_tag="FAMILY"), stops=stops)
        bench.authorize = lambda _: FAMILY
        bench.card("DAD")
        bench.advance(3)
        assert (bench.stop_message().reason, bench.stop_message().id_tag) == (Reason.LOCAL, "DAD")

    @pytest.mark.parametrize("stops", [False, True])
    def test_the_allowance_and_what_is_used_of_it_survive_a_restart(self, stops: bool) -> None:
        bench = self.refused(stops=stops)
        bench.advance(60)
        bench.restart()
        bench.advance(10)
        assert bench.status() == "Charging"
        bench.advance(50)
        assert bench.status() == ("Finishing" if stops else "SuspendedEVSE")
        assert bench.plants[1].register_wh - self.refused_at_wh < 105

    def test_its_value_and_that_of_stop_on_invalid_id_are_live(self) -> None:
        bench = self.refused(allowed_wh=1000)
        bench.advance(30)
        bench.settings(stop_transaction_on_invalid_id=False)
        assert bench.plants[1].desired.energy_allowed
        bench.settings(max_energy_on_invalid_id_wh=10)
        assert not bench.plants[1].desired.energy_allowed
        bench.settings(max_energy_on_invalid_id_wh=100_000)
        bench.advance(5)
        assert not bench.plants[1].desired.energy_allowed, "what was taken does not come back"
        assert bench.connector().ongoing is not None

    def test_energy_that_nobody_measures_is_not_allowed(self) -> None:
        """Choice in deliveries.py."""
        bench = self.refused()
        bench.feed(e.MeterFailureChanged(1, "no answer"))
        assert not bench.plants[1].desired.energy_allowed
        bench.advance(8)
        assert bench.stop_message().reason is Reason.DE_AUTHORIZED

    def test_a_refusal_while_the_meter_fails_stops_at_once(self) -> None:
        bench = charging(settings=Settings(max_energy_on_invalid_id_wh=100))
        bench.feed(e.MeterFailureChanged(1, "no answer"))
        bench.deliver_start(info=BLOCKED)
        assert not bench.plants[1].desired.energy_allowed

    def test_a_refusal_that_is_told_twice_does_not_begin_a_new_allowance(self) -> None:
        bench = self.refused()
        bench.advance(60)
        bench.deliver_start(info=BLOCKED)
        bench.advance(60)
        assert bench.stop_message().meter_stop_wh - self.refused_at_wh <= 102

    def test_another_meter_within_the_allowance_counts_on(self) -> None:
        """Design §4.1: the sum of the segments is what was delivered."""
        bench = self.refused(allowed_wh=40)
        bench.advance(20)
        bench.plants[1].replace_meter("M2", 5.0)
        bench.feed(e.MeterSampled(MeterSample(1, bench.now_s, "M2", 5)))
        bench.advance(60)
        stop = bench.stop_message()
        assert stop.reason is Reason.DE_AUTHORIZED
        assert stop.meter_stop_wh - self.refused_at_wh <= 42
