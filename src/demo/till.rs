//! What happens at a stall.

use super::arrivals::Part;
use super::life::Life;
use super::territory::GROWERS;
use super::world::text;
use crate::allowance;
use crate::kit::error::{Code, Result};
use crate::kit::money::Cents;
use crate::kit::time::Day;
use crate::programme::Category;
use crate::redemption::{self, Basket, BasketLine, NewRedemption, Purchase};
use crate::voucher::Presented;

impl Life {
    /// A household buys something. Sellers mistype, tap twice, and void.
    pub fn shop(&mut self, day: Day, home: usize, seller: usize, stall: usize) -> Result<()> {
        let size = if self.homes[home].part == Part::Big { 3 } else { 1 };
        let total = Cents(self.chance.within(150..=1_150) * size);
        let partial = self.chance.percent(80);
        let Some(card) = &self.homes[home].card else { return Ok(()) };
        let shown = if self.chance.percent(85) { card.token.clone() } else { card.code.clone() };
        let basket = basket(total, partial, false);
        let bought = self.redeem(&shown, seller, stall, basket.clone())?;
        match bought {
            Ok(Purchase { redemption, .. }) if self.chance.percent(3) && self.world.pass(240) => {
                let actor = &self.cast.sellers[seller].0;
                let reason = Some(text("erreur de saisie")?);
                let void = |conn: &mut _, now| redemption::void(conn, now, actor, redemption.id, reason.clone());
                self.world.write(void)?;
                let total = Cents(total.0 - total.0 / 10);
                let _ = self.redeem(&shown, seller, stall, Basket { total, ..basket.clone() })?;
            }
            Ok(_) if self.chance.percent(2) && self.world.pass(15) => {
                let twice = self.redeem(&shown, seller, stall, basket.clone())?;
                // now and then it was meant
                if matches!(twice, Err(Code::AlreadyRedeemedByYou)) && self.chance.percent(25) {
                    let _ = self.redeem(&shown, seller, stall, Basket { another_purchase: true, ..basket.clone() })?;
                }
            }
            Ok(Purchase { redemption, .. }) if redemption.covered_cents < redemption.basket_cents => {
                self.rest(day, home)?;
            }
            Err(Code::InsufficientBalance) => self.rest(day, home)?,
            Err(Code::VoucherExpired) => self.homes[home].gone = true,
            _ => {}
        }
        Ok(())
    }

    /// A household with an empty purse waits for its next period.
    fn rest(&mut self, day: Day, home: usize) -> Result<()> {
        let enrolment = self.homes[home].enrolment;
        let allowances = self.world.state.db.read(|conn| allowance::allowances(conn, enrolment))?;
        let next = allowances.iter().map(|(allowance, _)| allowance.starts_on).filter(|starts| *starts > day).min();
        // after the last one it comes once more, out of habit
        self.homes[home].rests_until = Some(next.unwrap_or(day.plus_days(40)));
        Ok(())
    }

    /// A stall reads a card for something small.
    pub fn try_card(&mut self, home: usize, seller: usize, stall: usize) -> Result<()> {
        let Some(card) = &self.homes[home].card else { return Ok(()) };
        self.try_text(&card.token.clone(), seller, stall)
    }

    pub fn try_text(&mut self, text: &str, seller: usize, stall: usize) -> Result<()> {
        let basket = basket(Cents(3_20), false, false);
        self.redeem(text, seller, stall, basket).map(drop)
    }

    fn redeem(
        &mut self,
        text: &str,
        seller: usize,
        stall: usize,
        mut basket: Basket,
    ) -> Result<std::result::Result<Purchase, Code>> {
        basket.lines = self.lines(seller, basket.total);
        let (actor, stalls) = &self.cast.sellers[seller];
        let (stall, world) = (stalls[stall], &self.world);
        let redeemed = Presented::read(text, &world.state.keys.now()).and_then(|voucher| {
            let new = NewRedemption { voucher, stall, basket: basket.clone() };
            world.write(|conn, now| redemption::redeem(conn, now, actor, &new))
        });
        self.world.met(redeemed)
    }

    /// What was bought, by kind; some sellers in a hurry leave it out.
    fn lines(&mut self, seller: usize, total: Cents) -> Vec<BasketLine> {
        if self.chance.percent(20) {
            return Vec::new();
        }
        let sells = GROWERS[seller].sells;
        let first = *self.chance.pick(sells);
        let second = sells.iter().copied().find(|category| *category != first);
        match second.filter(|_| total.0 > 500 && self.chance.percent(50)) {
            Some(second) => {
                let part = Cents(total.0 * self.chance.within(3..=7) / 10);
                vec![line(first, part), line(second, total - part)]
            }
            None => vec![line(first, total)],
        }
    }
}

fn basket(total: Cents, partial: bool, another_purchase: bool) -> Basket {
    Basket { total, lines: Vec::new(), tariff: None, partial, another_purchase }
}

fn line(category: Category, amount: Cents) -> BasketLine {
    BasketLine { category, labels: Vec::new(), amount }
}
