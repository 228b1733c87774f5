//! Chance that falls the same way at each fill.

use std::ops::RangeInclusive;

/// SplitMix64 (Steele, Lea, Flood 2014). For stories only: whoever sees a few numbers knows the rest.
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub const fn of(seed: u64) -> Self {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn within(&mut self, range: RangeInclusive<i64>) -> i64 {
        let width = usize::try_from(range.end() - range.start() + 1).unwrap_or(1);
        range.start() + self.below(width) as i64
    }

    pub fn percent(&mut self, percent: i64) -> bool {
        self.within(0..=99) < percent
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for place in (1..list.len()).rev() {
            list.swap(place, self.below(place + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_story() {
        let draw = |seed| {
            let mut chance = Chance::of(seed);
            (0..50).map(|_| chance.within(-3..=9)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().all(|n| (-3..=9).contains(n)));
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut list: Vec<i32> = (0..40).collect();
        Chance::of(7).shuffle(&mut list);
        assert_ne!(list, (0..40).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..40).collect::<Vec<_>>());
    }
}
