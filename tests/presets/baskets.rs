//! Baskets: at half the price, for seven euros, set aside for nothing, and bought together.

use serde_json::json;

use super::{
    ENDS, card, days_after, is_over, months_after, on, passer_by, pays_at, pays_everywhere, promised, split, total,
    town, windows,
};
use crate::support::town::newcomer;
use crate::support::{World, id, on_both_databases};

on_both_databases!(
    paniers_are_half_price_every_fortnight_for_two_years_at_most,
    panier_symbolique_is_a_euro_a_day_whatever_is_in_it,
    panier_reserve_costs_nothing_and_goes_back_when_nobody_fetches_it,
    groupement_achat_sells_at_a_price_that_the_programme_reduces,
);

fn paniers_are_half_price_every_fortnight_for_two_years_at_most(world: World) {
    let town = town(world, "paniers", 150_000);
    let farm = town.new_seller(0, "farm");
    let (small, large) = (card(&town, 1, 0), card(&town, 2, 3));
    // 52 fortnights of 10.00
    assert_eq!((promised(&town, &small), promised(&town, &large)), (52_000, 52_000));
    pays_everywhere(&town, &large);
    // the referent is of the structure that has enrolled the household: to another it does not exist
    let (_, stranger) = newcomer(&town.world, &town.manager, "social_structure", "Autre CCAS");
    stranger.get(&format!("/api/v1/enrolments/{}", small.enrolment)).refused(404, "not_found");
    for fortnight in 0..52 {
        on(&town, &days_after("2026-07-01", 14 * fortnight));
        // from 10.00 to 5.00, and from 20.00 to 10.00
        assert_eq!(split(farm.redeem(&small.token, 1000)), (500, 500));
        match fortnight {
            // half of 24.00 would be 12.00
            10 => assert_eq!(split(farm.redeem(&large.token, 2400)), (1000, 1400)),
            20 => {
                farm.void(&id(&farm.redeem(&large.token, 2000).expect(201))).expect(200);
                assert_eq!(split(farm.redeem(&large.token, 2000)), (1000, 1000));
            }
            _ => assert_eq!(split(farm.redeem(&large.token, 2000)), (1000, 1000)),
        }
        if fortnight == 0 {
            farm.redeem(&small.token, 1000).refused(409, "too_soon");
            town.world.advance_to("2026-07-14T21:59:59Z");
            farm.redeem(&small.token, 1000).refused(409, "too_soon");
            // what was left of the first fortnight's 10.00 goes back with it
            town.world.advance_to("2026-07-14T22:00:00Z");
            assert_eq!(total(&town, ["returned"]), [500]);
        }
    }
    // 1 July 2026 and 52 × 14 = 728 days: 28 June 2028
    town.world.advance_to("2028-06-27T21:59:59Z");
    assert_eq!(town.balance(&small.enrolment), 500);
    on(&town, "2028-06-28");
    farm.redeem(&small.token, 1000).refused(409, "voucher_expired");
    farm.redeem(&large.token, 2000).refused(409, "voucher_expired");
    // 52 × 5.00 = 260.00 and 52 × 10.00 = 520.00, of 1 040.00
    assert_eq!(total(&town, ENDS), [104_000, 78_000, 26_000, 72_000]);
    is_over(&town, "2028-06", 2);
}

fn panier_symbolique_is_a_euro_a_day_whatever_is_in_it(world: World) {
    let town = town(world, "panier_symbolique", 150_000);
    let grocery = town.new_seller(0, "solidarity_grocery");
    let (alone, family) = (card(&town, 1, 0), card(&town, 2, 2));
    // 26 weeks of 20.00
    assert_eq!((promised(&town, &alone), promised(&town, &family)), (52_000, 52_000));
    // from 1 to 7 July and from 23 to 29 December, with no grace
    windows(
        &town.enrolment(&alone.enrolment),
        "main",
        ["2026-06-30T22:00:00Z", "2026-07-07T22:00:00Z"],
        ["2026-12-22T23:00:00Z", "2026-12-29T23:00:00Z"],
    );
    pays_everywhere(&town, &alone);
    let mut paid = 0;
    for week in 0..26 {
        on(&town, &days_after("2026-07-01", 7 * week));
        // 7.00 of 27.00
        let (covered, own) = split(grocery.redeem(&alone.token, 2700));
        assert_eq!((covered, own), (2000, 700));
        paid += own;
        match week {
            // 30.00 - 7.00 is more than the week's 20.00
            1 => {
                grocery.redeem(&family.token, 3000).refused(409, "insufficient_balance");
                assert_eq!(split(grocery.redeem_in_part(&family.token, 3000)), (2000, 1000));
            }
            // nothing is paid of what is worth less than 7.00
            3 => assert_eq!(split(grocery.redeem(&family.token, 500)), (0, 500)),
            // 25.00 - 7.00
            even if even % 2 == 0 => assert_eq!(split(grocery.redeem(&family.token, 2500)), (1800, 700)),
            _ => {}
        }
        if week == 0 {
            town.world.advance_to("2026-07-07T21:59:59Z");
            grocery.redeem(&alone.token, 2700).refused(409, "too_soon");
        }
    }
    assert_eq!(paid, 26 * 7 * 100, "a euro a day");
    on(&town, "2026-12-30");
    grocery.redeem(&alone.token, 2700).refused(409, "voucher_expired");
    // 26 × 20.00 = 520.00, and 13 × 18.00 + 20.00 = 254.00, of 1 040.00
    assert_eq!(total(&town, ENDS), [104_000, 77_400, 26_600, 72_600]);
    is_over(&town, "2026-12", 2);
}

