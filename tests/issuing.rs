//! A month issued for hundreds of households together: each gets what it would get alone.

use primeur::access::Actor;
use primeur::enrolment::{self, NewEnrolment};
use primeur::household::{self, Composition};
use primeur::schedule::{self, Done};
use serde_json::json;

use crate::sessions::actor;
use crate::support::sql::Sql;
use crate::support::town::{Setup, Till, rules};
use crate::support::{Card, Town, World, euros, id, on_both_databases};

on_both_databases!(
    a_month_issued_for_hundreds_together_gives_each_what_it_would_get_alone_and_keeps_back_only_who_cannot_be_issued,
);

/// More than are issued in one transaction.
const MANY: usize = 520;

/// 60.00 a month for three months, half as much again of what is organic, until a month later, out of two agreements.
fn with_bonus() -> Setup {
    let mut rules = rules("60.00", "none");
    rules["period"]["count"] = json!(3);
    rules["bonus"] = json!({"percent": 50, "labels": ["organic"], "cap_percent": 50, "spendable_days": 31});
    Setup { rules, agreements: vec![(20_000_000, 1), (20_000_000, 2)], producers: 1, ..Setup::default() }
}

/// The same months, each after a contribution to the pot.
fn with_contribution() -> Setup {
    let mut rules = rules("60.00", "none");
    rules["period"]["count"] = json!(3);
    rules["contribution"] = json!({"minimum": "10.00", "maximum": "20.00", "required": true, "goes_to": "pot"});
    Setup { rules, funding_rule: "priority", agreements: vec![(20_000_000, 1)], producers: 0, ..Setup::default() }
}

/// Households as the API would enrol them, without its requests.
fn enrol(town: &Town, many: usize) {
    let worker: Actor = actor(&town.world, &town.worker);
    let (state, programme) = (&town.world.state, town.programme.parse().unwrap());
    let composition = Composition { adults: 1, children: 0, commune: "62427".parse().unwrap() };
    let enrolled = state.db.write(|conn, now| {
        for _ in 0..many {
            let household =
                household::register(conn, now, &state.keys.now(), &worker, &composition, None)?.household.id;
            let new = NewEnrolment { household, programme, starts_on: None, band: None };
            assert_eq!(enrolment::enrol(conn, now, &worker, &new)?.state, enrolment::State::Active);
        }
        Ok(())
    });
    enrolled.unwrap();
}

fn buy_organic(till: &Till, card: &Card, amount: i64) {
    let mut basket = till.basket(&card.token, amount, false);
    basket["lines"] = json!([{"category": "other_food", "labels": ["organic"], "amount": euros(amount)}]);
    till.client.post_once("/api/v1/redemptions", basket).expect(201);
}

/// How many allowances of each purse and period are in each state, with what they hold in cents: `main 1 issued 520 3120000`.
fn states(world: &World) -> Vec<String> {
    Sql::of(world).lines(
        "SELECT a.purse || ' ' || a.period || ' ' || a.state || ' ' || count(DISTINCT a.id) || ' ' || coalesce(sum(c.balance_cents), 0) \
           AS line
         FROM allowances a JOIN allowance_parts p ON p.allowance_id = a.id LEFT JOIN accounts c ON c.id = p.id
         GROUP BY a.purse, a.period, a.state ORDER BY 1",
    )
}

/// Lets no period of the household that was enrolled last be issued any more.
const PLANTED: [&str; 2] = [
    "CREATE TRIGGER planted BEFORE UPDATE ON allowances
     WHEN NEW.state = 'issued' AND NEW.enrolment_id = (SELECT max(id) FROM enrolments)
     BEGIN SELECT RAISE(ABORT, 'planted'); END",
    "CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       IF NEW.state = 'issued' AND NEW.enrolment_id = (SELECT id FROM enrolments ORDER BY id DESC LIMIT 1) THEN
         RAISE EXCEPTION 'planted'; END IF;
       RETURN NEW;
     END $$;
     CREATE TRIGGER planted BEFORE UPDATE ON allowances FOR EACH ROW EXECUTE FUNCTION plant()",
];
const TAKEN_OUT: [&str; 2] = ["DROP TRIGGER planted", "DROP TRIGGER planted ON allowances"];

