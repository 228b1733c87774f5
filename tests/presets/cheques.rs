//! Cheques: so much a month, spent at a kind of seller, and back when its time is over.

use serde_json::json;

use super::{
    ENDS, agreements, card, is_over, month_of, months_after, on, passer_by, pays_at, pays_everywhere, promised, setup,
    split, total, town, windows,
};
use crate::support::{Town, World, id, on_both_databases};

on_both_databases!(
    caph_is_sixty_a_month_for_six_months_at_farms_only,
    andes_is_spent_at_the_grocery_at_shops_and_farms_and_fetched_within_three_days,
    lumbres_pays_four_fifths_up_to_a_ceiling_by_household_for_three_months_and_again,
    calendrier_cap_ends_with_the_year_and_a_purchase_is_the_producer_s_claim,
);

fn caph_is_sixty_a_month_for_six_months_at_farms_only(world: World) {
    let town = Town::with(world, setup("caph", vec![(50_000, 1), (50_000, 1)]));
    let (farm, farm_shop) = (town.new_seller(0, "farm"), town.new_seller(1, "farm_shop"));
    let shop = town.new_seller(2, "shop");
    // one adult from 1 July, and two adults with three children from 15 July: 6 × 60.00 = 360.00 each, as the source names
    // no persons
    let first = card(&town, 1, 0);
    on(&town, "2026-07-04");
    assert_eq!(split(farm.redeem(&first.token, 2500)), (2500, 0));
    shop.redeem(&first.token, 1000).refused(409, "producer_not_eligible");
    assert_eq!(split(farm_shop.redeem(&first.token, 2000)), (2000, 0));
    on(&town, "2026-07-15");
    let second = card(&town, 2, 3);
    assert_eq!((promised(&town, &first), promised(&town, &second)), (36_000, 36_000));
    // from 15 July to 14 August and from 15 December to 14 January, each with seven days of grace
    windows(
        &town.enrolment(&second.enrolment),
        "main",
        ["2026-07-14T22:00:00Z", "2026-08-21T22:00:00Z"],
        ["2026-12-14T23:00:00Z", "2027-01-21T23:00:00Z"],
    );
    pays_at(&town, &second, &["farm", "farm_shop"]);
    // the first agreement's 500.00 are promised whole; of the second 720.00 - 500.00 = 220.00
    assert_eq!((town.figure(0, "available"), town.figure(1, "available")), (0, 28_000));
    on(&town, "2026-07-18");
    let stands = farm.redeem(&second.token, 3000).expect(201);
    on(&town, "2026-07-19");
    farm.void(&id(&stands)).refused(409, "void_window_over");
    let undone = farm.redeem(&second.token, 3000).expect(201);
    farm.redeem(&second.token, 1).refused(409, "insufficient_balance");
    farm.void(&id(&undone)).expect(200);
    assert_eq!(split(farm_shop.redeem(&second.token, 1000)), (1000, 0));

    // seven days of grace: July's 60.00 - 25.00 - 20.00 = 15.00 go first, then 55.00 of August's
    on(&town, "2026-08-06");
    assert_eq!(split(farm.redeem(&first.token, 7000)), (7000, 0));
    assert_eq!(town.balance(&first.enrolment), 500);
    // the second's first month ended on 14 August; its 60.00 - 30.00 - 10.00 = 20.00 stay until the 21st
    town.world.advance_to("2026-08-21T21:59:59Z");
    assert_eq!(town.balance(&second.enrolment), 2000 + 6000);
    town.world.advance_to("2026-08-21T22:00:00Z");
    assert_eq!((town.balance(&second.enrolment), total(&town, ["returned"])), (6000, [2000]));

    // September to November whole, December's basket a little larger than what is left
    for month in ["2026-09-12", "2026-10-10", "2026-11-14"] {
        on(&town, month);
        assert_eq!(split(farm.redeem(&first.token, 6000)), (6000, 0));
    }
    on(&town, "2026-11-24");
    assert_eq!(split(farm.redeem(&second.token, 6000)), (6000, 0));
    on(&town, "2026-12-12");
    farm.redeem(&first.token, 6250).refused(409, "insufficient_balance");
    assert_eq!(split(farm.redeem_in_part(&first.token, 6250)), (6000, 250));
    // six months and the days of grace
    town.world.advance_to("2027-01-07T23:00:00Z");
    farm.redeem(&first.token, 100).refused(409, "voucher_expired");
    // bought on the last day and brought back a day later: seven days more for it
    on(&town, "2027-01-21");
    let undone = id(&farm.redeem(&second.token, 2000).expect(201));
    town.world.advance_to("2027-01-22T08:00:00Z");
    farm.redeem(&second.token, 100).refused(409, "voucher_expired");
    farm.void(&undone).expect(200);
    town.world.advance_to("2027-01-29T22:59:59Z");
    assert_eq!(town.balance(&second.enrolment), 2000);
    on(&town, "2027-01-30");
    farm.redeem(&second.token, 100).refused(409, "voucher_expired");
    // the first spent 25.00 + 20.00 + 70.00 + 3 × 60.00 + 60.00 = 355.00 of 360.00; the second 30.00 + 10.00 + 60.00 = 100.00
    // issued 720.00, spent 455.00, back 265.00; of 1 000.00 there are 545.00
    assert_eq!(total(&town, ENDS), [72_000, 45_500, 26_500, 54_500]);
    is_over(&town, "2027-01", 2);
}

