//! What happens once in the story, by working day counted from 0.

use super::arrivals::Part;
use super::founding::sign;
use super::life::Life;
use super::territory::{GROWERS, LENS, MONTREUIL, Standing};
use super::world::text;
use crate::access::Actor;
use crate::db::{Conn, Page};
use crate::enrolment::{self, Enrolment, NewEnrolment};
use crate::household::{self, Composition, Identity};
use crate::kit::error::Result;
use crate::kit::id::{EnrolmentId, VoucherId};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};
use crate::producer::{self, Decision};
use crate::redemption::{self, Filter};
use crate::voucher::{self, Voucher};

#[derive(Clone, Copy)]
pub enum Scene {
    /// Somebody from outside asks, and somebody who is enrolled already.
    TurnedAway,
    Mislay,
    /// Whoever has found the card tries it.
    TryMislaid,
    FindAgain,
    LoseAndTry,
    MistypedCode,
    VoidTooLate,
    Suspend,
    TrySuspended,
    Resume,
    LeaveReturning,
    LeaveKeeping,
    SuspendProducer,
    CloseStall,
    TryUnapproved,
    NewAgreement,
    ChildIsBorn,
    /// Somebody whom one desk knows comes to the other.
    AskTwice,
    Forget,
}

pub fn scenes(working_day: usize) -> Vec<Scene> {
    use Scene::{
        AskTwice, ChildIsBorn, CloseStall, FindAgain, Forget, LeaveKeeping, LeaveReturning, LoseAndTry, Mislay,
        MistypedCode, NewAgreement, Resume, Suspend, SuspendProducer, TryMislaid, TrySuspended, TryUnapproved,
        TurnedAway, VoidTooLate,
    };
    match working_day {
        10 => vec![TurnedAway],
        12 => vec![Mislay],
        13 => vec![TryMislaid],
        15 => vec![FindAgain, MistypedCode],
        18 | 23 | 41 => vec![TryUnapproved],
        22 => vec![LoseAndTry],
        25 => vec![Suspend, VoidTooLate],
        26 | 29 => vec![TrySuspended],
        33 => vec![Resume],
        38 => vec![LeaveReturning],
        45 => vec![LeaveKeeping],
        48 => vec![SuspendProducer],
        52 => vec![CloseStall],
        31 => vec![AskTwice],
        60 => vec![ChildIsBorn],
        66 => vec![NewAgreement],
        70 => vec![Forget],
        _ => vec![],
    }
}

/// For how many days customers come to a stall that may no longer sell to them.
const WORD_GOES_ROUND: i32 = 8;

impl Life {
    pub fn play(&mut self, day: Day, scene: Scene) -> Result<()> {
        match scene {
            Scene::TurnedAway => self.turn_away(),
            Scene::Mislay => self.change_card(Part::Mislays, voucher::block),
            Scene::FindAgain => self.change_card(Part::Mislays, voucher::unblock),
            Scene::TryMislaid => self.try_part(Part::Mislays),
            Scene::LoseAndTry => self.lose_and_try(),
            Scene::MistypedCode => self.try_text("0000-0000-0001", 0, 0),
            Scene::VoidTooLate => self.void_too_late(),
            Scene::Suspend => self.change_enrolment(Part::Suspended, enrolment::suspend),
            Scene::TrySuspended => self.try_part(Part::Suspended),
            Scene::Resume => self.change_enrolment(Part::Suspended, enrolment::resume),
            Scene::LeaveReturning => self.leave(Part::LeavesReturning, true),
            Scene::LeaveKeeping => self.leave(Part::LeavesKeeping, false),
            Scene::SuspendProducer => self.suspend_producer(day),
            Scene::CloseStall => self.close_stall(day),
            Scene::TryUnapproved => self.try_unapproved(),
            Scene::NewAgreement => {
                let (manager, programme) = (&self.cast.manager, self.cast.programmes[1]);
                let grant = ("ASA-306", self.cast.funders[3], 1, Cents(250_000), day.plus_months(12));
                sign(&self.world, manager, programme, day, grant)
            }
            Scene::ChildIsBorn => self.child_is_born(),
            Scene::AskTwice => self.ask_twice(),
            Scene::Forget => {
                let Some(home) = self.of_part(Part::LeavesReturning) else { return Ok(()) };
                let (desk, household) = (self.desk(home), self.homes[home].household);
                self.world.write(|conn, now| household::forget(conn, now, desk, household).map(drop))
            }
        }
    }

    fn of_part(&self, part: Part) -> Option<usize> {
        self.homes.iter().position(|home| home.part == part && home.card.is_some())
    }

    fn try_part(&mut self, part: Part) -> Result<()> {
        self.of_part(part).map_or(Ok(()), |home| self.try_card(home, 0, 0))
    }

    fn turn_away(&mut self) -> Result<()> {
        let far = self.register(0, MONTREUIL, 2, 1)?;
        let known = self.homes.first().map(|home| home.household);
        for household in [Some(far), known].into_iter().flatten() {
            let new = NewEnrolment { household, programme: self.cast.programmes[0], starts_on: None, band: None };
            let desk = &self.cast.desks[0];
            let refused = self.world.write(|conn, now| enrolment::enrol(conn, now, desk, &new));
            let _ = self.world.met(refused)?;
        }
        Ok(())
    }

