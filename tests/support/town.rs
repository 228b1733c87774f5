//! A small territory, made through the API as its people would make it.

use primeur::access;
use primeur::kit::time::Clock;
use serde_json::{Value, json};

use super::world::PASSWORD;
use super::{Answer, Client, World, cents, euros};

/// What a test wants of its town; the rest is 60 € a month for six months by calendar, two agreements in equal shares.
pub struct Setup {
    pub rules: Value,
    pub funding_rule: &'static str,
    /// What each agreement grants, in cents, and its weight.
    pub agreements: Vec<(i64, i32)>,
    /// First day, last day and days of grace of the first agreements; of the others, the programme's days and 31.
    pub terms: Vec<(&'static str, &'static str, i32)>,
    pub time_zone: &'static str,
    pub starts_on: String,
    pub ends_on: String,
    pub legal_basis: &'static str,
    pub producers: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            rules: rules("60.00", "none"),
            funding_rule: "fixed_shares",
            agreements: vec![(1_000_000, 1), (1_000_000, 1)],
            terms: Vec::new(),
            time_zone: "Europe/Paris",
            starts_on: "2026-01-01".to_owned(),
            ends_on: "2027-12-31".to_owned(),
            legal_basis: "social_aid",
            producers: 2,
        }
    }
}

impl Setup {
    /// Where baskets may be set aside for two days, and titles of 5 and 10 € be handed over.
    pub fn setting_aside() -> Self {
        let mut rules = rules("60.00", "none");
        (rules["hold_hours"], rules["denominations"]) = (json!(48), json!(["5.00", "10.00"]));
        Setup { rules, ..Setup::default() }
    }

    /// For the system's clock: from this month for a year.
    pub fn of_this_year() -> Self {
        let zone: primeur::kit::time::Zone = "Europe/Paris".parse().unwrap();
        let first = zone.day_of(primeur::kit::time::SystemClock.now()).first_of_month();
        Setup { starts_on: first.to_string(), ends_on: first.plus_months(12).to_string(), ..Setup::default() }
    }
}

/// So much per household for six calendar months.
pub fn rules(amount: &str, carry_over: &str) -> Value {
    json!({
        "amount": {"per_household": amount, "per_adult": "0.00", "per_child": "0.00"},
        "period": {"unit": "month", "length": 1, "count": 6},
        "start": "calendar_month",
        "carry_over": carry_over,
        "expiry_days": 0,
        "void_window_minutes": 60,
        "void_grace_days": 7,
        "show_balance": false,
    })
}

/// Other rules than those of [`rules`]: each pair is the path of a rule and its value.
pub fn rules_with(changes: &[(&str, Value)]) -> Value {
    let mut rules = rules("60.00", "none");
    for (path, value) in changes {
        *rules.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = value.clone();
    }
    rules
}

/// A producer's person at their stall.
#[derive(Clone)]
pub struct Till {
    pub client: Client,
    pub producer: String,
    pub stall: String,
}

/// A voucher as it was handed over.
#[derive(Clone, Debug)]
pub struct Card {
    pub id: String,
    pub enrolment: String,
    pub token: String,
    pub code: String,
}

pub struct Town {
    pub world: World,
    pub administrator: Client,
    pub manager: Client,
    pub worker: Client,
    pub structure: String,
    pub evaluator: Client,
    pub funders: Vec<Client>,
    pub agreements: Vec<String>,
    pub tills: Vec<Till>,
    pub programme: String,
}

impl Town {
    pub fn new(world: World) -> Self {
        Self::with(world, Setup::default())
    }

    pub fn with(world: World, setup: Setup) -> Self {
        let administrator = administrator(&world);
        Self::among(world, administrator, setup)
    }

    /// A further town of a deployment that has its administrator.
    pub fn among(world: World, administrator: Client, setup: Setup) -> Self {
        let (_, manager) = newcomer(&world, &administrator, "manager", "Pays d'Artois");
        let programme = manager
            .post(
                "/api/v1/programmes",
                json!({
                    "name": "Chèque du marché", "time_zone": setup.time_zone, "starts_on": setup.starts_on, "ends_on": setup.ends_on,
                    "funding_rule": setup.funding_rule, "rules": setup.rules,
                    "communes": [{"code": "62427", "name": "Hénin-Beaumont"}, {"code": "62215", "name": "Carvin"}],
                    "legal_basis": {"code": setup.legal_basis, "reference": "Délibération du 12 mars"},
                }),
            )
            .expect(201);
        let programme = programme["id"].as_str().unwrap().to_owned();
        let (mut funders, mut agreements) = (Vec::new(), Vec::new());
        for (place, &(granted, weight)) in setup.agreements.iter().enumerate() {
            let number = place + 1;
            let (id, funder) = newcomer(&world, &manager, "funder", &format!("Fondation {number}"));
            funders.push(funder);
            let whole = (setup.starts_on.as_str(), setup.ends_on.as_str(), 31);
            let (starts_on, ends_on, grace_days) = setup.terms.get(place).copied().unwrap_or(whole);
            let agreement = json!({
                "funder_id": id, "reference": format!("C-{number}"), "granted": euros(granted),
                "starts_on": starts_on, "ends_on": ends_on, "grace_days": grace_days, "share_weight": weight,
            });
            let signed =
                manager.post_once(&format!("/api/v1/programmes/{programme}/agreements"), agreement).expect(201);
            agreements.push(signed["id"].as_str().unwrap().to_owned());
        }
        manager.act(&format!("/api/v1/programmes/{programme}/open")).expect(200);
        let (structure, worker) = newcomer(&world, &manager, "social_structure", "CCAS");
        let (evaluation, evaluator) = newcomer(&world, &manager, "evaluator", "Regard");
        for member in [&structure, &evaluation] {
            manager.set(&format!("/api/v1/programmes/{programme}/members/{member}")).expect(204);
        }
        let mut town = Town {
            world,
            administrator,
            manager,
            worker,
            structure,
            evaluator,
            funders,
            agreements,
            tills: Vec::new(),
            programme,
        };
        for number in 0..setup.producers {
            let till = town.new_till(number);
            town.approve(&till);
            town.tills.push(till);
        }
        town
    }

