//! What was answered survives `kill -9`, of the service and of its database, and every retry gets its first answer.
//!
//! A few rounds of a few clients here; `scripts/drills/crash` runs 50 on each database, of 64 clients, and prints what they
//! met.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use primeur::kit::keys::random;
use serde_json::{Value, json};

use crate::support::client::new_key;
use crate::support::cluster::Cluster;
use crate::support::town::{Setup, Till, card, rules};
use crate::support::{Answer, Card, Client, Process, Town, World, cents};

/// Buyers, sellers who set baskets aside, and desks that work at once, where nobody asks for more.
const CLIENTS: usize = 8;

/// What a household is promised in all, in cents: six months of more than the longest drill spends.
const PROMISED: i64 = 6 * 500_000;

/// What is killed in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    Service,
    /// Every process of the database's server; the service goes on, and must find it again by itself.
    Database,
    /// The same by PostgreSQL's own emergency stop.
    DatabaseByItself,
    Both,
}

#[test]
fn what_was_answered_survives_kills_of_the_service_and_every_retry_gets_its_first_answer_on_sqlite() {
    let process = Process::on_sqlite();
    survives(process, None, rounds(3), &[Kill::Service]);
}

#[test]
fn what_was_answered_survives_kills_of_service_and_database_and_every_retry_gets_its_first_answer_on_postgresql() {
    let cluster = Cluster::start();
    let process = Process::on(cluster.new_database());
    let kills = [Kill::Database, Kill::Service, Kill::Both, Kill::DatabaseByItself];
    survives(process, Some(cluster), rounds(4), &kills);
}

fn rounds(few: usize) -> usize {
    asked("ROUNDS", few)
}

fn clients() -> usize {
    asked("CLIENTS", CLIENTS)
}

