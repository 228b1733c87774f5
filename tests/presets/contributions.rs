//! What households pay in: into the common fund, or for themselves.

use serde_json::{Value, json};

use super::{
    ENDS, agreements, card, is_over, month_of, months_after, of_pot, on, passer_by, pays_at, pays_everywhere, promised,
    split, total, town, windows,
};
use crate::support::{Answer, Card, Town, World, cents, euros, on_both_databases};

on_both_databases!(
    caisse_commune_takes_what_each_can_give_and_gives_everyone_a_hundred,
    monnaie_locale_adds_to_what_a_household_pays_in_and_pays_the_rest_back,
);

fn pay_in(town: &Town, enrolment: &str, amount: i64) -> Answer {
    let path = format!("/api/v1/enrolments/{enrolment}/contributions");
    town.worker.post_once(&path, json!({"amount": euros(amount)}))
}

#[track_caller]
fn is_out_of_bounds(answer: Answer) {
    assert_eq!(answer.refused(422, "invalid_request")["fields"][0]["field"], "amount");
}

/// Amount, period and what was paid back of each contribution, in cents.
fn paid_in(town: &Town, card: &Card) -> Vec<(i64, i64, i64)> {
    let list = town.worker.get(&format!("/api/v1/enrolments/{}/contributions", card.enrolment)).expect(200);
    let line = |c: &Value| (cents(&c["amount"]), c["period"].as_i64().unwrap(), cents(&c["refunded"]));
    list["items"].as_array().unwrap().iter().map(line).collect()
}

fn caisse_commune_takes_what_each_can_give_and_gives_everyone_a_hundred(world: World) {
    // 12 × 100.00 each: the agreement carries two households, and the third waits for the fund to fill
    let town = town(world, "caisse_commune", 240_000);
    let shop = town.new_seller(0, "shop");
    let (rich, poor) = (card(&town, 1, 0), card(&town, 2, 2));
    assert_eq!((promised(&town, &rich), promised(&town, &poor)), (120_000, 120_000));
    let (waiting, state) = town.enrol_many(1, 1);
    assert_eq!((state.as_str(), total(&town, ["available"])), ("waiting", [0]));
    // not before paying
    assert_eq!(on(&town, "2026-07-01").issued, 0);
    assert_eq!(shop.check(&rich.token)["code"], "insufficient_balance");
    shop.redeem(&rich.token, 100).refused(409, "insufficient_balance");
    is_out_of_bounds(pay_in(&town, &poor.enrolment, 99));
    is_out_of_bounds(pay_in(&town, &rich.enrolment, 18_001));

    let mut third = None;
    for month in 0..17 {
        on(&town, &months_after("2026-07-02", month));
        if month < 12 {
            // 180.00 and 20.00 are paid, and each has 100.00
            assert_eq!(pay_in(&town, &rich.enrolment, 18_000).expect(201)["goes_to"], "pot");
            is_out_of_bounds(pay_in(&town, &rich.enrolment, 1));
            assert_eq!(town.balance(&poor.enrolment), 0);
            pay_in(&town, &poor.enrolment, 2000).expect(201);
            if month == 0 {
                pays_everywhere(&town, &poor);
            }
            assert_eq!(split(shop.redeem(&poor.token, 10_000)), (10_000, 0));
            // in the last month the first leaves 30.00
            let bought = if month == 11 { 7000 } else { 10_000 };
            assert_eq!(split(shop.redeem(&rich.token, bought)), (bought, 0));
        }
        if month == 4 {
            // 5 × (180.00 + 20.00)
            assert_eq!(of_pot(&town, ["contributed", "available"]), [100_000, 100_000]);
            assert_eq!(town.enrolment(&waiting)["state"], "waiting");
        }
        if month == 5 {
            // 6 × 200.00 are just what the third is promised
            assert_eq!(of_pot(&town, ["contributed", "available", "committed"]), [120_000, 0, 120_000]);
            third = Some(town.card_for(&waiting));
            // from 2 December to 1 January and from 2 November to 1 December, each with seven days of grace
            windows(
                &town.enrolment(&waiting),
                "main",
                ["2026-12-01T23:00:00Z", "2027-01-08T23:00:00Z"],
                ["2027-11-01T23:00:00Z", "2027-12-08T23:00:00Z"],
            );
        }
        if let Some(third) = &third {
            shop.redeem(&third.token, 100).refused(409, "insufficient_balance");
            // in one of its months it pays nothing, and has nothing
            if month != 8 {
                pay_in(&town, &third.enrolment, 100).expect(201);
                assert_eq!(split(shop.redeem(&third.token, 10_000)), (10_000, 0));
            }
        }
        if month == 6 {
            // what was paid in is the fund's, whose account says so
            let pot = agreements(&town, "pot").remove(0);
            let december = &month_of(&town, &pot, "2026-12")["available"];
            let figures =
                ["opening", "contributed", "committed", "refunded", "closing"].map(|name| cents(&december[name]));
            assert_eq!(figures, [100_000, 18_000 + 2000 + 100, 120_000, 0, 100]);
        }
    }
    let third = third.unwrap();
    assert_eq!((promised(&town, &third), paid_in(&town, &third).len()), (120_000, 11));
    // its last month ends on 1 December, and seven days later its time is over
    on(&town, "2027-12-09");
    shop.redeem(&third.token, 100).refused(409, "voucher_expired");
    // of the agreement 2 × 12 × 100.00 issued, and 30.00 back; of the pot 11 × 100.00 issued and spent
    assert_eq!(ENDS.map(|name| town.figure(0, name)), [240_000, 237_000, 3000, 3000]);
    // 12 × 200.00 + 11 × 1.00 came in, and none of it is paid back to anybody
    assert_eq!(of_pot(&town, ["contributed", "refunded"]), [241_100, 0]);
    assert_eq!(of_pot(&town, ENDS), [110_000, 110_000, 0, 131_100]);
    is_over(&town, "2027-12", 3);
}