    /// One agreement more, of a new funder, over the default programme's days.
    pub fn sign(&mut self, granted: i64, weight: i32) {
        let number = self.agreements.len() + 1;
        let (id, funder) = newcomer(&self.world, &self.manager, "funder", &format!("Fondation {number}"));
        let agreement = json!({
            "funder_id": id, "reference": format!("C-{number}"), "granted": euros(granted),
            "starts_on": "2026-01-01", "ends_on": "2027-12-31", "grace_days": 31, "share_weight": weight,
        });
        let path = format!("/api/v1/programmes/{}/agreements", self.programme);
        let signed = self.manager.post_once(&path, agreement).expect(201);
        self.funders.push(funder);
        self.agreements.push(signed["id"].as_str().unwrap().to_owned());
    }

    /// A producer with one stall who has applied, and is not yet approved.
    pub fn new_till(&self, number: usize) -> Till {
        self.new_till_named(number, &format!("Ferme {number}"))
    }

    /// The same under a name of the test's own.
    pub fn new_till_named(&self, number: usize, name: &str) -> Till {
        let (producer, client) = newcomer(&self.world, &self.manager, "producer", name);
        client
            .put(
                "/api/v1/producers/me",
                json!({"siret": siret(number), "iban": "FR1420041010050500013M02606", "account_holder": "La Ferme"}),
            )
            .expect(200);
        let stall = self.open_stall(&client, "Marché du vendredi");
        client.set(&format!("/api/v1/programmes/{}/applications/me", self.programme)).expect(200);
        Till { client, producer, stall }
    }

    pub fn open_stall(&self, producer: &Client, name: &str) -> String {
        let stall = json!({"name": name, "commune": {"code": "62427", "name": "Hénin-Beaumont"}});
        producer.post("/api/v1/stalls", stall).expect(201)["id"].as_str().unwrap().to_owned()
    }

    pub fn approve(&self, till: &Till) {
        self.decide(till, "approve").expect(200);
    }

    /// A producer with one stall, approved as a seller of this class.
    pub fn new_seller(&self, number: usize, class: &str) -> Till {
        let till = self.new_till(number);
        let path = format!("/api/v1/programmes/{}/applications/{}/approve", self.programme, till.producer);
        self.manager.post(&path, json!({"class": class})).expect(200);
        till
    }

    pub fn decide(&self, till: &Till, decision: &str) -> Answer {
        self.manager.act(&format!("/api/v1/programmes/{}/applications/{}/{decision}", self.programme, till.producer))
    }

    pub fn household(&self, adults: i32, children: i32) -> String {
        let household = json!({"adults": adults, "children": children, "commune": "62427"});
        self.worker.post("/api/v1/households", household).expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Enrols a new household of one adult, whatever becomes of it.
    pub fn enrol(&self) -> Value {
        self.enrol_household(&self.household(1, 0)).expect(201)
    }

    pub fn enrol_household(&self, household: &str) -> Answer {
        self.worker.post_once("/api/v1/enrolments", json!({"household_id": household, "programme_id": self.programme}))
    }

    /// Enrols a new household of so many adults and children, and tells the enrolment's id and state.
    pub fn enrol_many(&self, adults: i32, children: i32) -> (String, String) {
        let enrolment = self.enrol_household(&self.household(adults, children)).expect(201);
        let text = |key: &str| enrolment[key].as_str().unwrap().to_owned();
        (text("id"), text("state"))
    }

    /// Enrols a new household and hands it a card.
    pub fn new_card(&self) -> Card {
        let enrolment = self.enrol();
        assert_eq!(enrolment["state"], "active", "{enrolment}");
        self.card_for(enrolment["id"].as_str().unwrap())
    }

    pub fn card_for(&self, enrolment: &str) -> Card {
        card(&self.worker.post_once("/api/v1/vouchers", json!({"enrolment_id": enrolment})).expect(201))
    }

    pub fn enrolment(&self, id: &str) -> Value {
        self.worker.get(&format!("/api/v1/enrolments/{id}")).expect(200)
    }

    /// What all allowances of an enrolment hold, in cents.
    pub fn balance(&self, enrolment: &str) -> i64 {
        let enrolment = self.enrolment(enrolment);
        enrolment["allowances"].as_array().unwrap().iter().map(|allowance| cents(&allowance["balance"])).sum()
    }

    pub fn budget(&self) -> Value {
        self.manager.get(&format!("/api/v1/programmes/{}/budget", self.programme)).expect(200)
    }

    /// One figure of one agreement's budget, in cents.
    pub fn figure(&self, agreement: usize, name: &str) -> i64 {
        let budget = self.budget();
        cents(&budget["agreements"].as_array().unwrap()[agreement][name])
    }

    pub fn report(&self, agreement: usize, month: &str) -> Value {
        let path = format!("/api/v1/agreements/{}/reconciliations/{month}", self.agreements[agreement]);
        self.funders[agreement].get(&path).expect(200)
    }
}

impl Till {
    /// A basket as the till sends it.
    pub fn basket(&self, voucher: &str, basket: i64, partial: bool) -> Value {
        json!({"voucher": voucher, "stall_id": self.stall, "basket": euros(basket), "partial": partial, "another_purchase": true})
    }