fn andes_is_spent_at_the_grocery_at_shops_and_farms_and_fetched_within_three_days(world: World) {
    let town = town(world, "andes", 150_000);
    let (grocery, shop) = (town.new_seller(0, "solidarity_grocery"), town.new_seller(1, "shop"));
    let (farm, farm_shop) = (town.new_seller(2, "farm"), town.new_seller(3, "farm_shop"));
    let restaurant = town.new_seller(4, "restaurant");
    let (first, second) = (card(&town, 2, 2), card(&town, 1, 0));
    // 6 × 60.00
    assert_eq!((promised(&town, &first), promised(&town, &second)), (36_000, 36_000));
    on(&town, "2026-07-02");
    restaurant.redeem(&first.token, 1000).refused(409, "producer_not_eligible");
    restaurant.hold(&first.token, 1000).refused(409, "producer_not_eligible");
    assert_eq!(split(grocery.redeem(&first.token, 1500)), (1500, 0));
    assert_eq!(split(shop.redeem(&first.token, 1200)), (1200, 0));
    // ordered at the farm, fetched two days later: 60.00 - 15.00 - 12.00 - 20.00 = 13.00
    let ordered = farm.hold(&first.token, 2000).expect(201);
    assert_eq!((&ordered["covered"], &ordered["expires_at"]), (&json!("20.00"), &json!("2026-07-05T09:00:00Z")));
    assert_eq!(town.balance(&first.enrolment), 1300);
    on(&town, "2026-07-04");
    assert_eq!(split(farm.capture(&id(&ordered))), (2000, 0));
    assert_eq!(town.balance(&first.enrolment), 1300);
    // from 4 July to 3 August and from 4 December to 3 January, each with seven days of grace
    windows(
        &passer_by(&town),
        "main",
        ["2026-07-03T22:00:00Z", "2026-08-10T22:00:00Z"],
        ["2026-12-03T23:00:00Z", "2027-01-10T23:00:00Z"],
    );
    pays_at(&town, &second, &["solidarity_grocery", "shop", "farm", "farm_shop"]);
    // ordered at the shop and not fetched for 72 hours
    let forgotten = id(&shop.hold(&second.token, 2500).expect(201));
    assert_eq!(town.world.advance_to("2026-07-07T08:59:59Z").freed, 0);
    assert_eq!(town.balance(&second.enrolment), 3500);
    assert_eq!(town.world.advance_to("2026-07-07T09:00:00Z").freed, 1);
    assert_eq!(town.balance(&second.enrolment), 6000);
    shop.capture(&forgotten).refused(409, "hold_state");
    // ordered and given up by the farm
    let given_up = id(&farm.hold(&second.token, 1000).expect(201));
    farm.client.act(&format!("/api/v1/holds/{given_up}/release")).expect(204);
    assert_eq!(town.balance(&second.enrolment), 6000);

    on(&town, "2026-08-10");
    assert_eq!(split(farm_shop.redeem(&first.token, 6000)), (6000, 0));
    assert_eq!(split(grocery.redeem(&second.token, 4250)), (4250, 0));
    for month in 0..4 {
        on(&town, &months_after("2026-09-10", month));
        assert_eq!(split(shop.redeem(&first.token, 6000)), (6000, 0));
        assert_eq!(split(farm.redeem(&second.token, 3000)), (3000, 0));
    }
    on(&town, "2027-01-08");
    shop.redeem(&first.token, 100).refused(409, "voucher_expired");
    shop.hold(&second.token, 100).refused(409, "voucher_expired");
    // the first spent 15.00 + 12.00 + 20.00 + 5 × 60.00 = 347.00, the second 42.50 + 4 × 30.00 = 162.50: 509.50 of 720.00
    // and of the 60.00 that the passer-by gave back
    assert_eq!(total(&town, ENDS), [78_000, 50_950, 27_050, 99_050]);
    is_over(&town, "2027-01", 2);
}

