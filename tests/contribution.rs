//! What households pay in: into a pot that lets them in, or for themselves, and back in cash what is left.

use serde_json::{Value, json};

use crate::support::client::new_key;
use crate::support::town::{Setup, rules};
use crate::support::{Answer, Card, Town, World, cents, euros, id, on_both_databases};
use crate::verify::{found, tamper};

on_both_databases!(
    a_pot_alone_opens_a_programme_and_lets_in_whom_it_can_carry,
    a_pot_pays_after_every_agreement_and_its_month_adds_up,
    new_rules_open_a_pot_once,
    what_is_paid_in_keeps_to_the_bounds_of_its_period,
    a_contribution_is_taken_once_and_leaves_its_entry,
    money_of_one_s_own_is_spent_last_and_paid_back_when_its_window_closes,
    who_leaves_is_paid_back_and_keeps_the_rest,
    a_late_void_of_one_s_own_money_is_paid_back_after_its_grace,
    money_that_waits_for_a_contribution_is_not_there_before_it,
    who_waits_and_has_paid_finds_the_first_period_open,
    nobody_who_waits_pays_for_nothing,
    who_has_waited_into_another_month_still_pays_its_way_in,
    a_basket_of_one_s_own_money_waits_on_for_who_has_left,
    who_leaves_before_it_had_anything_of_a_period_is_paid_back_for_it,
    what_the_pot_has_promised_to_others_is_paid_back_once_it_has_it_again,
    an_export_lists_what_was_paid_in_and_paid_back,
    a_changed_contribution_is_named,
    a_contribution_to_the_pot_paid_back_to_who_stays_is_named,
);

/// So much a month for two months, with this contribution, and these agreements before the pot.
pub fn town(world: World, amount: &str, contribution: Value, agreements: Vec<(i64, i32)>) -> Town {
    let setup = Setup {
        rules: with(amount, contribution),
        funding_rule: "priority",
        agreements,
        producers: 1,
        ..Setup::default()
    };
    Town::with(world, setup)
}

fn with(amount: &str, contribution: Value) -> Value {
    let mut rules = rules(amount, "none");
    rules["period"]["count"] = json!(2);
    rules["contribution"] = contribution;
    rules
}

/// Bounds in cents, and where it goes.
pub fn contribution(minimum: i64, maximum: i64, required: bool, goes_to: &str) -> Value {
    json!({"minimum": euros(minimum), "maximum": euros(maximum), "required": required, "goes_to": goes_to})
}

fn pay(town: &Town, enrolment: &str, amount: i64) -> Answer {
    let path = format!("/api/v1/enrolments/{enrolment}/contributions");
    town.worker.post_once(&path, json!({"amount": euros(amount)}))
}

#[track_caller]
fn is_out_of_bounds(answer: Answer) {
    assert_eq!(answer.refused(422, "invalid_request")["fields"][0]["field"], "amount");
}

/// Amount, period and what was paid back of each contribution.
fn paid(town: &Town, enrolment: &str) -> Vec<(i64, i64, i64)> {
    let list = town.worker.get(&format!("/api/v1/enrolments/{enrolment}/contributions")).expect(200);
    let line = |c: &Value| (cents(&c["amount"]), c["period"].as_i64().unwrap(), cents(&c["refunded"]));
    list["items"].as_array().unwrap().iter().map(line).collect()
}

fn pot(town: &Town) -> Value {
    let path = format!("/api/v1/agreements?programme_id={}", town.programme);
    let list = town.manager.get(&path).expect(200);
    let mut pots = list["items"].as_array().unwrap().iter().filter(|agreement| agreement["kind"] == "pot");
    let pot = pots.next().unwrap().clone();
    assert!(pots.next().is_none());
    pot
}

/// Figures of the pot's budget, in cents.
fn figures<const N: usize>(town: &Town, names: [&str; N]) -> [i64; N] {
    let (budget, pot) = (town.budget(), pot(town));
    let mut agreements = budget["agreements"].as_array().unwrap().iter();
    let of_pot = agreements.find(|agreement| agreement["agreement_id"] == pot["id"]).unwrap();
    names.map(|name| cents(&of_pot[name]))
}