fn a_month_issued_for_hundreds_together_gives_each_what_it_would_get_alone_and_keeps_back_only_who_cannot_be_issued(
    world: World,
) {
    // in July: three who buy, and earn, and of whom one comes again in August; and all the others, who never come
    let town = Town::with(world, with_bonus());
    let till = town.tills[0].clone();
    let buyers: Vec<Card> = (0..3).map(|_| town.new_card()).collect();
    enrol(&town, MANY);
    buyers.iter().for_each(|card| buy_organic(&till, card, 2000));
    // beside them eight whose every month waits for a contribution, and of whom three pay July's
    let Town { world, administrator, .. } = town;
    let waiting = Town::among(world, administrator, with_contribution());
    let theirs: Vec<String> = (0..8).map(|_| id(&waiting.enrol())).collect();
    let pay = |enrolment: &String| {
        let path = format!("/api/v1/enrolments/{enrolment}/contributions");
        waiting.worker.post_once(&path, json!({"amount": "10.00"})).expect(201);
    };
    theirs[..3].iter().for_each(pay);
    waiting.world.set_clock("2026-08-05T08:00:00Z");
    till.redeem(&buyers[0].token, 1000).expect(201);
    // and in September five others; nobody has issued anything until then
    waiting.world.set_clock("2026-09-10T08:00:00Z");
    theirs[3..].iter().for_each(pay);
    let world = &waiting.world;
    let expected = [
        // the one who came again has been granted 10.00, and has spent them
        "bonus 1 committed 522 0",
        "bonus 1 issued 1 0",
        "bonus 2 committed 523 0",
        "bonus 3 committed 523 0",
        "main 1 committed 528 0",
        "main 1 issued 3 12000",
        "main 2 committed 530 0",
        "main 2 issued 1 6000",
        "main 3 committed 531 0",
    ];
    assert_eq!(states(world), expected);

    let on = usize::from(matches!(Sql::of(world), Sql::Postgresql(_)));
    Sql::of(world).run(PLANTED[on]).unwrap();
    let done = schedule::run(&world.state.db).unwrap();
    // two parts of each of what was issued before
    assert_eq!(done, Done { issued: 523 + 5 - 1, closed: 2 * (3 + 1 + 1), ..Done::default() });
    // of the one nothing is written, of whatever month; beside it three have not paid for September
    let of_main = [
        "main 1 committed 1 0",
        "main 1 issued 3 0",
        "main 1 released 527 0",
        "main 2 committed 1 0",
        "main 2 issued 1 0",
        "main 2 released 529 0",
        "main 3 committed 4 0",
        "main 3 issued 527 3162000",
    ];
    let of_bonus =
        ["bonus 1 issued 1 0", "bonus 1 released 522 0", "bonus 2 committed 523 0", "bonus 3 committed 523 0"];
    assert_eq!(states(world), [&of_bonus[..], &of_main].concat());
    world.verify();

    Sql::of(world).run(TAKEN_OUT[on]).unwrap();
    assert_eq!(schedule::run(&world.state.db), Ok(Done { issued: 1, ..Done::default() }));
    let of_main = [
        "main 1 issued 3 0",
        "main 1 released 528 0",
        "main 2 issued 1 0",
        "main 2 released 530 0",
        "main 3 committed 3 0",
        "main 3 issued 528 3168000",
    ];
    assert_eq!(states(world), [&of_bonus[..], &of_main].concat());
    assert_eq!(schedule::run(&world.state.db), Ok(Done::default()));
    world.verify();
}

#[test]
fn a_household_that_the_database_always_puts_off_keeps_back_nobody_else() {
    let town = Town::new(World::on_postgresql());
    enrol(&town, 12);
    let put_off =
        PLANTED[1].replace("EXCEPTION 'planted'", "EXCEPTION 'planted' USING ERRCODE = 'serialization_failure'");
    Sql::of(&town.world).run(&put_off).unwrap();
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done { issued: 11, ..Done::default() }));
    Sql::of(&town.world).run(TAKEN_OUT[1]).unwrap();
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done { issued: 1, ..Done::default() }));
    town.world.verify();
}