fn lumbres_pays_four_fifths_up_to_a_ceiling_by_household_for_three_months_and_again(world: World) {
    let town = town(world, "lumbres", 100_000);
    let shop = town.new_seller(0, "shop");
    // 30.00 + 20.00 = 50.00; 30.00 + 2 × 20.00 + 2 × 15.00 = 100.00; 30.00 + 2 × 20.00 + 3 × 15.00 = 115.00, at most 110.00
    let (alone, four) = (card(&town, 1, 0), card(&town, 2, 2));
    on(&town, "2026-07-10");
    // 80 % of 62.50 is 50.00; of 40.00 it is 32.00
    assert_eq!(split(shop.redeem(&alone.token, 6250)), (5000, 1250));
    shop.redeem(&alone.token, 1000).refused(409, "insufficient_balance");
    assert_eq!(split(shop.redeem(&four.token, 4000)), (3200, 800));
    // July is whole for who comes on the 14th
    on(&town, "2026-07-14");
    let five = card(&town, 2, 3);
    let all = [&alone, &four, &five].map(|card| promised(&town, card));
    assert_eq!(all, [15_000, 30_000, 33_000]);
    // July from the 14th to September, by months of the calendar and with no grace
    windows(
        &town.enrolment(&five.enrolment),
        "main",
        ["2026-07-13T22:00:00Z", "2026-07-31T22:00:00Z"],
        ["2026-08-31T22:00:00Z", "2026-09-30T22:00:00Z"],
    );
    pays_everywhere(&town, &five);
    assert_eq!(split(shop.redeem(&five.token, 13_750)), (11_000, 2750));
    on(&town, "2026-07-24");
    assert_eq!(split(shop.redeem(&four.token, 8500)), (6800, 1700));

    on(&town, "2026-08-07");
    assert_eq!(split(shop.redeem(&alone.token, 3000)), (2400, 600));
    let undone = id(&shop.redeem(&four.token, 12_500).expect(201));
    shop.void(&undone).expect(200);
    assert_eq!(split(shop.redeem(&four.token, 10_000)), (8000, 2000));
    // 80 % of 25.01 is 20.008
    assert_eq!(split(shop.redeem(&five.token, 2501)), (2001, 500));
    // no days of grace: 50.00 - 24.00, 100.00 - 80.00 and 110.00 - 20.01 go back with August
    town.world.advance_to("2026-08-31T21:59:59Z");
    assert_eq!(total(&town, ["returned"]), [0]);
    town.world.advance_to("2026-08-31T22:00:00Z");
    assert_eq!(total(&town, ["returned"]), [2600 + 2000 + 8999]);

    on(&town, "2026-09-11");
    assert_eq!(split(shop.redeem(&four.token, 6250)), (5000, 1250));
    // 80 % of 150.00 would be 120.00
    shop.redeem(&five.token, 15_000).refused(409, "insufficient_balance");
    assert_eq!(split(shop.redeem_in_part(&five.token, 15_000)), (11_000, 4000));

    // the contract of three months is over, and renewed for one of them
    on(&town, "2026-10-01");
    shop.redeem(&alone.token, 100).refused(409, "voucher_expired");
    let household = town.enrolment(&alone.enrolment)["household_id"].as_str().unwrap().to_owned();
    let renewed = town.card_for(&id(&town.enrol_household(&household).expect(201)));
    assert_eq!(promised(&town, &renewed), 15_000);
    assert_eq!(split(shop.redeem(&renewed.token, 2000)), (1600, 400));
    on(&town, "2027-01-01");
    // spent: 50.00 + 24.00 and 16.00; 100.00 + 80.00 + 50.00; 110.00 + 20.01 + 110.00: 560.01
    // of 150.00 + 150.00 + 300.00 + 330.00 = 930.00
    assert_eq!(total(&town, ENDS), [93_000, 56_001, 36_999, 43_999]);
    is_over(&town, "2026-12", 4);
}