fn state(town: &Town, enrolment: &str) -> String {
    town.enrolment(enrolment)["state"].as_str().unwrap().to_owned()
}

fn a_pot_alone_opens_a_programme_and_lets_in_whom_it_can_carry(world: World) {
    let town = town(world, "20.00", contribution(500, 5000, false, "pot"), Vec::new());
    let pot = pot(&town);
    assert_eq!(
        (&pot["granted"], &pot["reference"], &pot["position"]),
        (&json!("0.00"), &json!("Caisse commune"), &json!(1_000_000))
    );
    assert_eq!((&pot["funder"]["name"], &pot["ends_on"]), (&json!("Pays d'Artois"), &json!("2027-12-31")));
    let (first, second) = (id(&town.enrol()), id(&town.enrol()));
    assert_eq!((state(&town, &first), state(&town, &second)), ("waiting".into(), "waiting".into()));
    // two months are 40.00: the first comes in with 45.00, and 5.00 stay
    pay(&town, &first, 4500).expect(201);
    assert_eq!((state(&town, &first), state(&town, &second)), ("active".into(), "waiting".into()));
    assert_eq!(figures(&town, ["granted", "contributed", "available", "committed"]), [0, 4500, 500, 4000]);
    assert_eq!(town.budget()["total"]["contributed"], "45.00");
    let card = town.card_for(&first);
    town.tills[0].redeem(&card.token, 2000).expect(201);
    town.tills[0].redeem(&card.token, 1).refused(409, "insufficient_balance");
    pay(&town, &second, 3500).expect(201);
    assert_eq!(state(&town, &second), "active");
    assert_eq!(
        figures(&town, ["contributed", "refunded", "available", "committed", "issued"]),
        [8000, 0, 0, 6000, 2000]
    );
    town.world.verify();
}

fn nobody_who_waits_pays_for_nothing(world: World) {
    let town = town(world, "20.00", contribution(500, 5000, false, "pot"), Vec::new());
    let (first, second) = (id(&town.enrol()), id(&town.enrol()));
    // two months are 40.00; and what would let the first in lets the second in no sooner
    pay(&town, &first, 3999).refused(409, "still_waiting");
    pay(&town, &second, 5000).refused(409, "still_waiting");
    assert_eq!((state(&town, &first), state(&town, &second)), ("waiting".into(), "waiting".into()));
    assert_eq!((paid(&town, &first), paid(&town, &second)), (Vec::new(), Vec::new()));
    assert_eq!(figures(&town, ["contributed", "available", "committed"]), [0, 0, 0]);
    pay(&town, &first, 4000).expect(201);
    assert_eq!(state(&town, &first), "active");
    // who leaves the list has paid nothing
    let leave = json!({"return_issued": true});
    town.worker.post(&format!("/api/v1/enrolments/{second}/leave"), leave).expect(200);
    assert_eq!(figures(&town, ["contributed", "refunded", "committed"]), [4000, 0, 4000]);
    town.world.verify();
}

fn who_has_waited_into_another_month_still_pays_its_way_in(world: World) {
    let town = town(world, "20.00", contribution(500, 5000, true, "pot"), Vec::new());
    let enrolment = id(&town.enrol());
    // its first day moves on with today
    town.world.advance_to("2026-08-02T08:00:00Z");
    assert_eq!(town.enrolment(&enrolment)["starts_on"], "2026-07-01");
    pay(&town, &enrolment, 4000).expect(201);
    assert_eq!((state(&town, &enrolment), paid(&town, &enrolment)), ("active".into(), vec![(4000, 1, 0)]));
    let months = town.enrolment(&enrolment);
    assert_eq!(
        (&months["starts_on"], &months["allowances"][0]["ends_on"]),
        (&json!("2026-08-02"), &json!("2026-08-31"))
    );
    let card = town.card_for(&enrolment);
    town.tills[0].redeem(&card.token, 2000).expect(201);
    town.world.verify();
}

