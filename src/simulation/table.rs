//! An outcome for people, on the command line.

use std::fmt::Write;

use super::{Estimate, Example, Households, Outcome};

/// All of it as text, in lines that fit a terminal.
pub fn table(outcome: &Outcome) -> String {
    let mut page = String::new();
    // writing to a string cannot fail
    let _ = write(outcome, &mut page);
    page
}

fn write(outcome: &Outcome, page: &mut String) -> std::fmt::Result {
    let Households { asked, funded, not_enough, not_covered, too_late } = outcome.households;
    writeln!(page, "households: {asked} asked, {funded} funded, {not_enough} would wait for money")?;
    if not_covered + too_late > 0 {
        writeln!(page, "            {not_covered} whom no agreement covers, {too_late} whose periods do not fit")?;
    }
    writeln!(page, "promised: {} at the most", outcome.promised)?;
    if outcome.contributed.is_positive() {
        writeln!(page, "paid into the pot by households: {}", outcome.contributed)?;
    }
    let take_up = outcome.take_up;
    writeln!(page, "take-up: {} %, {} % or {} % of it\n", take_up.low, take_up.expected, take_up.high)?;

    writeln!(page, "{:<10}{:>14}{:>14}{:>14}{:>14}", "month", "issued", "low", "expected", "high")?;
    for month in &outcome.months {
        let Estimate { low, expected, high } = month.cost;
        let [issued, low, expected, high] = [month.issued, low, expected, high].map(|c| c.to_string());
        writeln!(page, "{:<10}{issued:>14}{low:>14}{expected:>14}{high:>14}", month.month.to_string())?;
    }
    let Estimate { low, expected, high } = outcome.cost;
    let [low, expected, high] = [low, expected, high].map(|c| c.to_string());
    writeln!(page, "{:<10}{:>14}{low:>14}{expected:>14}{high:>14}\n", "in all", "")?;

    writeln!(
        page,
        "{:<20}{:>14}{:>14}{:>14}{:>14}{:>14}",
        "agreement", "available", "promised", "low", "expected", "high"
    )?;
    for agreement in &outcome.agreements {
        let Estimate { low, expected, high } = agreement.cost;
        let name: String = agreement.reference.chars().take(19).collect();
        let [available, promised, low, expected, high] =
            [agreement.available, agreement.promised, low, expected, high].map(|c| c.to_string());
        writeln!(page, "{name:<20}{available:>14}{promised:>14}{low:>14}{expected:>14}{high:>14}")?;
    }
    for example in &outcome.examples {
        one(example, page)?;
    }
    Ok(())
}

fn one(example: &Example, page: &mut String) -> std::fmt::Result {
    let Example { adults, children, band, starts_on, carried, total, periods, basket } = example;
    let tariff = band.as_ref().map(|band| format!(", tariff {band}")).unwrap_or_default();
    writeln!(
        page,
        "\nadults {adults}, children {children}{tariff}, from {starts_on}: {total} in {} periods",
        periods.len()
    )?;
    if let Some(first) = periods.first() {
        let purses: Vec<String> = first.purses.iter().map(|p| format!("{} {}", p.purse, p.amount)).collect();
        let ends = periods.last().map_or(first.ends_on, |last| last.ends_on);
        writeln!(page, "  the first period {} ({}); the last ends on {ends}", first.amount, purses.join(", "))?;
    }
    writeln!(page, "  of a basket of {}: {} covered, {} to pay", basket.total, basket.covered, basket.own_part)?;
    writeln!(page, "  the agreements carry {carried} such households")
}
