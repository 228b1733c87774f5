//! Tariffs: assigned and not to be seen, or chosen at each purchase.

use serde_json::json;

use super::{
    ENDS, agreements, card, is_over, month_of, months_after, of_pot, on, passer_by, pays_everywhere, promised, setup,
    split, total, town, windows,
};
use crate::rules::but_for_the_amounts;
use crate::support::town::{Setup, Till};
use crate::support::{Answer, Card, Town, World, cents, id, on_both_databases};

on_both_databases!(
    la_petite_pierre_asks_each_household_its_own_price_and_nobody_in_the_queue_sees_it,
    petit_marche_des_engages_lets_each_choose_and_what_is_above_the_price_lets_another_in,
    dieulefit_pays_the_whole_price_out_of_a_pot_that_loses_a_little,
);

fn la_petite_pierre_asks_each_household_its_own_price_and_nobody_in_the_queue_sees_it(world: World) {
    let town = town(world, "la_petite_pierre", 350_000);
    let grocery = town.new_seller(0, "solidarity_grocery");
    let enrolled = |adults: i32, children: i32, band: Option<&str>| {
        let mut body = json!({"household_id": town.household(adults, children), "programme_id": town.programme});
        if let Some(band) = band {
            body["band"] = json!(band);
        }
        town.card_for(&id(&town.worker.post_once("/api/v1/enrolments", body).expect(201)))
    };
    // who is given no tariff pays the whole price
    let (low, middle, whole) = (enrolled(1, 0, Some("a")), enrolled(2, 2, Some("b")), enrolled(1, 1, None));
    // 12 × 40.00; 12 × (2 × 40.00 + 2 × 20.00) = 12 × 120.00; 12 × (40.00 + 20.00)
    assert_eq!([&low, &middle, &whole].map(|card| promised(&town, card)), [48_000, 144_000, 72_000]);
    // of 8.00 a quarter, half and all
    let sold: Vec<Answer> = [&low, &middle, &whole].iter().map(|card| grocery.redeem(&card.token, 800)).collect();
    let told: Vec<_> = sold.iter().map(but_for_the_amounts).collect();
    assert_eq!((&told[0], &told[0]), (&told[1], &told[2]));
    assert_eq!(sold[0].json()["display"], json!({"accepted": true, "basket": "8.00"}));
    let amounts: Vec<_> = sold.into_iter().map(split).collect();
    assert_eq!(amounts, [(600, 200), (400, 400), (0, 800)]);
    let checked = [&low, &middle, &whole].map(|card| grocery.check(&card.token));
    assert_eq!((&checked[0], &checked[0]), (&checked[1], &checked[2]));

    // nobody chooses where the social worker assigns
    choose(&grocery, &whole, 2000, "a").refused(422, "invalid_request");

    // the third earns less from now on: the social worker says so, and the till learns nothing of it
    on(&town, "2026-07-20");
    let path = format!("/api/v1/enrolments/{}/band", whole.enrolment);
    assert_eq!(town.worker.put(&path, json!({"band": "a"})).expect(200)["band"], "a");
    // from 20 July to 19 August and from 20 June to 19 July, each with seven days of grace
    windows(
        &passer_by(&town),
        "main",
        ["2026-07-19T22:00:00Z", "2026-08-26T22:00:00Z"],
        ["2027-06-19T22:00:00Z", "2027-07-26T22:00:00Z"],
    );
    pays_everywhere(&town, &whole);
    assert_eq!(split(grocery.redeem(&whole.token, 2000)), (1500, 500));

    for month in 0..11 {
        on(&town, &months_after("2026-08-12", month));
        assert_eq!(split(grocery.redeem(&low.token, 4000)), (3000, 1000));
        assert_eq!(split(grocery.redeem(&middle.token, 10_000)), (5000, 5000));
        if month == 0 {
            // three quarters of 60.00 are more than the 40.00 - 30.00 = 10.00 that are left
            grocery.redeem(&low.token, 6000).refused(409, "insufficient_balance");
        }
    }
    on(&town, "2027-07-08");
    grocery.redeem(&low.token, 100).refused(409, "voucher_expired");
    // 6.00 + 11 × 30.00 = 336.00; 4.00 + 11 × 50.00 = 554.00; 15.00: 905.00 of 2 640.00 and of the 40.00 that the passer-by
    // gave back
    assert_eq!(total(&town, ENDS), [268_000, 90_500, 177_500, 259_500]);
    is_over(&town, "2027-07", 3);
}