fn leave(town: &Town, enrolment: &str, return_issued: bool) {
    let path = format!("/api/v1/enrolments/{enrolment}/leave");
    town.worker.post(&path, json!({"return_issued": return_issued})).expect(200);
}

fn who_leaves_before_it_had_anything_of_a_period_is_paid_back_for_it(world: World) {
    let town = town(world, "20.00", contribution(500, 5000, false, "pot"), vec![(100_000, 1)]);
    let household =
        json!({"household_id": town.household(1, 0), "programme_id": town.programme, "starts_on": "2026-08-01"});
    let later = id(&town.worker.post_once("/api/v1/enrolments", household).expect(201));
    pay(&town, &later, 1000).expect(201);
    let [untouched, spent, keeps, suspended, undone] = [(); 5].map(|()| town.new_card());
    for card in [&untouched, &spent, &keeps, &suspended, &undone] {
        pay(&town, &card.enrolment, 600).expect(201);
        pay(&town, &card.enrolment, 100).expect(201);
    }
    town.tills[0].redeem(&spent.token, 1).expect(201);
    let sold = town.tills[0].redeem(&undone.token, 500).expect(201);
    town.tills[0].void(&id(&sold)).expect(200);
    town.worker.act(&format!("/api/v1/enrolments/{}/suspend", suspended.enrolment)).expect(200);
    leave(&town, &later, false);
    for card in [&untouched, &spent, &undone] {
        leave(&town, &card.enrolment, true);
    }
    // the suspended give back in any case
    leave(&town, &suspended.enrolment, false);
    leave(&town, &keeps.enrolment, false);
    assert_eq!(paid(&town, &later), [(1000, 1, 1000)]);
    for (card, back) in [(&untouched, true), (&spent, false), (&keeps, false), (&suspended, true), (&undone, true)] {
        let refunded = if back { [(600, 1, 600), (100, 1, 100)] } else { [(600, 1, 0), (100, 1, 0)] };
        assert_eq!(paid(&town, &card.enrolment), refunded);
    }
    // 45.00 less 10.00 and three times 7.00
    assert_eq!(figures(&town, ["contributed", "refunded", "available"]), [4500, 3100, 1400]);
    town.world.verify();
    // who kept the month gives it back after all, and has it paid back once
    for _ in 0..2 {
        leave(&town, &keeps.enrolment, true);
        assert_eq!(paid(&town, &keeps.enrolment), [(600, 1, 600), (100, 1, 100)]);
    }
    // in the second month the first was there for it, though nobody has spent it
    let stays = town.new_card();
    pay(&town, &stays.enrolment, 500).expect(201);
    town.world.advance_to("2026-08-02T08:00:00Z");
    pay(&town, &stays.enrolment, 700).expect(201);
    leave(&town, &stays.enrolment, true);
    assert_eq!(paid(&town, &stays.enrolment), [(500, 1, 0), (700, 2, 700)]);
    town.world.verify();
}

fn what_the_pot_has_promised_to_others_is_paid_back_once_it_has_it_again(world: World) {
    let town = town(world, "20.00", contribution(500, 5000, false, "pot"), vec![(4000, 1)]);
    let first = town.new_card();
    let second = id(&town.enrol());
    // 40.00 of the agreement let the first in, and its 50.00 the second
    pay(&town, &first.enrolment, 5000).expect(201);
    assert_eq!(state(&town, &second), "active");
    leave(&town, &first.enrolment, true);
    assert_eq!(paid(&town, &first.enrolment), [(5000, 1, 1000)]);
    assert_eq!(figures(&town, ["refunded", "available"]), [1000, 0]);
    town.world.verify();
    pay(&town, &second, 1500).expect(201);
    leave(&town, &first.enrolment, true);
    assert_eq!(paid(&town, &first.enrolment), [(5000, 1, 2500)]);
    // each refund is told with its day
    let list = town.worker.get(&format!("/api/v1/enrolments/{}/contributions", first.enrolment)).expect(200);
    let refund = |amount: &str| json!({"amount": amount, "at": "2026-07-01T08:00:00Z"});
    assert_eq!(list["items"][0]["refunds"], json!([refund("10.00"), refund("15.00")]));
    town.world.verify();
}

