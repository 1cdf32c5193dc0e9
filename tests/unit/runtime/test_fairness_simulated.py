"""Fairness over hours and thousands of users, on virtual time."""

import random
from statistics import median

from hutch.core.access import Allowance, Principal
from tests.unit.runtime.simulation import House, Request


def short(who: Principal, at: float) -> Request:
    return Request(who, at, 40, 20)


def long(who: Principal, at: float) -> Request:
    return Request(who, at, 400, 400)


def test_fifty_long_requests_of_one_user_do_not_hold_up_another() -> None:
    anna, ben = Principal("anna"), Principal("ben")
    asks = [short(ben, 10.0 + 7 * number) for number in range(20)]
    House(4, 512).run([*[long(anna, 0.0) for _ in range(50)], *asks])
    assert median(ask.wait_s for ask in asks) == 0.0
    assert asks[0].wait_s <= 5.0  # nobody expected him: he gets the next slot, and there are four
    assert max(ask.wait_s for ask in asks[1:]) == 0.0


def test_whoever_came_alone_uses_every_slot() -> None:
    anna = Principal("anna")
    asks = [long(anna, 0.0) for _ in range(8)]
    House(4, 512).run(asks)
    assert [ask.wait_s for ask in asks] == [0.0] * 4 + [5.0] * 4


def test_ten_thousand_users_are_all_served_and_a_few_greedy_ones_pay_for_it_themselves() -> None:
    chance = random.Random(7)
    house = House(num_slots=32, max_queue=64)
    users = [Principal(f"user-{number}") for number in range(10_000)]
    greedy = [Principal(f"greedy-{number}") for number in range(10)]
    asks = [short(who, chance.uniform(0, 400)) for who in users]
    crowd = [long(who, chance.uniform(0, 20)) for who in greedy for _ in range(50)]
    house.run([*asks, *crowd])
    assert len(house.order) == len(asks) + len(crowd)  # every one of them, once
    assert not any(account.is_active for account in house.ledger.accounts())
    assert median(ask.wait_s for ask in asks) < 0.5
    assert median(ask.wait_s for ask in crowd) > 10 * median(ask.wait_s for ask in asks) + 5


def test_weights_share_out_what_there_is() -> None:
    chance = random.Random(3)
    users = [Principal(f"w{weight}", allowance=Allowance(weight=weight)) for weight in (1.0, 2.0, 5.0)]
    asks = [
        Request(who, 0.0, chance.randrange(800), chance.randrange(1, 400))
        for who in users
        for _ in range(900)
    ]
    house = House(num_slots=4, max_queue=3000)
    house.run(asks, until=800)  # while all of them still wait
    assert all(account.waiting for account in house.ledger.accounts())
    first, *others = [account.counter for account in house.ledger.accounts()]
    assert all(abs(counter - first) < 0.1 * first for counter in others)  # which are by weight


def test_who_is_sent_away_and_comes_back_when_told_is_let_in() -> None:
    chance = random.Random(11)
    users = [Principal(f"user-{number}") for number in range(2500)]
    asks = [short(who, chance.uniform(0, 15)) for who in users]  # many times more than can be served
    house = House(num_slots=16, max_queue=64)
    house.run(asks)
    sent_away = [ask for ask in asks if ask.promised]
    assert len(sent_away) > 1000
    came_true = [ask for ask in sent_away if len(ask.promised) == 1]
    assert len(came_true) > 0.97 * len(sent_away)
    assert max(len(ask.promised) for ask in asks) <= 2
