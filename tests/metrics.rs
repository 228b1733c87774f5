//! What Prometheus is told: true counts, nothing of anybody, and an answer even when the database gives none.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant as Stopwatch};

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use primeur::app;
use primeur::http::State;
use primeur::kit::error::Code;
use primeur::routes::ROUTES;
use serde_json::json;

use crate::support::openmetrics::Scrape;
use crate::support::town::Setup;
use crate::support::{Process, Town, World, on_both_databases, process};
use crate::{bonus, contribution};

on_both_databases!(
    requests_and_refusals_are_counted_one_by_one,
    no_label_tells_who_or_which,
    what_is_late_is_told_in_seconds,
    a_bonus_that_nobody_has_earned_is_late_from_its_end_on,
    a_period_that_waits_for_its_contribution_is_late_from_its_end_on,
    a_database_that_does_not_answer_leaves_the_rest,
);

/// The metrics of a world, on an address of their own.
pub struct Watch {
    address: String,
    server: ServerHandle,
}

impl Watch {
    pub fn over(state: &State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (state, (give, take)) = (state.clone(), mpsc::channel());
        std::thread::spawn(move || {
            System::new().block_on(async move {
                let server = app::metrics_server(state, listener).unwrap();
                give.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Watch { address, server: take.recv().unwrap() }
    }

    #[track_caller]
    pub fn scrape(&self) -> Scrape {
        scrape(&self.address)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

#[track_caller]
fn scrape(address: &str) -> Scrape {
    let mut answer = ureq::get(format!("http://{address}/metrics")).call().unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    Scrape::read(&answer.body_mut().read_to_string().unwrap())
}

fn requests_and_refusals_are_counted_one_by_one(world: World) {
    let watch = Watch::over(&world.state);
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    let before = watch.scrape();
    for _ in 0..3 {
        till.redeem(&card.token, 100).expect(201);
    }
    for _ in 0..2 {
        till.redeem(&card.token, 600_000).refused(409, "insufficient_balance");
    }
    till.redeem("inconnue", 100).refused(409, "unknown_voucher");
    town.world.anybody().get("/api/v1/people").refused(401, "unauthenticated");
    town.world.anybody().get("/nulle-part").refused(404, "not_found");
    till.client.get("/api/v1/redemptions").expect(200);
    let after = watch.scrape();

    let more = |name: &str, labels: &[(&str, &str)]| after.value(name, labels) - before.value(name, labels);
    let redeem = [("method", "POST"), ("route", "/api/v1/redemptions")];
    let answered = |status| more("primeur_requests_total", &[redeem[0], redeem[1], ("status", status)]);
    assert_eq!((answered("201"), answered("409")), (3.0, 3.0));
    assert_eq!(more("primeur_request_duration_seconds_count", &redeem), 6.0);
    let spent = more("primeur_request_duration_seconds_sum", &redeem);
    assert!(spent > 0.0 && spent < 60.0, "{spent} s");
    let people = [("method", "GET"), ("route", "/api/v1/people"), ("status", "401")];
    assert_eq!(more("primeur_requests_total", &people), 1.0);
    let nowhere = [("method", "GET"), ("route", "other"), ("status", "404")];
    assert_eq!(more("primeur_requests_total", &nowhere), 1.0);

    let refused = |code| more("primeur_refusals_total", &[("code", code)]);
    assert_eq!((refused("insufficient_balance"), refused("unauthenticated"), refused("not_found")), (2.0, 1.0, 1.0));
    let all = |scrape: &Scrape, name: &str| -> f64 {
        scrape.series.iter().filter(|((found, _), _)| found == name).map(|(_, value)| value).sum()
    };
    assert_eq!(all(&after, "primeur_requests_total") - all(&before, "primeur_requests_total"), 9.0);
    assert_eq!(all(&after, "primeur_refusals_total") - all(&before, "primeur_refusals_total"), 5.0);
    assert_eq!(after.value("primeur_requests_in_flight", &[]), 0.0);
    // codes that nobody has met yet are there, at none
    assert_eq!(after.values_of("code"), Code::ALL.iter().map(|code| code.as_str()).collect::<BTreeSet<_>>());
}

fn no_label_tells_who_or_which(world: World) {
    let watch = Watch::over(&world.state);
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    let sold = till.redeem(&card.token, 100).expect(201)["id"].as_str().unwrap().to_owned();
    let enrolment = town.enrolment(&card.enrolment);
    till.client.get(&format!("/api/v1/redemptions/{sold}")).expect(200);
    let raw = |method: &str, path: &str| {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", town.world.address()));
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true).build().into();
        agent.run(request.body(()).unwrap()).unwrap().status()
    };
    assert_eq!(raw("BREW", "/api/v1/redemptions").as_u16(), 405);
    assert_eq!(raw("GET", &format!("/api/v1/inconnu/{sold}")).as_u16(), 404);
    assert_eq!(raw("GET", &format!("/api/v1/enrolments/{}?secret=jeton", card.enrolment)).as_u16(), 401);

    let scrape = watch.scrape();
    let known = |label: &str, allowed: BTreeSet<&str>| {
        let found = scrape.values_of(label);
        assert!(found.is_subset(&allowed), "{label}: {:?}", found.difference(&allowed));
    };
    let mut routes: BTreeSet<&str> = ROUTES.iter().map(|(_, path)| *path).collect();
    routes.insert("other");
    known("route", routes);
    known("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "other"].into());
    known("state", ["in_use", "idle"].into());
    known("kind", ["sqlite", "postgresql"].into());
    assert!(scrape.values_of("status").iter().all(|status| status.len() == 3));
    assert_eq!(
        scrape.labels(),
        ["code", "kind", "le", "method", "route", "state", "status", "version", "what"].into(),
        "a new label: is it bounded, and of nobody?"
    );
    let household = enrolment["household_id"].as_str().unwrap();
    let token = till.client.token.as_deref().unwrap();
    for told in
        [&*card.id, &card.enrolment, &card.token, &card.code, &sold, household, token, "inconnu", "jeton", "BREW", "@"]
    {
        assert!(!scrape.text.contains(told), "{told} in {}", scrape.text);
    }
}

fn what_is_late_is_told_in_seconds(world: World) {
    let watch = Watch::over(&world.state);
    let town = Town::with(world, Setup::setting_aside());
    let card = town.new_card();
    let lag = |what: &str| watch.scrape().value("primeur_ledger_lag_seconds", &[("what", what)]);
    primeur::schedule::run(&town.world.state.db).unwrap();
    assert_eq!((lag("issue"), lag("close")), (0.0, 0.0));
    // August begins at 22:00 UTC, and nobody has issued it nor closed July
    town.world.set_clock("2026-07-31T23:30:00Z");
    assert_eq!((lag("issue"), lag("close")), (5400.0, 5400.0));
    town.tills[0].redeem(&card.token, 100).expect(201);
    assert_eq!((lag("issue"), lag("close")), (0.0, 5400.0), "the first purchase issues what it needs");
    primeur::schedule::run(&town.world.state.db).unwrap();
    assert_eq!((lag("issue"), lag("close")), (0.0, 0.0));
    // a basket that nobody fetches for two days, and an hour more
    town.tills[0].hold(&card.token, 100).expect(201);
    town.world.set_clock("2026-08-03T00:30:00Z");
    assert_eq!(lag("free"), 3600.0);
    primeur::schedule::run(&town.world.state.db).unwrap();
    assert_eq!(lag("free"), 0.0);

    let scrape = watch.scrape();
    assert!(scrape.has("primeur_database_info") && scrape.has("primeur_build_info"));
    let kind = town.world.state.db.kind();
    assert_eq!(scrape.values_of("kind"), [kind].into());
    let head = town.world.state.db.read(primeur::audit::head).unwrap();
    assert_eq!(scrape.value("primeur_audit_head_sequence", &[]), head as f64);
    assert!(scrape.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(scrape.value("process_start_time_seconds", &[]) > 1.7e9);
}

fn a_bonus_that_nobody_has_earned_is_late_from_its_end_on(world: World) {
    // July's may be spent until the end of August
    is_late_from_its_end_on(&bonus::town(world, 50, Setup::default()), "2026-08-15T00:00:00Z", "2026-08-31T23:00:00Z");
}

fn a_period_that_waits_for_its_contribution_is_late_from_its_end_on(world: World) {
    let required = contribution::contribution(1000, 2000, true, "pot");
    let town = contribution::town(world, "60.00", required, vec![(100_000, 1)]);
    is_late_from_its_end_on(&town, "2026-07-15T00:00:00Z", "2026-07-31T23:00:00Z");
}

/// Of what a new card's household has and nobody issues: at a moment before it closes, and an hour after that.
#[track_caller]
fn is_late_from_its_end_on(town: &Town, before: &str, an_hour_late: &str) {
    let watch = Watch::over(&town.world.state);
    let lag = || watch.scrape().value("primeur_ledger_lag_seconds", &[("what", "issue")]);
    town.new_card();
    town.world.set_clock(before);
    primeur::schedule::run(&town.world.state.db).unwrap();
    assert_eq!(lag(), 0.0);
    town.world.set_clock(an_hour_late);
    assert_eq!(lag(), 3600.0);
    primeur::schedule::run(&town.world.state.db).unwrap();
    assert_eq!(lag(), 0.0);
}

fn a_database_that_does_not_answer_leaves_the_rest(world: World) {
    let watch = Watch::over(&world.state);
    let calm = watch.scrape();
    assert_eq!(calm.value("primeur_database_up", &[]), 1.0);
    let max = calm.value("primeur_database_connections_max", &[]);
    assert_eq!(max, 8.0);

    // somebody holds every connection
    let db = &world.state.db;
    let (busy, waits) = std::thread::scope(|scope| {
        let (held, holds) = mpsc::channel();
        let mut ends = Vec::new();
        for _ in 0..8 {
            let (end, ended) = mpsc::channel::<()>();
            ends.push(end);
            let held = held.clone();
            scope.spawn(move || {
                db.read(|_| {
                    held.send(()).unwrap();
                    let _ = ended.recv();
                    Ok(())
                })
                .unwrap();
            });
        }
        (0..8).for_each(|_| holds.recv().unwrap());
        let asked = Stopwatch::now();
        let busy = watch.scrape();
        assert!(asked.elapsed() < Duration::from_secs(8), "a scrape waited for the database: {:?}", asked.elapsed());
        drop(ends);
        (busy, db.figures().waits)
    });
    assert_eq!(busy.value("primeur_database_up", &[]), 0.0);
    let connections = |state| busy.value("primeur_database_connections", &[("state", state)]);
    assert_eq!((connections("in_use"), connections("idle")), (max, 0.0));
    assert_eq!(busy.value("primeur_database_connections_awaited", &[]), 1.0, "the scrape itself");
    assert!(waits > 0);
    assert!(!busy.has("primeur_ledger_lag_seconds") && busy.has("primeur_refusals_total"));
    assert_eq!(watch.scrape().value("primeur_database_up", &[]), 1.0);
}

#[test]
fn the_service_serves_its_metrics_on_their_own_address_and_only_there() {
    let mut process = Process::on_sqlite();
    let free = process::address();
    process.settings.push(("PRIMEUR__METRICS__LISTEN", free.clone()));
    process.serve();
    let world = World::served_by(&process);
    for _ in 0..7 {
        world.anybody().get("/api/v1/people").refused(401, "unauthenticated");
    }
    world.anybody().post("/api/v1/access/login", json!({"email": "a@primeur.example"})).refused(422, "invalid_request");
    world.anybody().get("/metrics").refused(404, "not_found");
    // the first look may still be under way
    let scrape = (0..600)
        .map(|_| scrape(&free))
        .find(|scrape| {
            std::thread::sleep(Duration::from_millis(50));
            scrape.value("primeur_scheduler_duration_seconds_count", &[]) >= 1.0
        })
        .expect("the scheduler has looked");
    let people = [("method", "GET"), ("route", "/api/v1/people"), ("status", "401")];
    assert_eq!(scrape.value("primeur_requests_total", &people), 7.0);
    assert_eq!(scrape.value("primeur_refusals_total", &[("code", "unauthenticated")]), 7.0);
    let looked = scrape.value("primeur_scheduler_last_success_timestamp_seconds", &[]);
    let now = world.state.db.now().as_second() as f64;
    assert!((now - 120.0..=now + 1.0).contains(&looked), "{looked}");
    assert_eq!(scrape.value("primeur_scheduler_failures_total", &[]), 0.0);
    assert_eq!(scrape.values_of("what").len(), 10, "{:?}", scrape.values_of("what"));

    let mut child = process.child.take().unwrap();
    let stopped = std::process::Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(std::net::TcpStream::connect(&free).is_err(), "the metrics outlive the service");

    // off unless asked for
    process.settings.clear();
    process.serve();
    assert!(std::net::TcpStream::connect(&free).is_err());
}
