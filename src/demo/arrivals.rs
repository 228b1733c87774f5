//! Who comes to be enrolled, when, and what will become of them.

use super::chance::Chance;
use super::territory::{ARTOIS, BASSIN, Deck, Place};
use crate::kit::time::Day;

/// What a household lives through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Ordinary,
    /// Comes so rarely that money expires.
    Rare,
    /// Spends a little in the first weeks and nothing of late: there is money on its card today.
    Thrifty,
    /// Four adults and seven children.
    Big,
    /// Starts on a 31st, and shows its card a day too early.
    Eager,
    Mislays,
    Loses,
    Suspended,
    LeavesReturning,
    LeavesKeeping,
}

pub struct Arrival {
    pub on: Day,
    /// 0 or 1, as the programmes of the cast.
    pub programme: usize,
    /// As the desks of the cast.
    pub desk: usize,
    pub home: Place,
    pub adults: i32,
    pub children: i32,
    pub starts_on: Option<Day>,
    pub part: Part,
}

/// All arrivals of a story on the working days given.
pub fn arrivals(chance: &mut Chance, working_days: &[Day]) -> Vec<Arrival> {
    let mut all = Vec::new();
    // most come in the first month, the others one by one: by then money is short
    let monthly = |nth: usize| if nth < 30 { nth * 2 / 3 } else { 20 + (nth - 30) * 16 / 5 };
    let by_head = |nth: usize| if nth < 16 { 8 + nth } else { 24 + (nth - 16) * 4 };
    enrol(chance, &mut all, working_days, 0, BASSIN, monthly, monthly_part);
    enrol(chance, &mut all, working_days, 1, ARTOIS, by_head, by_head_part);
    if let Some(eager) = all.iter_mut().find(|arrival| arrival.part == Part::Eager)
        && let Some((eve, last)) = eve_of_a_31st(working_days)
    {
        (eager.on, eager.starts_on) = (eve, Some(last));
    }
    all.sort_by_key(|arrival| arrival.on);
    all
}

fn monthly_part(nth: usize) -> Part {
    match nth {
        2 => Part::Mislays,
        5 => Part::Loses,
        7 => Part::Suspended,
        9 => Part::LeavesReturning,
        12 => Part::LeavesKeeping,
        16 => Part::Eager,
        34 => Part::Thrifty,
        nth if nth % 7 == 3 => Part::Rare,
        _ => Part::Ordinary,
    }
}

fn by_head_part(nth: usize) -> Part {
    match nth {
        1 => Part::Big,
        nth if nth % 9 == 4 => Part::Rare,
        _ => Part::Ordinary,
    }
}

fn enrol(
    chance: &mut Chance,
    all: &mut Vec<Arrival>,
    working_days: &[Day],
    programme: usize,
    deck: Deck,
    on: impl Fn(usize) -> usize,
    part: impl Fn(usize) -> Part,
) {
    let mut homes: Vec<Place> = deck.iter().flat_map(|(place, count)| vec![*place; *count]).collect();
    chance.shuffle(&mut homes);
    for (nth, home) in homes.into_iter().enumerate() {
        let part = part(nth);
        let (adults, children) = match part {
            Part::Big => (4, 7),
            _ => (*chance.pick(&[1, 1, 2, 2, 2, 3]), *chance.pick(&[0, 0, 1, 1, 2, 2, 3, 4])),
        };
        let Some(&on) = working_days.get(on(nth)) else { continue };
        all.push(Arrival { on, programme, desk: nth % 2, home, adults, children, starts_on: None, part });
    }
}

/// The last working day before the first 31st of the story, and that 31st.
fn eve_of_a_31st(working_days: &[Day]) -> Option<(Day, Day)> {
    let (first, end) = (*working_days.first()?, *working_days.last()?);
    let mut days = (1..).map(|n| first.plus_days(n)).take_while(|day| *day <= end);
    let last = days.find(|day| *day == day.first_of_month().plus_days(30))?;
    working_days.iter().rev().find(|day| **day < last).map(|eve| (*eve, last))
}