fn choose(till: &Till, card: &Card, basket: i64, tariff: &str) -> Answer {
    let mut body = till.basket(&card.token, basket, false);
    body["tariff"] = json!(tariff);
    till.client.post_once("/api/v1/redemptions", body)
}

/// What the producers of one stall hold for the pot, in cents.
fn held(town: &Town) -> i64 {
    cents(&town.budget()["held"][0]["amount"])
}

/// What the agreement that began it all has, as [`ENDS`] names it.
fn of_agreement(town: &Town) -> [i64; 4] {
    ENDS.map(|name| town.figure(0, name))
}

fn petit_marche_des_engages_lets_each_choose_and_what_is_above_the_price_lets_another_in(world: World) {
    // 12 × 60.00 = 720.00 each: two households, and 55.00 too little for a third
    let town = town(world, "petit_marche_des_engages", 149_500);
    let market = town.new_seller(0, "farm_shop");
    let (generous, modest) = (card(&town, 1, 0), card(&town, 2, 3));
    assert_eq!((promised(&town, &generous), promised(&town, &modest)), (72_000, 72_000));
    let (waiting, state) = town.enrol_many(1, 2);
    assert_eq!((state.as_str(), town.figure(0, "available")), ("waiting", 5500));
    // four markets a month: 125 % of 50.00 is 62.50, of which 12.50 are for the pot; 65 % of 30.00 is 19.50. The producer has
    // 62.50 - 12.50 = 50.00 and 10.50 + 19.50 = 30.00, the whole price
    let market_day = |day: &str| {
        on(&town, day);
        assert_eq!(split(choose(&market, &generous, 5000, "haut")), (0, 6250));
        assert_eq!(split(choose(&market, &modest, 3000, "bas")), (1050, 1950));
    };
    for month in 0..5 {
        for day in ["2026-07-08", "2026-07-15", "2026-07-22", "2026-07-29"] {
            market_day(&months_after(day, month));
        }
        // the other 60.00 and 60.00 - 4 × 10.50 = 18.00 of each month go back seven days after it
        let gone_back = i64::from(month) * (6000 + 1800);
        assert_eq!(town.figure(0, "available"), 5500 + gone_back);
        // of this month's 50.00, the last market's may still be undone
        let pooled = i64::from(month) * 5000 + 3750;
        assert_eq!(of_pot(&town, ["pooled", "surplus", "available"]), [pooled, 1250, pooled]);
    }
    market_day("2026-12-08");
    market_day("2026-12-15");
    // 55.00 + 5 × 78.00 = 445.00 and 5 × 50.00 + 12.50 = 262.50 are 12.50 too little, and these come a day later
    assert_eq!((town.figure(0, "available"), of_pot(&town, ["available"])), (44_500, [26_250]));
    town.world.advance_to("2026-12-16T08:59:59Z");
    assert_eq!(town.enrolment(&waiting)["state"], "waiting");
    let done = on(&town, "2026-12-16");
    assert_eq!((done.pooled, done.moved_up), (1, 1));
    // the agreement first: seven months and 25.00 of the eighth; the pot's 275.00 are the rest
    assert_eq!((town.figure(0, "available"), of_pot(&town, ["available"])), (0, [0]));
    let third = town.card_for(&waiting);
    assert_eq!(promised(&town, &third), 72_000);
    // from 16 December to 15 January and from 16 November to 15 December, each with seven days of grace
    windows(
        &town.enrolment(&waiting),
        "main",
        ["2026-12-15T23:00:00Z", "2027-01-22T23:00:00Z"],
        ["2027-11-15T23:00:00Z", "2027-12-22T23:00:00Z"],
    );
    pays_everywhere(&town, &third);

    // another colour at each purchase, or none: then the just one
    let undone = choose(&market, &third, 2000, "haut").expect(201);
    assert_eq!((&undone["covered"], &undone["to_collect"]), (&json!("0.00"), &json!("25.00")));
    assert_eq!(held(&town), 27_500 + 500);
    market.void(&id(&undone)).expect(200);
    assert_eq!((held(&town), of_pot(&town, ["surplus"])), (27_500, [0]));
    assert_eq!(split(choose(&market, &third, 2000, "bas")), (700, 1300));
    assert_eq!(split(choose(&market, &third, 1000, "juste")), (0, 1000));
    assert_eq!(split(market.redeem(&third.token, 1000)), (0, 1000));
    choose(&market, &third, 1000, "gratuit").refused(422, "invalid_request");

    // the eighth month, from 16 July: of 35.00 the agreement's 25.00 first, then 10.00 of the pot; the ninth is all the pot's
    on(&town, "2027-07-28");
    assert_eq!(split(choose(&market, &third, 10_000, "bas")), (3500, 6500));
    assert_eq!(of_pot(&town, ["redeemed"]), [1000]);
    on(&town, "2027-08-28");
    assert_eq!(split(choose(&market, &third, 10_000, "bas")), (3500, 6500));
    assert_eq!(of_pot(&town, ["redeemed"]), [4500]);
    // the first eleven months were the others' too; on 15 December and seven days later the third's are over
    on(&town, "2027-12-23");
    market.redeem(&third.token, 100).refused(409, "voucher_expired");
    // 720.00 + 720.00 + 445.00 issued; 22 × 10.50 = 231.00 and 7.00 + 25.00 = 32.00 spent; 1 495.00 - 263.00 are left
    assert_eq!(of_agreement(&town), [188_500, 26_300, 162_200, 123_200]);
    // 22 × 12.50 = 275.00 issued, 10.00 + 35.00 spent
    assert_eq!(of_pot(&town, ENDS), [27_500, 4500, 23_000, 23_000]);
    assert_eq!(held(&town), 27_500);
    is_over(&town, "2027-12", 3);
}