fn panier_reserve_costs_nothing_and_goes_back_when_nobody_fetches_it(world: World) {
    let town = town(world, "panier_reserve", 80_000);
    let (shop, grocery) = (town.new_seller(0, "shop"), town.new_seller(1, "solidarity_grocery"));
    let farm = town.new_seller(2, "farm");
    let (first, second) = (card(&town, 1, 0), card(&town, 1, 2));
    // 6 × 40.00
    assert_eq!((promised(&town, &first), promised(&town, &second)), (24_000, 24_000));
    on(&town, "2026-07-03");
    farm.hold(&first.token, 1000).refused(409, "producer_not_eligible");
    // from 3 July to 2 August and from 3 December to 2 January, each with seven days of grace
    windows(
        &passer_by(&town),
        "main",
        ["2026-07-02T22:00:00Z", "2026-08-09T22:00:00Z"],
        ["2026-12-02T23:00:00Z", "2027-01-09T23:00:00Z"],
    );
    pays_at(&town, &first, &["shop", "solidarity_grocery"]);
    let kept = shop.hold(&first.token, 2200).expect(201);
    assert_eq!((&kept["covered"], &kept["to_collect"]), (&json!("22.00"), &json!("0.00")));
    assert_eq!(kept["expires_at"], "2026-07-04T09:00:00Z");
    let forgotten = id(&grocery.hold(&second.token, 4000).expect(201));
    // fetched in the last second of the day that it is kept; the other is not, and goes back on the shelf
    town.world.advance_to("2026-07-04T08:59:59Z");
    assert_eq!(split(shop.capture(&id(&kept))), (2200, 0));
    assert_eq!(town.balance(&second.enrolment), 0);
    assert_eq!(town.world.advance_to("2026-07-04T09:00:00Z").freed, 1);
    grocery.capture(&forgotten).refused(409, "hold_state");
    assert_eq!(town.balance(&second.enrolment), 4000);
    let fetched = id(&grocery.hold(&second.token, 3500).expect(201));
    town.world.advance_to("2026-07-04T16:00:00Z");
    assert_eq!(split(grocery.capture(&fetched)), (3500, 0));

    for month in 0..5 {
        on(&town, &months_after("2026-08-10", month));
        let kept = id(&shop.hold(&first.token, 4000).expect(201));
        assert_eq!(split(shop.capture(&kept)), (4000, 0));
        if month == 0 {
            // given up by who looks after the household
            let kept = id(&shop.hold(&second.token, 3000).expect(201));
            town.worker.act(&format!("/api/v1/holds/{kept}/release")).expect(204);
            assert_eq!(town.balance(&second.enrolment), 4000);
        }
    }
    on(&town, "2027-01-08");
    shop.hold(&first.token, 100).refused(409, "voucher_expired");
    // 22.00 + 5 × 40.00 = 222.00 and 35.00, of 480.00 and of the 40.00 that the passer-by gave back
    assert_eq!(total(&town, ENDS), [52_000, 25_700, 26_300, 54_300]);
    is_over(&town, "2027-01", 2);
}

fn groupement_achat_sells_at_a_price_that_the_programme_reduces(world: World) {
    let town = town(world, "groupement_achat", 150_000);
    let (group, shop) = (town.new_seller(0, "buying_group"), town.new_seller(1, "shop"));
    let (family, alone) = (card(&town, 2, 2), card(&town, 1, 0));
    // 12 × 30.00
    assert_eq!((promised(&town, &family), promised(&town, &alone)), (36_000, 36_000));
    shop.redeem(&family.token, 1000).refused(409, "producer_not_eligible");
    for month in 0..12 {
        on(&town, &months_after("2026-07-12", month));
        if month == 0 {
            // from 12 July to 11 August and from 12 June to 11 July, each with seven days of grace
            windows(
                &passer_by(&town),
                "main",
                ["2026-07-11T22:00:00Z", "2026-08-18T22:00:00Z"],
                ["2027-06-11T22:00:00Z", "2027-07-18T22:00:00Z"],
            );
            pays_at(&town, &alone, &["buying_group"]);
        }
        // 30 % of 80.00
        assert_eq!(split(group.redeem(&family.token, 8000)), (2400, 5600));
        match month {
            // 30 % of 100.00 is all of a month
            0 => {
                assert_eq!(split(group.redeem(&alone.token, 10_000)), (3000, 7000));
                group.redeem(&alone.token, 1000).refused(409, "insufficient_balance");
            }
            // 30 % of 13.35 is 4.005
            1 => assert_eq!(split(group.redeem(&alone.token, 1335)), (401, 934)),
            // 30 % of 110.00 would be 33.00
            2 => assert_eq!(split(group.redeem_in_part(&alone.token, 11_000)), (3000, 8000)),
            _ => {}
        }
    }
    on(&town, "2027-07-08");
    group.redeem(&family.token, 8000).refused(409, "voucher_expired");
    // 12 × 24.00 = 288.00 and 30.00 + 4.01 + 30.00 = 64.01, of 720.00 and of the 30.00 that the passer-by gave back
    assert_eq!(total(&town, ENDS), [75_000, 35_201, 39_799, 114_799]);
    is_over(&town, "2027-07", 2);
}