/// A number that whoever runs this may set.
fn asked(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// One request that changes something, and its first answer if one arrived.
struct Sent {
    client: Client,
    path: String,
    /// None where a repeat is harmless by itself, as a void, or a basket that is given up.
    key: Option<String>,
    body: Option<Value>,
    answer: Option<Answer>,
    /// It was under way when something was killed.
    cut_off: bool,
}

impl Sent {
    fn send(client: &Client, path: String, key: Option<String>, body: Option<Value>) -> Self {
        let mut sent = Sent { client: client.clone(), path, key, body, answer: None, cut_off: false };
        sent.answer = sent.again();
        sent
    }

    /// The same request; none where no answer came, or one that says that none can be given now.
    fn again(&self) -> Option<Answer> {
        let headers: Vec<(&str, &str)> = self.key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
        let answer = self.client.try_send("POST", &self.path, &headers, self.body.as_ref())?;
        match answer.status {
            503 => None,
            200 | 201 | 204 => Some(answer),
            409 if REFUSALS.iter().any(|code| answer.json()["code"] == *code) => Some(answer),
            status => panic!("{} was answered {status}: {}", self.path, answer.json()),
        }
    }
}

/// What may happen to an honest client here, since others use the same cards.
const REFUSALS: [&str; 3] = ["voucher_replaced", "voucher_state", "insufficient_balance"];

fn done(answer: &Answer) -> bool {
    matches!(answer.status, 200 | 201 | 204)
}

/// What the clients know to be in the books.
#[derive(Default)]
struct Known {
    /// By id, as it was last answered.
    redemptions: BTreeMap<String, Value>,
    /// Baskets set aside, as they are now.
    holds: BTreeMap<String, &'static str>,
    enrolments: BTreeSet<String>,
    vouchers: BTreeSet<String>,
}

impl Known {
    fn learn(&mut self, path: &str, answer: &Answer) {
        if let Some(hold) = path.strip_prefix("/api/v1/holds/").and_then(|rest| rest.strip_suffix("/release")) {
            self.holds.insert(hold.to_owned(), "released");
            return;
        }
        let (told, id) = (answer.json(), answer.json()["id"].as_str().unwrap().to_owned());
        if let Some(hold) = told["hold_id"].as_str() {
            self.holds.insert(hold.to_owned(), "captured");
        }
        if path == "/api/v1/holds" {
            self.holds.entry(id).or_insert("held");
        } else if path.starts_with("/api/v1/redemptions") || path.ends_with("/capture") {
            // an answer that is older than the void it is told after does not undo it
            let known = self.redemptions.entry(id).or_insert_with(|| told.clone());
            if known["voided"].is_null() {
                *known = told;
            }
        } else if path == "/api/v1/enrolments" {
            self.enrolments.insert(id);
        } else {
            self.vouchers.insert(id);
        }
    }
}

/// What a whole drill met, for whoever runs it by hand.
#[derive(Default)]
struct Figures {
    rounds: usize,
    requests: usize,
    answered: usize,
    created: usize,
    /// Rounds whose kill fell into requests under way, and how many of them.
    rounds_cut: usize,
    cut_off: usize,
    first_answers: usize,
    done_unseen: usize,
    done_by_the_retry: usize,
    refused_by_the_retry: usize,
}

impl Figures {
    fn print(&self, kills: &[Kill], took: Duration) {
        let Figures { rounds, requests, answered, created, rounds_cut, cut_off, .. } = self;
        println!("{rounds} rounds of {kills:?} in {:.0} s", took.as_secs_f64());
        println!("  {requests} requests that change something, {answered} answered, {created} of them 201");
        println!("  {rounds_cut} kills fell into requests under way, {cut_off} of which got no answer");
        println!("  {} retries got their first answer again, byte by byte", self.first_answers);
        println!(
            "  without a first answer: {} done unseen, {} done by the retry, {} refused by then",
            self.done_unseen, self.done_by_the_retry, self.refused_by_the_retry
        );
    }
}

fn survives(mut process: Process, mut cluster: Option<Cluster>, rounds: usize, kills: &[Kill]) {
    // a drill is longer than the ten minutes of a token
    process.settings = vec![("PRIMEUR__ACCESS__ACCESS_MINUTES", "60".to_owned())];
    process.serve();
    let town = Town::with(World::served_by(&process), setup());
    let tills = tills(&town);
    let cards: RwLock<Vec<Card>> = RwLock::new((0..cards_for(clients())).map(|_| town.new_card()).collect());
    let (mut known, baskets) = (Known::default(), Mutex::default());
    for card in &*cards.read().unwrap() {
        known.enrolments.insert(card.enrolment.clone());
        known.vouchers.insert(card.id.clone());
    }
    let (mut figures, begun) = (Figures { rounds, ..Figures::default() }, Instant::now());
    for kill in kills.iter().cycle().take(rounds) {
        let sent = day_until_killed(&mut process, &mut cluster, *kill, &town, &tills, &cards, &baskets);
        retry(&sent, &cards, &mut known, &mut figures);
        compare(&town, &tills, &known);
        town.world.verify();
        println!("{kill:?}: {} requests so far, {:.0} s", figures.requests, begun.elapsed().as_secs_f64());
    }
    assert!(figures.created > rounds);
    figures.print(kills, begun.elapsed());
    let of = |state: &str| known.holds.values().filter(|known| **known == state).count();
    println!("  baskets set aside: {} wait, {} fetched, {} given up", of("held"), of("captured"), of("released"));
    // a few rounds may be short
    assert!(rounds < 10 || of("captured") > rounds, "few baskets were fetched");
}

/// Fewer than there are clients, so that they meet.
fn cards_for(clients: usize) -> usize {
    (clients * 3 / 4).max(1)
}

/// Enough money for the longest drill.
fn setup() -> Setup {
    let mut rules = rules("5000.00", "none");
    rules["hold_hours"] = json!(48);
    Setup { rules, agreements: vec![(5_000_000_000, 1), (5_000_000_000, 1)], ..Setup::of_this_year() }
}

/// Two stalls of each producer.
fn tills(town: &Town) -> Vec<Till> {
    let mut tills = town.tills.clone();
    for till in &town.tills {
        tills.push(Till { stall: town.open_stall(&till.client, "Halle"), ..till.clone() });
    }
    tills
}

/// Clients work until some requests were answered; then it strikes, at a moment that nobody chose, and what was killed
/// comes back.
fn day_until_killed(
    process: &mut Process,
    cluster: &mut Option<Cluster>,
    kill: Kill,
    town: &Town,
    tills: &[Till],
    cards: &RwLock<Vec<Card>>,
    baskets: &Mutex<Vec<(Till, String)>>,
) -> Vec<Sent> {
    let (answered, over, struck) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let day = Day { town, tills, cards, baskets, answered: &answered, over: &over, struck: &struck };
    let enough = 5 + usize::from(random::<1>()[0]) / 3;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients()).map(|_| scope.spawn(|| day.work())).collect();
        // bounded: a client that fails ends the wait too
        while answered.load(Ordering::SeqCst) < enough && !clients.iter().all(|client| client.is_finished()) {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(u64::from(random::<1>()[0]) * 40));
        *struck.lock().unwrap() = Some(Instant::now());
        if matches!(kill, Kill::Service | Kill::Both) {
            process.kill();
        }
        match (&mut *cluster, kill) {
            (Some(cluster), Kill::Database | Kill::Both) => cluster.kill(),
            (Some(cluster), Kill::DatabaseByItself) => cluster.stop("QUIT"),
            _ => {}
        }
        over.store(true, Ordering::SeqCst);
        restart(process, cluster, kill);
        let join = |client: std::thread::ScopedJoinHandle<Vec<Sent>>| {
            client.join().unwrap_or_else(|_| panic!("a client failed; the service says: {}", causes(process)))
        };
        clients.into_iter().flat_map(join).collect()
    })
}

