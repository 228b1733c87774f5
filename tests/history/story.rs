//! What may happen in a town, in any order.

use primeur::kit::money::Cents;
use primeur::kit::time::Instant;
use primeur::programme::{
    Bands, Bonus, Category, ChosenBy, Contribution, ContributionGoesTo, Eligible, FundingRule, Label, ProducerClass,
    Rules, Tariff,
};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use crate::support::rulesets::{plain_rules, short_rules, valid};

/// A basket that somebody would like to have.
#[derive(Clone, Debug)]
pub struct Wish {
    pub payer: Index,
    /// By a voucher of a fixed value, if there is one.
    pub title: bool,
    pub till: Index,
    /// In thousandths of what the purse holds, and so many cents more.
    pub size: i64,
    pub more: i64,
    /// What it is made of, and how much of each; nobody says where empty.
    pub goods: Vec<(Category, Vec<Label>, i64)>,
    pub partial: bool,
    pub tariff: Option<Index>,
    pub another: bool,
    /// The scheduler has just looked. Otherwise whatever is due is done by the purchase itself.
    pub done: bool,
}

#[derive(Clone, Debug)]
pub enum Event {
    Enrol {
        adults: i32,
        children: i32,
        band: Option<Index>,
        in_days: i32,
    },
    Redeem {
        wish: Wish,
        /// Undone at once: every account must be as before.
        undo: bool,
    },
    Void {
        sale: Index,
    },
    SetAside {
        wish: Wish,
    },
    Capture {
        hold: Index,
        /// So much of it is handed over.
        percent: i64,
    },
    Release {
        hold: Index,
        by_structure: bool,
    },
    HandOver {
        member: Index,
        values: Vec<Index>,
        done: bool,
    },
    /// In thousandths of the way from the least to the most.
    Contribute {
        member: Index,
        place: i64,
    },
    Band {
        member: Index,
        tariff: Option<Index>,
    },
    /// Resumes whoever is suspended, or suspends somebody.
    Suspend {
        member: Index,
    },
    Leave {
        member: Index,
        return_issued: bool,
    },
    /// Unblocks a card that is blocked, or blocks one.
    Block {
        member: Index,
    },
    Replace {
        member: Index,
        title: bool,
    },
    /// The next rules of the story are put in force.
    NewRules,
    /// Lets a suspended seller sell again, or suspends one.
    Seller {
        till: Index,
    },
    Minutes(i64),
    Days(i32),
    /// To the next moment at which something ends or a clock changes, or just before.
    Edge {
        before: bool,
    },
    Schedule,
}

#[derive(Clone, Debug)]
pub struct Story {
    pub funding_rule: FundingRule,
    /// Those that the programme opens with, and those that follow.
    pub rules: Vec<Rules>,
    pub weights: Vec<i32>,
    /// For how many households of two adults and a child there is money, in tenths.
    pub enough_for: i64,
    pub tills: Vec<ProducerClass>,
    pub events: Vec<Event>,
}

fn index() -> impl Strategy<Value = Index> {
    any::<Index>()
}

fn wish() -> impl Strategy<Value = Wish> {
    let weight = prop_oneof![Just(1_i64), 1..100_i64];
    let line = (select(Category::ALL), subsequence(Label::ALL.to_vec(), 0..=2), weight);
    let goods = prop_oneof![1 => Just(Vec::new()), 5 => prop::collection::vec(line, 1..5)];
    let size =
        (prop_oneof![2 => Just(0_i64), 6 => 0..400_i64, 1 => 400..3_000_i64], prop_oneof![Just(1), 1..2_000_i64]);
    let who = (index(), prop::bool::weighted(0.3), index());
    let how = (
        prop::bool::weighted(0.7),
        prop::option::weighted(0.3, index()),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.75),
    );
    (who, size, goods, how).prop_map(|((payer, title, till), (size, more), goods, (partial, tariff, another, done))| {
        Wish { payer, title, till, size, more, goods, partial, tariff, another, done }
    })
}

fn events() -> impl Strategy<Value = Event> {
    let member = index;
    let at_the_till = prop_oneof![
        28 => (wish(), prop::bool::weighted(0.2)).prop_map(|(wish, undo)| Event::Redeem { wish, undo }),
        6 => index().prop_map(|sale| Event::Void { sale }),
        10 => wish().prop_map(|wish| Event::SetAside { wish }),
        8 => (index(), prop_oneof![2 => Just(100), 3 => 1..=100_i64])
            .prop_map(|(hold, percent)| Event::Capture { hold, percent }),
        4 => (index(), any::<bool>()).prop_map(|(hold, by_structure)| Event::Release { hold, by_structure }),
    ];
    let values = prop::collection::vec(index(), 1..3);
    let at_the_desk = prop_oneof![
        8 => (1..5_i32, 0..5_i32, prop::option::of(index()), prop_oneof![3 => Just(0), 1 => 0..40_i32])
            .prop_map(|(adults, children, band, in_days)| Event::Enrol { adults, children, band, in_days }),
        6 => (member(), values, any::<bool>())
            .prop_map(|(member, values, done)| Event::HandOver { member, values, done }),
        6 => (member(), -100..1_100_i64).prop_map(|(member, place)| Event::Contribute { member, place }),
        2 => (member(), prop::option::weighted(0.8, index())).prop_map(|(member, tariff)| Event::Band { member, tariff }),
        3 => member().prop_map(|member| Event::Suspend { member }),
        2 => (member(), any::<bool>()).prop_map(|(member, return_issued)| Event::Leave { member, return_issued }),
        3 => member().prop_map(|member| Event::Block { member }),
        3 => (member(), any::<bool>()).prop_map(|(member, title)| Event::Replace { member, title }),
        2 => Just(Event::NewRules),
        4 => index().prop_map(|till| Event::Seller { till }),
    ];
    let time = prop_oneof![
        4 => (1..200_i64).prop_map(Event::Minutes),
        4 => (1..5_i32).prop_map(Event::Days),
        1 => (5..70_i32).prop_map(Event::Days),
        2 => any::<bool>().prop_map(|before| Event::Edge { before }),
        2 => Just(Event::Schedule),
    ];
    prop_oneof![14 => at_the_till, 6 => at_the_desk, 3 => time]
}