fn calendrier_cap_ends_with_the_year_and_a_purchase_is_the_producer_s_claim(world: World) {
    let town = town(world, "calendrier_cap", 100_000);
    let farm = town.new_seller(0, "farm");
    // September to February, and December to May: 6 × 50.00 each
    on(&town, "2026-09-14");
    let first = card(&town, 1, 1);
    // September's until the end of the year, February's until its own
    windows(
        &town.enrolment(&first.enrolment),
        "main",
        ["2026-09-13T22:00:00Z", "2026-12-31T23:00:00Z"],
        ["2027-01-31T23:00:00Z", "2027-02-28T23:00:00Z"],
    );
    pays_everywhere(&town, &first);
    on(&town, "2026-09-20");
    // no change is given, as no more is taken than the basket
    assert_eq!(split(farm.redeem(&first.token, 3000)), (3000, 0));
    // what is left of September goes on: 20.00 of it and 25.00 of October's
    on(&town, "2026-10-11");
    assert_eq!(split(farm.redeem(&first.token, 4500)), (4500, 0));
    on(&town, "2026-12-12");
    assert_eq!(town.balance(&first.enrolment), 2500 + 5000 + 5000);
    assert_eq!(split(farm.redeem(&first.token, 10_000)), (10_000, 0));
    on(&town, "2026-12-20");
    let second = card(&town, 2, 0);
    assert_eq!((promised(&town, &first), promised(&town, &second)), (30_000, 30_000));
    assert_eq!(split(farm.redeem(&second.token, 1000)), (1000, 0));

    // until midnight on 31 December, whatever the months: 25.00 - 5.00 and 50.00 - 10.00 - 3.00 go back to the agreement
    town.world.advance_to("2026-12-31T22:59:59Z");
    assert_eq!(split(farm.redeem(&first.token, 500)), (500, 0));
    let undone = id(&farm.redeem(&second.token, 300).expect(201));
    assert_eq!(total(&town, ["available", "returned"]), [40_000, 0]);
    town.world.advance_to("2026-12-31T23:00:00Z");
    assert_eq!(total(&town, ["available", "returned"]), [40_000 + 2000 + 3700, 5700]);
    farm.redeem(&first.token, 5001).refused(409, "insufficient_balance");
    // what is brought back in the new year is not to be spent in it either: January's 50.00 is all there is
    town.world.set_clock("2027-01-01T09:00:00Z");
    farm.void(&undone).expect(200);
    farm.redeem(&second.token, 5001).refused(409, "insufficient_balance");
    on(&town, "2027-01-01");
    assert_eq!(total(&town, ["available", "returned"]), [40_000 + 2000 + 4000, 6000]);
    assert_eq!((town.balance(&first.enrolment), town.balance(&second.enrolment)), (5000, 5000));
    town.world.verify();

    on(&town, "2027-02-13");
    assert_eq!(split(farm.redeem(&first.token, 8000)), (8000, 0));
    // on 28 February nothing waits to be claimed: December's 100.00 + 10.00 + 5.00 + 3.00 stand in December's report, which is
    // final, and the 3.00 given back in January's
    on(&town, "2027-02-28");
    let grant = agreements(&town, "grant").remove(0);
    let december = month_of(&town, &grant, "2026-12");
    assert_eq!((&december["status"], &december["control"]["net"]), (&json!("final"), &json!("118.00")));
    assert_eq!((&december["payable"]["opening"], &december["payable"]["closing"]), (&json!("75.00"), &json!("193.00")));
    let claim = &december["by_producer"][0];
    assert_eq!((&claim["redemptions"], &claim["redeemed"]), (&json!(4), &json!("118.00")));
    assert_eq!(month_of(&town, &grant, "2027-01")["payable"]["voided"], "3.00");
    // the first's last month is February: 100.00 - 80.00 = 20.00 go back
    on(&town, "2027-03-01");
    farm.redeem(&first.token, 100).refused(409, "voucher_expired");
    assert_eq!(total(&town, ["returned"]), [8000]);
    // January to March are 150.00
    on(&town, "2027-03-06");
    farm.redeem(&second.token, 15_001).refused(409, "insufficient_balance");
    assert_eq!(split(farm.redeem(&second.token, 11_000)), (11_000, 0));
    on(&town, "2027-06-01");
    assert_eq!(month_of(&town, &grant, "2026-12")["sha256"], december["sha256"]);
    // spent: 30.00 + 45.00 + 100.00 + 5.00 + 80.00 = 260.00 and 10.00 + 110.00 = 120.00, of 600.00
    assert_eq!(total(&town, ENDS), [60_000, 38_000, 22_000, 62_000]);
    is_over(&town, "2027-05", 2);
}