fn an_export_lists_what_was_paid_in_and_paid_back(world: World) {
    let (town, card) = with_own_money(world);
    town.tills[0].redeem(&card.token, 7000).expect(201);
    town.world.advance_to("2026-07-31T22:00:00Z");
    let household = town.enrolment(&card.enrolment)["household_id"].as_str().unwrap().to_owned();
    let told = town.worker.get(&format!("/api/v1/households/{household}/export")).expect(200);
    let expected = json!([{
        "period": 1, "amount": "30.00", "goes_to": "household", "at": "2026-07-01T08:00:00Z",
        "refunds": [{"amount": "20.00", "at": "2026-07-31T22:00:00Z"}],
    }]);
    assert_eq!(told["enrolments"][0]["contributions"], expected);
}

fn a_pot_pays_after_every_agreement_and_its_month_adds_up(world: World) {
    // 30.00 of an agreement, then the pot; one signed later comes before the pot too
    let mut town = town(world, "20.00", contribution(500, 5000, false, "pot"), vec![(3000, 1)]);
    let first = id(&town.enrol());
    pay(&town, &first, 1500).expect(201);
    let card = town.card_for(&first);
    // 20.00 and 10.00 of the agreement, 10.00 of the pot's 15.00 for August
    assert_eq!(figures(&town, ["available", "committed"]), [500, 1000]);
    town.sign(4000, 1);
    let second = id(&town.enrol());
    assert_eq!((state(&town, &second), figures(&town, ["available"])), ("active".into(), [500]));
    town.world.advance_to("2026-08-05T08:00:00Z");
    town.tills[0].redeem(&card.token, 1300).expect(201);
    town.world.advance_to("2026-09-01T08:00:00Z");
    // of August's 20.00 the agreement's 10.00 went first, then 3.00 of the pot's
    assert_eq!(figures(&town, ["issued", "redeemed", "returned", "available"]), [1000, 300, 700, 1200]);
    let pot = id(&pot(&town));
    let month =
        |month: &str| town.manager.get(&format!("/api/v1/agreements/{pot}/reconciliations/{month}")).expect(200);
    let expected = |opening: &str, contributed: &str, committed: &str, returned: &str, closing: &str| {
        json!({"opening": opening, "granted": "0.00", "contributed": contributed, "pooled": "0.00", "committed": committed,
            "released": "0.00", "returned": returned, "refunded": "0.00", "closing": closing})
    };
    assert_eq!(month("2026-07")["available"], expected("0.00", "15.00", "10.00", "0.00", "5.00"));
    let august = month("2026-08");
    assert_eq!(august["available"], expected("5.00", "0.00", "0.00", "0.00", "5.00"));
    // the window closed with August's last second: what was left came back in September
    assert_eq!(month("2026-09")["available"], expected("5.00", "0.00", "0.00", "7.00", "12.00"));
    assert_eq!((&august["agreement"]["kind"], &august["payable"]["closing"]), (&json!("pot"), &json!("3.00")));
    assert_eq!((&august["lines"][0]["covered"], &august["lines"][0]["part"]), (&json!("13.00"), &json!("3.00")));
    let csv = String::from_utf8(
        town.manager.get(&format!("/api/v1/agreements/{pot}/reconciliations/2026-07?format=csv")).bytes,
    )
    .unwrap();
    assert!(csv.contains("available,contributed,,,,,,15.00,\n"), "{csv}");
    let csv = String::from_utf8(
        town.funders[0]
            .get(&format!("/api/v1/agreements/{}/reconciliations/2026-07?format=csv", town.agreements[0]))
            .bytes,
    )
    .unwrap();
    assert!(!csv.contains("contributed"), "a funder's file is what it was: {csv}");
    town.funders[0].get(&format!("/api/v1/agreements/{pot}")).refused(404, "not_found");
    town.world.verify();
}