fn monnaie_locale_adds_to_what_a_household_pays_in_and_pays_the_rest_back(world: World) {
    let town = town(world, "monnaie_locale", 36_000);
    let (farm, artisan) = (town.new_seller(0, "farm"), town.new_seller(1, "artisan"));
    let (shop, restaurant) = (town.new_seller(2, "shop"), town.new_seller(3, "restaurant"));
    let (saves, gets) = (card(&town, 2, 1), card(&town, 1, 0));
    // 12 × 10.00 each
    assert_eq!((promised(&town, &saves), promised(&town, &gets)), (12_000, 12_000));
    is_out_of_bounds(pay_in(&town, &saves.enrolment, 99));
    assert_eq!(pay_in(&town, &saves.enrolment, 4000).expect(201)["goes_to"], "household");
    is_out_of_bounds(pay_in(&town, &saves.enrolment, 6001));
    on(&town, "2026-07-04");
    assert_eq!(town.balance(&saves.enrolment), 1000 + 4000);
    // whatever the month, to the end: from 4 July 2026 to 3 July 2027 and seven days of grace
    windows(
        &passer_by(&town),
        "main",
        ["2026-07-03T22:00:00Z", "2027-07-10T22:00:00Z"],
        ["2027-06-03T22:00:00Z", "2027-07-10T22:00:00Z"],
    );
    pays_at(&town, &saves, &["farm", "farm_shop", "artisan", "shop"]);
    restaurant.redeem(&saves.token, 100).refused(409, "producer_not_eligible");
    // the supplement first, then 35.00 of its own
    assert_eq!(split(artisan.redeem(&saves.token, 4500)), (4500, 0));
    // August's supplement of 10.00 before what is left of its own, since that is paid back and the supplement is not
    on(&town, "2026-08-04");
    assert_eq!(split(shop.redeem(&saves.token, 1200)), (1200, 0));
    assert_eq!(of_pot(&town, ["redeemed"]), [3500 + 200]);
    // 20.00 more: September's supplement of 10.00, the 3.00 that are left of July's own, and 12.00
    on(&town, "2026-09-04");
    pay_in(&town, &saves.enrolment, 2000).expect(201);
    assert_eq!(split(farm.redeem(&saves.token, 2500)), (2500, 0));
    assert_eq!(town.balance(&saves.enrolment), 800);
    // October to March: six supplements of 10.00, which do not end with their months
    on(&town, "2027-03-04");
    assert_eq!(town.balance(&saves.enrolment), 800 + 6000);
    assert_eq!(split(farm.redeem(&saves.token, 5000)), (5000, 0));
    assert_eq!(of_pot(&town, ["redeemed"]), [3500 + 200 + 1500]);
    // who pays nothing in has the supplements alone
    on(&town, "2027-06-10");
    farm.redeem(&gets.token, 12_001).refused(409, "insufficient_balance");
    assert_eq!(split(farm.redeem(&gets.token, 10_000)), (10_000, 0));
    pay_in(&town, &gets.enrolment, 100).expect(201);

    town.world.advance_to("2027-07-07T21:59:59Z");
    assert_eq!(paid_in(&town, &saves), [(4000, 1, 0), (2000, 3, 0)]);
    on(&town, "2027-07-08");
    farm.redeem(&saves.token, 100).refused(409, "voucher_expired");
    pay_in(&town, &saves.enrolment, 1000).refused(409, "enrolment_state");
    // 40.00 + 20.00 - 35.00 - 2.00 - 3.00 - 12.00 = 8.00 of its own come back, all of September's
    assert_eq!(paid_in(&town, &saves), [(4000, 1, 0), (2000, 3, 800)]);
    // and the other's 1.00, the least there is
    assert_eq!(paid_in(&town, &gets), [(100, 12, 100)]);
    assert_eq!(of_pot(&town, ["contributed", "refunded"]), [6100, 900]);
    assert_eq!(of_pot(&town, ENDS), [6100, 5200, 900, 0]);
    let pot = agreements(&town, "pot").remove(0);
    let july = &month_of(&town, &pot, "2027-07")["available"];
    assert_eq!(
        (&july["returned"], &july["refunded"], &july["closing"]),
        (&json!("9.00"), &json!("9.00"), &json!("0.00"))
    );
    // supplements: 3 × 10.00 + 50.00 = 80.00 and 100.00 of 240.00, and the passer-by gave 10.00 back; of 360.00 there are 180.00
    assert_eq!(ENDS.map(|name| town.figure(0, name)), [25_000, 18_000, 7000, 18_000]);
    is_over(&town, "2027-07", 2);
    // the first purchase of all is still the artisan's claim: 10.00 of the agreement's and 35.00 of the household's
    let artisan_s = |agreement: &Value| {
        let report = month_of(&town, agreement, "2026-07");
        (report["lines"][0]["covered"].clone(), report["lines"][0]["part"].clone())
    };
    let grant = agreements(&town, "grant").remove(0);
    assert_eq!(artisan_s(&grant), (json!("45.00"), json!("10.00")));
    assert_eq!(artisan_s(&pot), (json!("45.00"), json!("35.00")));
}