fn dieulefit_pays_the_whole_price_out_of_a_pot_that_loses_a_little(world: World) {
    // one agreement for a year, and then only the pot
    let setup = Setup { terms: vec![("2026-01-01", "2027-06-30", 31)], ..setup("dieulefit", vec![(288_000, 1)]) };
    let town = Town::with(world, setup);
    let market = town.new_seller(0, "farm");
    let (just, high) = (card(&town, 1, 0), card(&town, 2, 2));
    let low = [card(&town, 1, 2), card(&town, 2, 0)];
    // 4 × 12 × 60.00
    assert_eq!((promised(&town, &low[0]), total(&town, ["available"])), (72_000, [0]));
    let (mut paid, mut collected) = (0, 0);
    for month in 0..12 {
        on(&town, &months_after("2026-07-12", month));
        // half of 960.00 at the just price; 125 % of 240.00 is 300.00; 65 % of twice 120.00 is twice 78.00
        let sold = [
            split(choose(&market, &just, 48_000, "juste")),
            split(choose(&market, &high, 24_000, "haut")),
            split(choose(&market, &low[0], 12_000, "bas")),
            split(choose(&market, &low[1], 12_000, "bas")),
        ];
        assert_eq!(sold, [(0, 48_000), (0, 30_000), (4200, 7800), (4200, 7800)]);
        paid += sold.iter().map(|sale| sale.0).sum::<i64>();
        collected += sold.iter().map(|sale| sale.1).sum::<i64>();
    }
    on(&town, "2027-07-05");
    // 12 × 60.00 came into the pot, and 12 × 84.00 = 1 008.00 were paid: the deficit of 288.00 is the agreement's
    assert_eq!((of_pot(&town, ["pooled"]), town.figure(0, "redeemed"), held(&town)), ([72_000], 100_800, 72_000));
    // the producer has the whole price of 12 × 960.00, once what is the pot's is settled
    assert_eq!(paid + collected - held(&town), 12 * 96_000);
    let pot = agreements(&town, "pot").remove(0);
    let june = month_of(&town, &pot, "2027-06");
    assert_eq!((&june["pot"]["held"]["closing"], &june["available"]["closing"]), (&json!("720.00"), &json!("720.00")));

    // 12 × 60.00 is just enough for one household of the second year
    let next = card(&town, 1, 3);
    assert_eq!(of_pot(&town, ["available", "committed"]), [0, 72_000]);
    // from 5 July to 4 August and from 5 June to 4 July, each with seven days of grace
    windows(
        &town.enrolment(&next.enrolment),
        "main",
        ["2027-07-04T22:00:00Z", "2027-08-11T22:00:00Z"],
        ["2028-06-04T22:00:00Z", "2028-07-11T22:00:00Z"],
    );
    pays_everywhere(&town, &next);
    assert_eq!(town.enrol_many(1, 0).1, "waiting");
    for month in 0..12 {
        on(&town, &months_after("2027-07-20", month));
        assert_eq!(split(choose(&market, &next, 10_000, "bas")), (3500, 6500));
    }
    on(&town, "2028-07-12");
    market.redeem(&next.token, 100).refused(409, "voucher_expired");
    assert_eq!(of_agreement(&town), [288_000, 100_800, 187_200, 187_200]);
    // 12 × 35.00 = 420.00 of 720.00
    assert_eq!(of_pot(&town, ENDS), [72_000, 42_000, 30_000, 30_000]);
    is_over(&town, "2028-07", 6);
}