/// What the service holds to be its own failures.
fn causes(process: &Process) -> String {
    let log = std::fs::read_to_string(process.log()).unwrap();
    log.lines().filter(|line| line.contains("\"failed\"")).collect::<Vec<_>>().join("\n")
}

fn restart(process: &mut Process, cluster: &mut Option<Cluster>, kill: Kill) {
    if let Some(cluster) = cluster.as_mut().filter(|_| kill != Kill::Service) {
        cluster.run();
    }
    match kill {
        Kill::Service | Kill::Both => process.serve(),
        Kill::Database | Kill::DatabaseByItself => process.wait_until_ready(),
    }
}

struct Day<'a> {
    town: &'a Town,
    tills: &'a [Till],
    cards: &'a RwLock<Vec<Card>>,
    /// Set aside, and known to be.
    baskets: &'a Mutex<Vec<(Till, String)>>,
    answered: &'a AtomicUsize,
    over: &'a AtomicBool,
    /// When the kill began.
    struck: &'a Mutex<Option<Instant>>,
}

impl Day<'_> {
    /// One client's day: it ends with the first request that gets no answer.
    fn work(&self) -> Vec<Sent> {
        let (mut all, mut sold): (Vec<Sent>, Vec<(Till, String)>) = (Vec::new(), Vec::new());
        while !self.over.load(Ordering::SeqCst) {
            let [choice, which, a, b] = random::<4>().map(usize::from);
            let till = &self.tills[which % self.tills.len()];
            let mut seller = till.clone();
            let held = self.a_card(a * 256 + b);
            let begun = Instant::now();
            let mut sent = match choice {
                0..90 => {
                    let basket = till.basket(&held.token, (a * 256 + b) as i64 % 999 + 1, false);
                    Sent::send(&till.client, "/api/v1/redemptions".to_owned(), Some(new_key()), Some(basket))
                }
                90..130 => {
                    let basket = till.basket(&held.token, (a * 256 + b) as i64 % 999 + 1, false);
                    Sent::send(&till.client, "/api/v1/holds".to_owned(), Some(new_key()), Some(basket))
                }
                130..175 => {
                    let Some((till, id)) = self.a_basket(a) else { continue };
                    seller = till;
                    match choice {
                        ..165 => {
                            Sent::send(&seller.client, format!("/api/v1/holds/{id}/capture"), Some(new_key()), None)
                        }
                        _ => Sent::send(&seller.client, format!("/api/v1/holds/{id}/release"), None, None),
                    }
                }
                175..195 if !sold.is_empty() => {
                    let (till, id) = sold.swap_remove(a % sold.len());
                    let reason = Some(json!({"reason": "rendu"}));
                    Sent::send(&till.client, format!("/api/v1/redemptions/{id}/void"), None, reason)
                }
                175..215 => {
                    let check = json!({"voucher": held.token, "stall_id": till.stall});
                    match till.client.try_send("POST", "/api/v1/vouchers/check", &[], Some(&check)) {
                        Some(answer) if answer.status == 200 => continue,
                        Some(answer) if answer.status != 503 => panic!("{}: {}", answer.status, answer.json()),
                        _ => break,
                    }
                }
                215..245 => {
                    let path = format!("/api/v1/vouchers/{}/replace", held.id);
                    Sent::send(&self.town.worker, path, Some(new_key()), None)
                }
                _ => match self.arrival(&mut all) {
                    Some(sent) => sent,
                    None => break,
                },
            };
            let Some(answer) = &sent.answer else {
                sent.cut_off = self.struck.lock().unwrap().is_none_or(|struck| begun < struck);
                all.push(sent);
                break;
            };
            self.answered.fetch_add(1, Ordering::SeqCst);
            let place = || (seller.clone(), answer.json()["id"].as_str().unwrap().to_owned());
            if done(answer) && sent.path == "/api/v1/holds" {
                self.baskets.lock().unwrap().push(place());
            } else if done(answer) && (sent.path == "/api/v1/redemptions" || sent.path.ends_with("/capture")) {
                sold.push(place());
            } else if done(answer) && sent.path.starts_with("/api/v1/vouchers") {
                hand_over(self.cards, card(&answer.json()));
            }
            all.push(sent);
        }
        all
    }

    /// A household comes, is enrolled, and waits for its card: the last request of the three, if it gets that far.
    fn arrival(&self, all: &mut Vec<Sent>) -> Option<Sent> {
        let household = json!({"adults": 1, "children": 0, "commune": "62427"});
        let added = self.town.worker.try_send("POST", "/api/v1/households", &[], Some(&household))?;
        if added.status == 503 {
            return None;
        }
        let household = added.expect(201)["id"].clone();
        let body = json!({"household_id": household, "programme_id": self.town.programme});
        let enrolled = Sent::send(&self.town.worker, "/api/v1/enrolments".to_owned(), Some(new_key()), Some(body));
        let Some(answer) = enrolled.answer.clone() else { return Some(enrolled) };
        all.push(enrolled);
        let body = json!({"enrolment_id": answer.expect(201)["id"]});
        Some(Sent::send(&self.town.worker, "/api/v1/vouchers".to_owned(), Some(new_key()), Some(body)))
    }

    /// One that waits, for whoever asks first.
    fn a_basket(&self, which: usize) -> Option<(Till, String)> {
        let mut baskets = self.baskets.lock().unwrap();
        let count = baskets.len();
        (count > 0).then(|| baskets.swap_remove(which % count))
    }

    fn a_card(&self, which: usize) -> Card {
        let cards = self.cards.read().unwrap();
        cards[which % cards.len()].clone()
    }
}