pub fn stories(steps: usize) -> impl Strategy<Value = Story> {
    let weights = prop_oneof![
        Just(vec![1, 1, 1]),
        Just(vec![11, 2, 2, 2]),
        Just(vec![7, 5]),
        prop::collection::vec(1..50_i32, 1..5)
    ];
    let rules = prop_oneof![1 => plain_rules(), 9 => short_rules()];
    let town = (select(FundingRule::ALL), prop::collection::vec(rules, 1..4), weights, 10..60_i64);
    let tills = prop::collection::vec(select(ProducerClass::ALL), 3);
    let events = prop::collection::vec(events(), steps * 3 / 4..=steps);
    (town, any::<bool>(), tills, events).prop_map(
        |((funding_rule, mut rules, weights, enough_for), rich, tills, mut events)| {
            let funding_rule = if rich { FundingRule::Priority } else { funding_rule };
            if rich {
                enrich(&mut rules[0]);
            }
            // somebody must be there
            let first = Event::Enrol { adults: 2, children: 1, band: None, in_days: 0 };
            let second = Event::Enrol { adults: 1, children: 0, band: None, in_days: 0 };
            events.splice(0..0, [first, second]);
            let rules = rules.into_iter().map(|rules| valid(rules, funding_rule)).collect();
            Story { funding_rule, rules, weights, enough_for, tills, events }
        },
    )
}

/// With whatever moves money, and without what most purchases would fail for: half of the stories are of such a town.
fn enrich(rules: &mut Rules) {
    rules.hold_hours = rules.hold_hours.max(30);
    rules.eligible = Eligible::default();
    (rules.days_between_purchases, rules.coverage.own_part) = (0, Cents::ZERO);
    if rules.denominations.is_empty() {
        rules.denominations = vec![Cents(500), Cents(125)];
    }
    let tariff = |code: &str, price_percent| Tariff { code: code.to_owned(), price_percent };
    let bonus = rules.bonus.get_or_insert_with(|| Bonus {
        percent: 60,
        categories: Category::ALL.to_vec(),
        labels: Vec::new(),
        cap_percent: 10,
        spendable_days: 31,
    });
    bonus.cap_percent = 1 + bonus.cap_percent % 15;
    let day = rules.coverage.per_day.unwrap_or(Cents(2_500));
    rules.coverage.percent = 100;
    rules.coverage.per_redemption = rules.coverage.per_redemption.map(|cap| cap.min(day));
    rules.coverage.per_day = Some(day);
    rules.coverage.per_period =
        rules.coverage.per_period.or(Some(Cents((day.0 * 3).min(1_000_000)))).map(|cap| cap.max(day));
    rules.bands.get_or_insert_with(|| Bands {
        chosen_by: ChosenBy::Household,
        tariffs: vec![tariff("low", 20), tariff("full", 100), tariff("high", 125)],
        default: "low".to_owned(),
    });
    let (minimum, maximum, goes_to) = (Cents(300), Cents(4_000), ContributionGoesTo::Household);
    rules.contribution.get_or_insert(Contribution { minimum, maximum, required: false, goes_to });
}

/// Ends of months and of the year in Paris, and both nights in which its clocks change.
const EDGES: [&str; 14] = [
    "2026-07-31T22:00:00Z",
    "2026-08-31T22:00:00Z",
    "2026-09-30T22:00:00Z",
    "2026-10-24T22:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-10-31T23:00:00Z",
    "2026-12-31T23:00:00Z",
    "2027-02-28T23:00:00Z",
    "2027-03-28T01:00:00Z",
    "2027-03-28T22:00:00Z",
    "2027-05-31T22:00:00Z",
    "2027-10-30T22:00:00Z",
    "2027-10-31T01:00:00Z",
    "2027-12-31T23:00:00Z",
];

/// The next edge after a moment, to the second or a second before.
pub fn edge(now: Instant, before: bool) -> Option<Instant> {
    let at = |edge: &str| edge.parse::<Instant>().unwrap().plus_seconds(-i64::from(before));
    EDGES.iter().map(|edge| at(edge)).find(|at| *at > now)
}

/// The last moment to which a story jumps: what is promised then still ends while everybody is logged in.
pub fn latest() -> Instant {
    "2028-02-01T08:00:00Z".parse().unwrap()
}