    fn change_card(
        &mut self,
        part: Part,
        change: fn(&mut Conn, Instant, &Actor, VoucherId) -> Result<Voucher>,
    ) -> Result<()> {
        let Some(home) = self.of_part(part) else { return Ok(()) };
        let Some(card) = &self.homes[home].card else { return Ok(()) };
        let (desk, voucher) = (self.desk(home), card.voucher.id);
        self.world.write(|conn, now| change(conn, now, desk, voucher)).map(drop)
    }

    /// A lost card is replaced in a minute; whoever finds the old one gets nothing.
    fn lose_and_try(&mut self) -> Result<()> {
        let Some(home) = self.of_part(Part::Loses) else { return Ok(()) };
        let Some(old) = &self.homes[home].card else { return Ok(()) };
        let (desk, keys) = (self.desk(home), self.world.state.keys.now());
        let new = self.world.write(|conn, now| voucher::replace(conn, now, desk, &keys.secret, old.voucher.id))?;
        let lost = old.token.clone();
        self.homes[home].card = Some(self.card(new));
        self.world.pass(2 * 3600);
        self.try_text(&lost, 0, 0)
    }

    fn void_too_late(&mut self) -> Result<()> {
        let actor = &self.cast.sellers[0].0;
        let page = Page { after: None, limit: 60 };
        let sold = self.world.state.db.read(|conn| redemption::list(conn, actor, &Filter::default(), &page))?;
        let Some(oldest) = sold.last() else { return Ok(()) };
        let refused = self.world.write(|conn, now| redemption::void(conn, now, actor, oldest.redemption.id, None));
        let _ = self.world.met(refused)?;
        Ok(())
    }

    fn change_enrolment(
        &mut self,
        part: Part,
        change: fn(&mut Conn, Instant, &Actor, EnrolmentId) -> Result<Enrolment>,
    ) -> Result<()> {
        let Some(home) = self.of_part(part) else { return Ok(()) };
        let (desk, enrolment) = (self.desk(home), self.homes[home].enrolment);
        self.world.write(|conn, now| change(conn, now, desk, enrolment)).map(drop)
    }

    fn leave(&mut self, part: Part, return_issued: bool) -> Result<()> {
        let Some(home) = self.of_part(part) else { return Ok(()) };
        let (desk, enrolment) = (self.desk(home), self.homes[home].enrolment);
        self.world.write(|conn, now| enrolment::leave(conn, now, desk, enrolment, return_issued)).map(drop)
    }

    fn suspend_producer(&mut self, day: Day) -> Result<()> {
        for (seller, grower) in GROWERS.iter().enumerate().filter(|(_, g)| g.standing == Standing::Suspended) {
            let (actor, stalls) = &self.cast.sellers[seller];
            for programme in self.cast.programmes {
                let (manager, producer) = (&self.cast.manager, actor.organisation);
                let suspend = Decision::Suspend;
                self.world.write(|conn, now| producer::decide(conn, now, manager, programme, producer, suspend))?;
            }
            let since = day.plus_days(WORD_GOES_ROUND);
            self.quiet.extend(stalls[..grower.markets.len()].iter().map(|stall| (*stall, since)));
        }
        Ok(())
    }

    /// The last stall of the cooperative closes.
    fn close_stall(&mut self, day: Day) -> Result<()> {
        let Some((actor, stalls)) = self.cast.sellers.get(10) else { return Ok(()) };
        let Some(&stall) = stalls.last() else { return Ok(()) };
        self.world.write(|conn, now| producer::close_stall(conn, now, actor, stall))?;
        self.quiet.push((stall, day.plus_days(WORD_GOES_ROUND)));
        Ok(())
    }

    fn try_unapproved(&mut self) -> Result<()> {
        let seller = GROWERS.iter().position(|grower| grower.standing == Standing::NeverApproved);
        let home = self.homes.iter().position(|home| home.card.is_some());
        match (home, seller) {
            (Some(home), Some(seller)) => self.try_card(home, seller, 0),
            _ => Ok(()),
        }
    }

    fn child_is_born(&mut self) -> Result<()> {
        let Some(home) = self.homes.iter().position(|home| home.programme == 0) else { return Ok(()) };
        let (desk, household) = (self.desk(home), self.homes[home].household);
        let known = self.world.state.db.read(|conn| household::own(conn, desk, household))?;
        let composition =
            Composition { adults: known.adults, children: known.children + 1, commune: text(&known.commune_code)? };
        self.world.write(|conn, now| household::recompose(conn, now, desk, household, &composition)).map(drop)
    }

    /// The same name and number, the day of birth not said: both desks are told that they may know the same household.
    fn ask_twice(&mut self) -> Result<()> {
        let Some(said) = &self.said else { return Ok(()) };
        let identity = Identity { birth_date: None, ..said.clone() };
        let composition = Composition { adults: 1, children: 2, commune: text(LENS.0)? };
        let (desk, keys) = (&self.cast.desks[1], self.world.state.keys.now());
        let register = |conn: &mut _, now| household::register(conn, now, &keys, desk, &composition, Some(&identity));
        self.world.write(register).map(drop)
    }
}
