//! The days, one after the other: nights, office hours, markets.

use indicatif::ProgressBar;

use super::arrivals::{Arrival, Part, arrivals};
use super::chance::Chance;
use super::founding::{Cast, found};
use super::scenes::{Scene, scenes};
use super::territory::{ARTOIS, BASSIN, FIRST_NAMES, GROWERS, Market, Place, SURNAMES, Standing};
use super::world::{Refusals, World, text};
use crate::access::Actor;
use crate::config::Config;
use crate::enrolment::{self, NewEnrolment};
use crate::household::{self, Composition, Identity};
use crate::kit::error::Result;
use crate::kit::id::{EnrolmentId, HouseholdId, StallId};
use crate::kit::time::{Day, Instant, Zone};
use crate::schedule;
use crate::voucher::{self, Voucher};

/// One story, the same at each fill but for the calendar.
const SEED: u64 = 0x0dd5_eed5;

/// Minutes from midnight.
const FOUNDED: i64 = 7 * 60;
const DESK_OPENS: i64 = 9 * 60;
const DESK_CLOSES: i64 = 17 * 60;

/// What happens at a minute of a day.
enum Act {
    Arrive(Arrival),
    /// The desk looks whether a household has moved up, and hands it its card.
    CallBack(usize),
    Shop {
        home: usize,
        seller: usize,
        stall: usize,
    },
    Play(Scene),
}

/// A household as the story follows it.
pub struct Home {
    pub programme: usize,
    pub desk: usize,
    pub household: HouseholdId,
    pub enrolment: EnrolmentId,
    pub part: Part,
    pub card: Option<Card>,
    /// Its purse is empty until then.
    pub rests_until: Option<Day>,
    /// Its card is of no use any more.
    pub gone: bool,
}

pub struct Card {
    pub voucher: Voucher,
    pub token: String,
    pub code: String,
}

pub struct Life {
    pub world: World,
    pub cast: Cast,
    pub chance: Chance,
    pub homes: Vec<Home>,
    /// Who was last registered by name at the first desk.
    pub said: Option<Identity>,
    /// Stalls that nothing is sold at any more, and since when.
    pub quiet: Vec<(StallId, Day)>,
    today: Day,
}

/// Lives a story in an empty database: from the first of the month so many months ago until an instant, its present.
pub fn live(
    config: &Config,
    zone: Zone,
    months: i32,
    until: Instant,
    bar: &ProgressBar,
) -> std::result::Result<Refusals, String> {
    let today = zone.day_of(until);
    let from = today.first_of_month().plus_months(-months);
    let days: Vec<Day> = (0..).map(|n| from.plus_days(n)).take_while(|day| *day <= today).collect();
    bar.set_length(days.len() as u64);

    let world = World::open(config, zone.clone(), zone.start_of(from).plus_minutes(FOUNDED), until)?;
    let told = |e: crate::kit::error::Error| format!("the story cannot go on: {e}");
    let cast = found(&world, from).map_err(told)?;
    let mut chance = Chance::of(SEED);
    let working_days: Vec<Day> = days.iter().copied().filter(|day| weekday(*day) < 5).collect();
    let mut coming = arrivals(&mut chance, &working_days);
    let mut life = Life { world, cast, chance, homes: Vec::new(), said: None, quiet: Vec::new(), today };
    for day in days {
        let later = coming.split_off(coming.partition_point(|arrival| arrival.on <= day));
        let arriving = std::mem::replace(&mut coming, later);
        life.day(day, arriving, working_days.binary_search(&day).ok()).map_err(told)?;
        bar.inc(1);
    }
    Ok(life.world.refusals)
}

impl Life {
    fn day(&mut self, day: Day, arriving: Vec<Arrival>, working_day: Option<usize>) -> Result<()> {
        if self.world.reach(day, 5) {
            schedule::run(&self.world.state.db)?;
        }
        let mut acts = Vec::new();
        for (nth, arrival) in (0..).zip(arriving) {
            acts.push((DESK_OPENS + 20 * nth, Act::Arrive(arrival)));
        }
        if let Some(nth) = working_day {
            acts.extend(scenes(nth).into_iter().map(|scene| (11 * 60 + 45, Act::Play(scene))));
            let without = self.homes.iter().enumerate().filter(|(_, home)| home.card.is_none());
            acts.extend(without.map(|(home, _)| (DESK_CLOSES - 30, Act::CallBack(home))));
        }
        self.plan_shopping(day, &mut acts);
        acts.sort_by_key(|(minute, _)| *minute);
        for (minute, act) in acts {
            if !self.world.reach(day, minute) {
                break;
            }
            match act {
                Act::Arrive(arrival) => self.arrive(&arrival)?,
                Act::CallBack(home) => self.call_back(home)?,
                Act::Shop { home, seller, stall } => self.shop(day, home, seller, stall)?,
                Act::Play(scene) => self.play(day, scene)?,
            }
        }
        Ok(())
    }

    pub fn desk(&self, home: usize) -> &Actor {
        &self.cast.desks[self.homes[home].desk]
    }

