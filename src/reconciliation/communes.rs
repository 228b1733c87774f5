//! What was spent by commune, naming none that is so small that a household could be recognised.

use std::collections::{BTreeMap, BTreeSet};

use super::CommuneRow;
use crate::kit::money::Cents;
use crate::programme::Territory;

/// The fewest households of a programme in a month under which a commune is not named (the threshold for persons in Insee's manual).
const THRESHOLD: i64 = 11;

const OTHERS: &str = "Autres communes";

/// One row a named commune, then one for all the others.
///
/// The others together are two communes and 11 households at least, or else the smallest named ones join them: what is
/// left out could otherwise be had by subtraction.
pub fn rows(
    households: &BTreeMap<String, i64>,
    territory: &[Territory],
    spent: &BTreeMap<String, (Cents, Cents)>,
) -> Vec<CommuneRow> {
    let known = |code: &String| households.get(code).copied().unwrap_or(0);
    // a purchase undone after its household has left belongs to a commune that may have none any more
    let codes: BTreeSet<&String> = households.keys().chain(spent.keys()).collect();
    let mut by_size: Vec<(i64, &str)> = codes.into_iter().map(|code| (known(code), code.as_str())).collect();
    by_size.sort_unstable();
    let mut hidden = by_size.iter().take_while(|(count, _)| *count < THRESHOLD).count();
    let together = |hidden: usize| by_size[..hidden].iter().map(|(count, _)| count).sum::<i64>();
    while hidden > 0 && hidden < by_size.len() && (hidden < 2 || together(hidden) < THRESHOLD) {
        hidden += 1;
    }
    let (others, named) = by_size.split_at(hidden);

    let sum = |codes: &[(i64, &str)]| {
        let of = |code: &str| spent.get(code).copied().unwrap_or_default();
        codes.iter().map(|(_, code)| of(code)).fold((Cents::ZERO, Cents::ZERO), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let row = |commune: Option<&str>, name: &str, codes: &[(i64, &str)]| {
        let (redeemed, voided) = sum(codes);
        let households = codes.iter().map(|(count, _)| count).sum();
        CommuneRow {
            commune: commune.map(str::to_owned),
            name: name.to_owned(),
            households,
            redeemed,
            voided,
            net: redeemed - voided,
        }
    };
    let name = |code: &str| territory.iter().find(|c| c.code == code).map_or(code, |c| c.name.as_str()).to_owned();
    let mut rows: Vec<CommuneRow> = named.iter().map(|c| row(Some(c.1), &name(c.1), &[*c])).collect();
    rows.sort_by(|a, b| a.commune.cmp(&b.commune));
    if !others.is_empty() {
        rows.push(row(None, OTHERS, others));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(counts: &[(&str, i64)]) -> Vec<(Option<String>, i64)> {
        let households = counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect();
        rows(&households, &[], &BTreeMap::new()).into_iter().map(|row| (row.commune, row.households)).collect()
    }

    #[test]
    fn a_commune_of_ten_households_is_never_named_nor_found_by_subtraction() {
        let some = |code: &str| Some(code.to_owned());
        assert_eq!(named(&[("62427", 11), ("62498", 30)]), [(some("62427"), 11), (some("62498"), 30)]);
        assert_eq!(named(&[("62427", 10), ("62498", 30), ("62510", 40)]), [(some("62510"), 40), (None, 40)]);
        assert_eq!(named(&[("a", 3), ("b", 4), ("c", 12), ("d", 50)]), [(some("d"), 50), (None, 19)]);
        assert_eq!(named(&[("a", 6), ("b", 6), ("c", 50)]), [(some("c"), 50), (None, 12)]);
        assert_eq!(named(&[("a", 2)]), [(None, 2)]);
    }
}