fn new_rules_open_a_pot_once(world: World) {
    let setup = Setup { funding_rule: "priority", producers: 0, ..Setup::default() };
    let town = Town::with(world, setup);
    let before = town.enrol();
    let path = format!("/api/v1/programmes/{}/rules", town.programme);
    town.manager.put(&path, json!({"rules": with("20.00", contribution(500, 5000, false, "pot"))})).expect(200);
    let first = pot(&town);
    town.manager.put(&path, json!({"rules": with("30.00", contribution(500, 5000, false, "pot"))})).expect(200);
    assert_eq!(pot(&town)["id"], first["id"]);
    pay(&town, &id(&before), 500).refused(409, "no_contribution");
    let after = id(&town.enrol());
    pay(&town, &after, 500).expect(201);
    town.world.verify();
}

fn what_is_paid_in_keeps_to_the_bounds_of_its_period(world: World) {
    let town = town(world, "20.00", contribution(500, 5000, false, "pot"), vec![(100_000, 1)]);
    let enrolment = id(&town.enrol());
    is_out_of_bounds(pay(&town, &enrolment, 499));
    is_out_of_bounds(pay(&town, &enrolment, 0));
    pay(&town, &enrolment, 3000).expect(201);
    // what follows may be less than the least, as the whole is not
    pay(&town, &enrolment, 100).expect(201);
    is_out_of_bounds(pay(&town, &enrolment, 1901));
    pay(&town, &enrolment, 1900).expect(201);
    is_out_of_bounds(pay(&town, &enrolment, 1));
    town.world.set_clock("2026-07-31T21:59:59Z");
    is_out_of_bounds(pay(&town, &enrolment, 1));
    town.world.set_clock("2026-07-31T22:00:00Z");
    pay(&town, &enrolment, 500).expect(201);
    assert_eq!(paid(&town, &enrolment), [(3000, 1, 0), (100, 1, 0), (1900, 1, 0), (500, 2, 0)]);
    town.world.set_clock("2026-08-31T22:00:00Z");
    pay(&town, &enrolment, 500).refused(409, "contribution_too_late");
    town.world.advance_to("2026-08-31T22:00:00Z");
    pay(&town, &enrolment, 500).refused(409, "enrolment_state");
    town.world.verify();
}

fn a_contribution_is_taken_once_and_leaves_its_entry(world: World) {
    let town = town(world, "20.00", contribution(500, 5000, false, "pot"), vec![(100_000, 1)]);
    let enrolment = id(&town.enrol());
    let path = format!("/api/v1/enrolments/{enrolment}/contributions");
    let key = new_key();
    let send = |amount: &str| town.worker.post_with_key(&path, &key, json!({"amount": amount}));
    let first = send("5.00").expect(201);
    assert_eq!(send("5.00").expect(201), first);
    send("6.00").refused(409, "idempotency_conflict");
    assert_eq!(paid(&town, &enrolment), [(500, 1, 0)]);
    let log = town.administrator.get("/api/v1/audit?limit=1").expect(200);
    let entry = &log["items"][0];
    assert_eq!(
        (&entry["action"], &entry["subject"], &entry["detail"]),
        (&json!("contribution_paid"), &first["id"], &json!(enrolment))
    );
    // another structure's worker has no such enrolment
    let (_, stranger) = crate::support::town::newcomer(&town.world, &town.manager, "social_structure", "Autre CCAS");
    stranger.post_once(&path, json!({"amount": "5.00"})).refused(404, "not_found");
    stranger.get(&path).refused(404, "not_found");
}

/// Two months of 60.00, and 30.00 of one's own for July.
fn with_own_money(world: World) -> (Town, Card) {
    let town = town(world, "60.00", contribution(1000, 10_000, false, "household"), vec![(100_000, 1)]);
    let card = town.new_card();
    let paid = pay(&town, &card.enrolment, 3000).expect(201);
    assert_eq!((&paid["goes_to"], &paid["refunded"]), (&json!("household"), &json!("0.00")));
    assert!(paid["allowance_id"].is_string());
    (town, card)
}

const FLOWS: [&str; 6] = ["contributed", "refunded", "available", "issued", "redeemed", "returned"];