/// A card in place of the enrolment's old one, or the first of a new one.
fn hand_over(cards: &RwLock<Vec<Card>>, card: Card) {
    let mut cards = cards.write().unwrap();
    match cards.iter_mut().find(|old| old.enrolment == card.enrolment) {
        Some(old) => *old = card,
        None => cards.push(card),
    }
}

/// Every client again: who had an answer gets the same one; who had none gets one now, for one effect.
fn retry(sent: &[Sent], cards: &RwLock<Vec<Card>>, known: &mut Known, figures: &mut Figures) {
    figures.requests += sent.len();
    let cut_off = sent.iter().filter(|sent| sent.cut_off).count();
    figures.cut_off += cut_off;
    figures.rounds_cut += usize::from(cut_off > 0);
    // voids last, and baskets given up: the answers before are of the time before
    let (voids, others): (Vec<&Sent>, Vec<&Sent>) = sent.iter().partition(|sent| sent.key.is_none());
    for sent in others.into_iter().chain(voids) {
        let again = sent.again().expect("the service is back");
        let replayed = again.header("idempotent-replay") == Some("true");
        figures.answered += usize::from(sent.answer.is_some());
        match &sent.answer {
            Some(first) if done(first) => {
                figures.created += usize::from(first.status == 201);
                assert_eq!((again.status, &again.bytes), (first.status, &first.bytes), "not the first answer");
                assert!(replayed || sent.key.is_none(), "what was answered is gone: {}", sent.path);
                figures.first_answers += 1;
            }
            // a refusal is not remembered, and may be decided otherwise once others have come back
            Some(_) if !done(&again) => {}
            _ if !done(&again) => figures.refused_by_the_retry += 1,
            _ if replayed => figures.done_unseen += 1,
            _ => figures.done_by_the_retry += 1,
        }
        if done(&again) {
            known.learn(&sent.path, &again);
            if sent.answer.is_none() && sent.path.starts_with("/api/v1/vouchers") {
                hand_over(cards, card(&again.json()));
            }
            let third = sent.again().unwrap();
            assert_eq!((third.status, &third.bytes), (again.status, &again.bytes));
        }
    }
}

