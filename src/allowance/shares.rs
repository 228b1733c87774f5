//! Splitting cents. Both ways are exact: the parts add up to the whole, and none is negative.

use crate::kit::money::Cents;

/// The parts of the next `amount`, after `total` has been split before by the same weights.
///
/// However many amounts have gone before, what each weight has got in all is less than one cent from its exact share.
/// Cents are dealt out one by one like this: whoever is still below its exact share may get the next one, and among
/// those the one whose next cent would be overdue first (Tijdeman, *The chairman assignment problem*, 1980).
pub fn next_shares(total: Cents, amount: Cents, weights: &[i32]) -> Vec<Cents> {
    let (before, after) = (dealt(total, weights), dealt(total + amount, weights));
    before.into_iter().zip(after).map(|(before, after)| after - before).collect()
}

/// What each weight has got of `total`. The dealing repeats after as many cents as the weights' sum in lowest terms.
pub fn dealt(total: Cents, weights: &[i32]) -> Vec<Cents> {
    let divisor = weights.iter().fold(0, |a, &b| gcd(a, i64::from(b))).max(1);
    let weights: Vec<i64> = weights.iter().map(|&w| i64::from(w) / divisor).collect();
    let round: i64 = weights.iter().sum();
    let (rounds, rest) = (total.0 / round, total.0 % round);
    let mut got = vec![0_i64; weights.len()];
    for step in 1..=rest {
        let below_share = |i: &usize| got[*i] * round < step * weights[*i];
        let deadline = |i: &usize| ((got[*i] + 1) * round + weights[*i] - 1) / weights[*i];
        if let Some(next) = (0..weights.len()).filter(below_share).min_by_key(deadline) {
            got[next] += 1;
        }
    }
    got.iter().zip(&weights).map(|(got, weight)| Cents(got + rounds * weight)).collect()
}

/// Splits `amount` in proportion to `sizes` and never more than a size: largest remainder, ties to the first.
///
/// `amount` must not exceed the sum of the sizes.
pub fn in_proportion(amount: Cents, sizes: &[Cents]) -> Vec<Cents> {
    let whole: i128 = sizes.iter().map(|size| i128::from(size.0)).sum();
    if whole == 0 {
        return vec![Cents::ZERO; sizes.len()];
    }
    let exact = |size: &Cents| i128::from(amount.0) * i128::from(size.0);
    let floor = |size: &Cents| i64::try_from(exact(size) / whole).unwrap_or(i64::MAX);
    let mut parts: Vec<Cents> = sizes.iter().map(|size| Cents(floor(size))).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&i| std::cmp::Reverse(exact(&sizes[i]) % whole));
    let given: Cents = parts.iter().copied().sum();
    let missing = usize::try_from((amount - given).0).unwrap_or(0);
    for &i in by_remainder.iter().take(missing) {
        parts[i] += Cents(1);
    }
    parts
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn within_a_cent(total: Cents, weights: &[i32]) {
        let whole: i64 = weights.iter().map(|&w| i64::from(w)).sum();
        for (got, &weight) in dealt(total, weights).iter().zip(weights) {
            let drift = i128::from(got.0) * i128::from(whole) - i128::from(total.0) * i128::from(weight);
            assert!(drift.abs() < i128::from(whole), "{total} by {weights:?}: {got} is a cent or more from its share");
        }
    }

    #[test]
    fn thirds_of_sixty_euros_and_a_cent_go_round() {
        let of = |total: i64, amount: i64| next_shares(Cents(total), Cents(amount), &[1, 1, 1]);
        assert_eq!(of(0, 6000), [Cents(2000); 3]);
        assert_eq!(of(0, 1), [Cents(1), Cents(0), Cents(0)]);
        assert_eq!(of(1, 1), [Cents(0), Cents(1), Cents(0)]);
        assert_eq!(of(2, 1), [Cents(0), Cents(0), Cents(1)]);
    }

    #[test]
    fn every_total_of_a_whole_round_of_11_2_2_2_keeps_every_share() {
        (0..=40).for_each(|total| within_a_cent(Cents(total), &[11, 2, 2, 2]));
    }

    #[test]
    fn a_purchase_of_one_cent_is_somebody_s() {
        assert_eq!(in_proportion(Cents(1), &[Cents(2000), Cents(2000), Cents(2000)]), [Cents(1), Cents(0), Cents(0)]);
        assert_eq!(in_proportion(Cents(1), &[Cents(1), Cents(5)]), [Cents(0), Cents(1)]);
    }

    proptest! {
        #[test]
        fn shares_add_up_are_never_negative_and_never_drift(
            weights in prop::collection::vec(1..200_i32, 1..7),
            amounts in prop::collection::vec(1..20_000_i64, 1..40),
        ) {
            let mut total = Cents::ZERO;
            for amount in amounts.into_iter().map(Cents) {
                let parts = next_shares(total, amount, &weights);
                prop_assert_eq!(parts.iter().copied().sum::<Cents>(), amount);
                prop_assert!(parts.iter().all(|part| *part >= Cents::ZERO));
                total += amount;
                within_a_cent(total, &weights);
            }
        }

        #[test]
        fn a_proportional_split_adds_up_and_takes_no_more_than_there_is(
            sizes in prop::collection::vec(0..1_000_000_i64, 1..7),
            share in 0.0..=1.0_f64,
        ) {
            let whole: i64 = sizes.iter().sum();
            let amount = Cents(((whole as f64 * share) as i64).min(whole));
            let sizes: Vec<Cents> = sizes.into_iter().map(Cents).collect();
            let parts = in_proportion(amount, &sizes);
            prop_assert_eq!(parts.iter().copied().sum::<Cents>(), amount);
            prop_assert!(parts.iter().zip(&sizes).all(|(part, size)| *part >= Cents::ZERO && part <= size));
        }
    }
}