fn money_of_one_s_own_is_spent_last_and_paid_back_when_its_window_closes(world: World) {
    let (town, card) = with_own_money(world);
    assert_eq!(figures(&town, FLOWS), [3000, 0, 0, 3000, 0, 0]);
    // the programme's 60.00 of July go first, then 10.00 of its own
    town.tills[0].redeem(&card.token, 7000).expect(201);
    assert_eq!(town.balance(&card.enrolment), 2000);
    assert_eq!(figures(&town, ["redeemed"]), [1000]);
    // nobody else is let in by it
    town.world.verify();
    town.world.advance_to("2026-07-31T22:00:00Z");
    assert_eq!(paid(&town, &card.enrolment), [(3000, 1, 2000)]);
    assert_eq!(figures(&town, FLOWS), [3000, 2000, 0, 3000, 1000, 2000]);
    let pot = id(&pot(&town));
    let july = town.manager.get(&format!("/api/v1/agreements/{pot}/reconciliations/2026-08")).expect(200);
    assert_eq!((&july["available"]["returned"], &july["available"]["refunded"]), (&json!("20.00"), &json!("20.00")));
    assert_eq!(july["available"]["closing"], "0.00");
    town.tills[0].redeem(&card.token, 6001).refused(409, "insufficient_balance");
    town.world.verify();
}

fn who_leaves_is_paid_back_and_keeps_the_rest(world: World) {
    let (town, card) = with_own_money(world);
    town.tills[0].redeem(&card.token, 500).expect(201);
    let path = format!("/api/v1/enrolments/{}/leave", card.enrolment);
    town.worker.post(&path, json!({"return_issued": false})).expect(200);
    assert_eq!(paid(&town, &card.enrolment), [(3000, 1, 3000)]);
    town.tills[0].redeem(&card.token, 5501).refused(409, "insufficient_balance");
    town.tills[0].redeem(&card.token, 5500).expect(201);
    pay(&town, &card.enrolment, 1000).refused(409, "enrolment_state");
    town.world.verify();
}

fn a_basket_of_one_s_own_money_waits_on_for_who_has_left(world: World) {
    let mut rules = with("60.00", contribution(1000, 10_000, false, "household"));
    rules["hold_hours"] = json!(744);
    let setup = Setup { rules, funding_rule: "priority", agreements: vec![(100_000, 1)], ..Setup::default() };
    let town = Town::with(world, setup);
    let (card, till) = (town.new_card(), &town.tills[0]);
    pay(&town, &card.enrolment, 3000).expect(201);
    let sold = id(&till.redeem(&card.token, 6500).expect(201));
    let held = id(&till.hold(&card.token, 1000).expect(201));
    leave(&town, &card.enrolment, false);
    assert_eq!(paid(&town, &card.enrolment), [(3000, 1, 1500)]);
    // 5.00 of its own come back for seven days, or as long as the basket waits
    till.void(&sold).expect(200);
    town.world.verify();
    town.world.advance_to("2026-07-20T08:00:00Z");
    till.capture(&held).expect(201);
    town.world.verify();
    town.world.advance_to("2026-07-31T22:00:00Z");
    assert_eq!(paid(&town, &card.enrolment), [(3000, 1, 2000)]);
    town.world.verify();
}

fn a_late_void_of_one_s_own_money_is_paid_back_after_its_grace(world: World) {
    let (town, card) = with_own_money(world);
    town.world.set_clock("2026-07-31T21:30:00Z");
    let bought = town.tills[0].redeem(&card.token, 8000).expect(201);
    town.world.advance_to("2026-07-31T22:15:00Z");
    assert_eq!(paid(&town, &card.enrolment), [(3000, 1, 1000)]);
    town.tills[0].void(bought["id"].as_str().unwrap()).expect(200);
    // 60.00 and 20.00 of July come back for seven days, beside August's 60.00
    assert_eq!(town.balance(&card.enrolment), 14_000);
    town.world.verify();
    town.world.advance_to("2026-08-08T22:00:00Z");
    assert_eq!(paid(&town, &card.enrolment), [(3000, 1, 3000)]);
    town.world.verify();
}