    fn arrive(&mut self, arrival: &Arrival) -> Result<()> {
        let household = self.register(arrival.desk, arrival.home, arrival.adults, arrival.children)?;
        let programme = self.cast.programmes[arrival.programme];
        let new = NewEnrolment { household, programme, starts_on: arrival.starts_on, band: None };
        let desk = &self.cast.desks[arrival.desk];
        let enrolment = self.world.write(|conn, now| enrolment::enrol(conn, now, desk, &new))?.id;
        self.homes.push(Home {
            programme: arrival.programme,
            desk: arrival.desk,
            household,
            enrolment,
            part: arrival.part,
            card: None,
            rests_until: None,
            gone: false,
        });
        let home = self.homes.len() - 1;
        self.call_back(home)?;
        if arrival.part == Part::Eager {
            // its money opens on the 31st
            self.try_card(home, 0, 0)?;
        }
        Ok(())
    }

    /// Two households of three say their name.
    pub fn register(&mut self, desk: usize, home: Place, adults: i32, children: i32) -> Result<HouseholdId> {
        let composition = Composition { adults, children, commune: text(home.0)? };
        let (first, family) = (*self.chance.pick(&FIRST_NAMES), *self.chance.pick(&SURNAMES));
        let (one, two) = (self.chance.within(0..=99), self.chance.within(0..=99));
        let identity = Identity {
            family_name: Some(text(family)?),
            first_name: Some(text(first)?),
            birth_date: Some(text(&format!("{}-{:02}-{:02}", 1950 + one / 2, 1 + two % 12, 1 + one % 28))?),
            // a range of numbers that belongs to nobody: France keeps it for fiction
            phone: Some(text(&format!("06 39 98 {one:02} {two:02}"))?),
            email: None,
        };
        let identity = self.chance.percent(67).then_some(identity);
        if desk == 0 {
            self.said = identity.clone().or(self.said.take());
        }
        let desk = &self.cast.desks[desk];
        let keys = self.world.state.keys.now();
        let register = |conn: &mut _, now| household::register(conn, now, &keys, desk, &composition, identity.as_ref());
        Ok(self.world.write(register)?.household.id)
    }

    fn call_back(&mut self, home: usize) -> Result<()> {
        let (desk, enrolment) = (self.desk(home), self.homes[home].enrolment);
        let standing = self.world.state.db.read(|conn| enrolment::own(conn, desk, enrolment))?;
        if standing.state == enrolment::State::Active {
            let keys = self.world.state.keys.now();
            let voucher = self.world.write(|conn, now| voucher::hand_over(conn, now, desk, &keys.secret, enrolment))?;
            self.homes[home].card = Some(self.card(voucher));
        }
        Ok(())
    }

    pub fn card(&self, voucher: Voucher) -> Card {
        let state = &self.world.state;
        let keys = state.keys.now();
        let (token, code) = (voucher.token(&keys, state.host()), voucher.code(&keys.secret).to_string());
        Card { voucher, token, code }
    }

    fn plan_shopping(&mut self, day: Day, acts: &mut Vec<(i64, Act)>) {
        for home in 0..self.homes.len() {
            let Home { part, programme, gone, rests_until, ref card, .. } = self.homes[home];
            if card.is_none() || gone || rests_until.is_some_and(|until| day < until) {
                continue;
            }
            let eagerness = match part {
                Part::Rare => 6,
                Part::Thrifty if day > self.today.plus_days(-45) => 0,
                Part::Thrifty => 12,
                _ if programme == 0 => 38,
                _ => 46,
            };
            if !self.chance.percent(eagerness) {
                continue;
            }
            let open = self.open_stalls(day, programme);
            if open.is_empty() {
                continue;
            }
            let (seller, stall, market) = *self.chance.pick(&open);
            let minute = self.chance.within(market.opens..=market.closes - 10);
            acts.push((minute, Act::Shop { home, seller, stall }));
        }
    }

    /// Stalls of a programme's territory that sell on a day; those that may no longer for some days more, until word is round.
    fn open_stalls(&self, day: Day, programme: usize) -> Vec<(usize, usize, &'static Market)> {
        let territory = [BASSIN, ARTOIS][programme];
        let mut open = Vec::new();
        let sellers = GROWERS.iter().enumerate().filter(|(_, grower)| grower.standing != Standing::NeverApproved);
        for (seller, grower) in sellers {
            for (stall, market) in grower.markets.iter().enumerate() {
                let id = self.cast.sellers[seller].1[stall];
                let quiet = self.quiet.iter().any(|(quiet, since)| *quiet == id && *since <= day);
                let near = territory.iter().any(|(place, _)| *place == market.at);
                if near && !quiet && market.days.contains(&weekday(day)) {
                    open.push((seller, stall, market));
                }
            }
        }
        open
    }
}

/// Monday = 0; 1 January 2000 was a Saturday.
fn weekday(day: Day) -> i32 {
    (day.since_2000() + 5).rem_euclid(7)
}