    /// Redeems all of a basket, in cents.
    pub fn redeem(&self, voucher: &str, basket: i64) -> Answer {
        self.client.post_once("/api/v1/redemptions", self.basket(voucher, basket, false))
    }

    /// Redeems as much of a basket as the voucher holds.
    pub fn redeem_in_part(&self, voucher: &str, basket: i64) -> Answer {
        self.client.post_once("/api/v1/redemptions", self.basket(voucher, basket, true))
    }

    pub fn void(&self, redemption: &str) -> Answer {
        self.client.post(&format!("/api/v1/redemptions/{redemption}/void"), json!({"reason": "rendu"}))
    }

    /// Sets all of a basket aside.
    pub fn hold(&self, voucher: &str, basket: i64) -> Answer {
        self.client.post_once("/api/v1/holds", self.basket(voucher, basket, false))
    }

    pub fn capture(&self, hold: &str) -> Answer {
        self.client.act_once(&format!("/api/v1/holds/{hold}/capture"))
    }

    pub fn check(&self, voucher: &str) -> Value {
        self.client.post("/api/v1/vouchers/check", json!({"voucher": voucher, "stall_id": self.stall})).expect(200)
    }
}

pub fn card(voucher: &Value) -> Card {
    let text = |key: &str| voucher[key].as_str().unwrap().to_owned();
    Card { id: text("id"), enrolment: text("enrolment_id"), token: text("token"), code: text("code") }
}

/// Makes the first administrator as the command line does, and logs in.
pub fn administrator(world: &World) -> Client {
    let hash = access::password::hash(&world.state.access, &PASSWORD.parse().unwrap()).unwrap();
    let (organisation, email, name) =
        ("Primeur".parse().unwrap(), "admin@primeur.example".parse().unwrap(), "Camille".parse().unwrap());
    world
        .state
        .db
        .write(|conn, now| access::create_first_administrator(conn, now, &organisation, &email, &name, &hash))
        .unwrap();
    log_in(world, "admin@primeur.example")
}

pub fn log_in(world: &World, email: &str) -> Client {
    let anybody = world.anybody();
    anybody.signed_in(&anybody.log_in(email, PASSWORD).expect(200))
}

/// A new organisation and its lead, who has accepted the invitation and logged in.
pub fn newcomer(world: &World, by: &Client, kind: &str, name: &str) -> (String, Client) {
    let organisation = by.post("/api/v1/organisations", json!({"kind": kind, "name": name})).expect(201);
    let organisation = organisation["id"].as_str().unwrap().to_owned();
    let client = join(world, by, &organisation, true);
    (organisation, client)
}

/// A new person of an organisation, logged in.
pub fn join(world: &World, by: &Client, organisation: &str, lead: bool) -> Client {
    let email = format!("{}@primeur.example", uuid::Uuid::now_v7().simple());
    let person = json!({"organisation_id": organisation, "email": email, "name": "Dominique", "lead": lead});
    let invited = by.post("/api/v1/people", person).expect(201);
    let accept = json!({"invitation": invited["invitation"], "password": PASSWORD});
    world.anybody().post("/api/v1/access/accept-invitation", accept).expect(204);
    log_in(world, &email)
}

/// A SIRET that passes the check and is evidently invented.
pub fn siret(number: usize) -> String {
    let with_check = |body: String| {
        let digit = |(place, digit): (usize, char)| match (place % 2, digit.to_digit(10).unwrap()) {
            (0, d) if d > 4 => 2 * d - 9,
            (0, d) => 2 * d,
            (_, d) => d,
        };
        let sum: u32 = body.chars().rev().enumerate().map(digit).sum();
        format!("{body}{}", (10 - sum % 10) % 10)
    };
    let siren = with_check(format!("9990{number:04}"));
    with_check(format!("{siren}0001"))
}