fn money_that_waits_for_a_contribution_is_not_there_before_it(world: World) {
    let town = town(world, "60.00", contribution(1000, 2000, true, "pot"), vec![(100_000, 1)]);
    let (card, till) = (town.new_card(), &town.tills[0]);
    assert_eq!(town.world.advance_to("2026-07-01T08:00:00Z").issued, 0);
    assert_eq!(till.check(&card.token)["code"], "insufficient_balance");
    till.redeem(&card.token, 100).refused(409, "insufficient_balance");
    pay(&town, &card.enrolment, 1000).expect(201);
    till.redeem(&card.token, 6000).expect(201);
    // August's waits for its own contribution, and goes back when nobody has paid it
    assert_eq!(town.world.advance_to("2026-08-31T21:59:59Z").issued, 0);
    till.redeem(&card.token, 100).refused(409, "insufficient_balance");
    town.world.verify();
    town.world.advance_to("2026-08-31T22:00:00Z");
    let enrolment = town.enrolment(&card.enrolment);
    assert_eq!((&enrolment["allowances"][1]["state"], &enrolment["state"]), (&json!("released"), &json!("ended")));
    // 1 000.00 less July's 60.00, and the pot's 10.00
    assert_eq!(town.budget()["total"]["available"], "950.00");
    town.world.verify();
}

fn who_waits_and_has_paid_finds_the_first_period_open(world: World) {
    let town = town(world, "20.00", contribution(1000, 5000, true, "pot"), Vec::new());
    let enrolment = id(&town.enrol());
    pay(&town, &enrolment, 4000).expect(201);
    let card = town.card_for(&enrolment);
    town.tills[0].redeem(&card.token, 2000).expect(201);
    town.world.advance_to("2026-08-02T08:00:00Z");
    town.tills[0].redeem(&card.token, 2000).refused(409, "insufficient_balance");
    pay(&town, &enrolment, 1000).expect(201);
    town.tills[0].redeem(&card.token, 2000).expect(201);
    town.world.verify();
}

fn a_changed_contribution_is_named(world: World) {
    let (town, card) = with_own_money(world);
    town.tills[0].redeem(&card.token, 8000).expect(201);
    town.world.advance_to("2026-08-01T08:00:00Z");
    town.world.verify();
    tamper(&town.world, "UPDATE contributions SET amount_cents = amount_cents + 1");
    found(&town, "contributions", "is 30.01 but 30.00 was paid in");
    tamper(&town.world, "UPDATE contributions SET amount_cents = amount_cents - 1, period = 2");
    found(&town, "contributions", "is not what its household has of its own");
    tamper(&town.world, "UPDATE contributions SET period = 1, allowance_id = NULL");
    found(&town, "contributions", "goes elsewhere than the rules say");
    found(&town, "contributions", "was paid back 10.00 of the pot though its household has not left");
    tamper(&town.world, "UPDATE contributions SET amount_cents = 20000");
    found(&town, "enrolments", "has paid 200.00 for period 1");
    tamper(&town.world, "DELETE FROM contributions");
    found(&town, "allowances", "is a household's own, and no contribution has paid it in");
    found(&town, "transfers", "belong to a contribution");
    tamper(&town.world, "UPDATE allowances SET waits = NOT waits WHERE period = 2");
    found(&town, "allowances", "waits for a contribution");
    tamper(&town.world, "DELETE FROM transfers WHERE code = 'refund'");
    found(&town, "accounts", "but the journal says");
    found(&town, "agreements", "its available accounts hold");
}

fn a_contribution_to_the_pot_paid_back_to_who_stays_is_named(world: World) {
    let town = town(world, "20.00", contribution(500, 5000, false, "pot"), vec![(100_000, 1)]);
    let card = town.new_card();
    pay(&town, &card.enrolment, 600).expect(201);
    leave(&town, &card.enrolment, true);
    assert_eq!(paid(&town, &card.enrolment), [(600, 1, 600)]);
    town.world.verify();
    tamper(&town.world, "UPDATE enrolments SET state = 'active', left_at = NULL");
    found(&town, "contributions", "was paid back 6.00 of the pot though its household has not left");
}