/// The books hold what the clients know, no more and no less.
fn compare(town: &Town, tills: &[Till], known: &Known) {
    let producers: BTreeMap<&str, &Client> = tills.iter().map(|till| (&*till.producer, &till.client)).collect();
    let kept: Vec<Value> = producers.values().flat_map(|client| everything(client, "redemptions")).collect();
    assert_eq!(kept.len(), known.redemptions.len());
    for redemption in &kept {
        let id = redemption["id"].as_str().unwrap();
        assert_eq!(Some(redemption), known.redemptions.get(id), "{id}");
    }
    let holds: Vec<Value> = producers.values().flat_map(|client| everything(client, "holds")).collect();
    let told = holds.iter().map(|hold| (hold["id"].as_str().unwrap(), hold["state"].as_str().unwrap()));
    let known_holds = known.holds.iter().map(|(id, state)| (id.as_str(), *state));
    assert_eq!(told.collect::<BTreeMap<_, _>>(), known_holds.collect());
    let ids = |list: &str| -> BTreeSet<String> {
        everything(&town.worker, list).iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("enrolments"), known.enrolments);
    assert_eq!(ids("vouchers"), known.vouchers);

    let covered: i64 = kept.iter().filter(|r| r["voided"].is_null()).map(|r| cents(&r["covered"])).sum();
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), covered);
    let left: i64 = known.enrolments.iter().map(|enrolment| left(&town.enrolment(enrolment))).sum();
    let set_aside: i64 = holds.iter().filter(|h| h["state"] == "held").map(|h| cents(&h["covered"])).sum();
    assert_eq!(covered + left + set_aside, known.enrolments.len() as i64 * PROMISED);
}

/// What an enrolment may still spend, now or in a later period, in cents.
fn left(enrolment: &Value) -> i64 {
    let allowances = enrolment["allowances"].as_array().unwrap().iter();
    allowances.map(|a| cents(&a[if a["state"] == "committed" { "amount" } else { "balance" }])).sum()
}

/// All pages of a list.
fn everything(client: &Client, list: &str) -> Vec<Value> {
    let (mut items, mut query) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/api/v1/{list}?limit=200{query}")).expect(200);
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("&cursor={cursor}"),
            None => return items,
        }
    }
}
