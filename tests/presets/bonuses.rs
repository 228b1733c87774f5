//! Cheques with a bonus on what is sustainable.

use super::{
    ENDS, buy, card, is_over, months_after, on, passer_by, pays_everywhere, promised, split, total, town, windows,
};
use crate::support::{World, id, on_both_databases};

on_both_databases!(
    vital_im_gives_half_of_what_is_sustainable_again_up_to_twenty_five_a_person,
    gers_counts_adults_and_children_and_gives_a_bonus_on_what_is_sustainable,
);

fn vital_im_gives_half_of_what_is_sustainable_again_up_to_twenty_five_a_person(world: World) {
    let town = town(world, "vital_im", 300_000);
    let farm = town.new_seller(0, "farm");
    let (alone, four) = (card(&town, 1, 0), card(&town, 2, 2));
    // 50.00 a person and month and 25.00 of bonus at most: 6 × 75.00 = 450.00, and 6 × (4 × 75.00) = 1 800.00
    assert_eq!((promised(&town, &alone), promised(&town, &four)), (45_000, 180_000));
    // half of 20.00 of vegetables, nothing for 10.00 of anything else; granted when the day for undoing it is over
    assert_eq!(
        split(buy(&farm, &alone, &[("fruit_vegetables", &[], 2000), ("other_food", &["local"], 1000)])),
        (3000, 0)
    );
    assert_eq!(town.world.advance_to("2026-07-02T07:59:59Z").granted, 0);
    assert_eq!(town.balance(&alone.enrolment), 5000 - 3000);
    assert_eq!(town.world.advance_to("2026-07-02T08:00:00Z").granted, 1);
    assert_eq!(town.balance(&alone.enrolment), 5000 - 3000 + 1000);
    on(&town, "2026-07-10");
    // 20.00 of the month and the bonus of 10.00; half of 10.00 of organic meat is 5.00
    let basket = [
        ("meat", &["organic"][..], 1000),
        ("meat", &[], 500),
        ("dairy", &[], 500),
        ("fish", &[], 500),
        ("eggs", &[], 500),
    ];
    assert_eq!(split(buy(&farm, &alone, &basket)), (3000, 0));
    // from 10 July to 9 August and from 10 December to 9 January, seven days of grace, 31 for the bonus
    let passer_by = passer_by(&town);
    windows(
        &passer_by,
        "main",
        ["2026-07-09T22:00:00Z", "2026-08-16T22:00:00Z"],
        ["2026-12-09T23:00:00Z", "2027-01-16T23:00:00Z"],
    );
    windows(
        &passer_by,
        "bonus",
        ["2026-07-09T22:00:00Z", "2026-09-09T22:00:00Z"],
        ["2026-12-09T23:00:00Z", "2027-02-09T23:00:00Z"],
    );
    pays_everywhere(&town, &four);
    // half of 100.00 + 30.00 + 20.00 is 75.00
    let sustainable =
        [("fruit_vegetables", &[][..], 10_000), ("dairy", &["organic"], 3000), ("meat", &["egalim"], 2000)];
    assert_eq!(split(buy(&farm, &four, &sustainable)), (15_000, 0));
    on(&town, "2026-07-12");
    assert_eq!((town.balance(&alone.enrolment), town.balance(&four.enrolment)), (500, 5000 + 7500));
    // half of 60.00 would be 30.00, but 25.00 are left of 4 × 25.00 = 100.00; paid with the month's 50.00 and 10.00 of the bonus
    assert_eq!(split(buy(&farm, &four, &[("eggs", &["organic"], 6000)])), (6000, 0));
    on(&town, "2026-07-14");
    assert_eq!(town.balance(&four.enrolment), 7500 - 1000 + 2500);
    // no more is to be earned this month
    assert_eq!(split(buy(&farm, &four, &[("fruit_vegetables", &[], 9000)])), (9000, 0));
    assert_eq!(on(&town, "2026-07-16").granted, 0);
    assert_eq!(town.balance(&four.enrolment), 0);

    // what is undone earns nothing
    on(&town, "2026-08-12");
    let undone = buy(&farm, &four, &[("fruit_vegetables", &[], 6000), ("other_food", &[], 14_000)]).expect(201);
    town.world.advance_to("2026-08-13T08:59:59Z");
    farm.void(&id(&undone)).expect(200);
    // July's bonus of 5.00 ends on 31 August and goes first, then 45.00 of August's 50.00
    assert_eq!(split(buy(&farm, &alone, &[("pulses", &[], 5000)])), (5000, 0));
    assert_eq!(on(&town, "2026-08-15").granted, 0);
    assert_eq!((town.balance(&alone.enrolment), town.balance(&four.enrolment)), (500, 20_000));
    assert_eq!(split(buy(&farm, &four, &[("other_food", &[], 18_000)])), (18_000, 0));

    // September's bonus of 25.00 is spent, October's is not and goes back 31 days after October
    for (bought, spent) in [("2026-09-12", Some("2026-09-20")), ("2026-10-12", None)] {
        on(&town, bought);
        assert_eq!(split(buy(&farm, &alone, &[("fruit_vegetables", &[], 5000)])), (5000, 0));
        if let Some(spent) = spent {
            on(&town, spent);
            assert_eq!(split(buy(&farm, &alone, &[("cereals_bread", &[], 2500)])), (2500, 0));
        }
    }
    town.world.advance_to("2026-12-01T22:59:59Z");
    // and the 50.00 each of November and December
    assert_eq!(town.balance(&alone.enrolment), 2500 + 10_000);
    town.world.advance_to("2026-12-01T23:00:00Z");
    assert_eq!(town.balance(&alone.enrolment), 10_000);
    on(&town, "2027-02-01");
    farm.redeem(&alone.token, 100).refused(409, "voucher_expired");
    // alone: 300.00 and bonuses of 10.00 + 5.00 + 25.00 + 25.00 = 65.00 issued; 30.00 + 30.00 + 50.00 + 50.00 + 25.00 + 50.00
    // = 235.00 spent. Four: 1 200.00 and 75.00 + 25.00 issued; 150.00 + 60.00 + 90.00 + 180.00 = 480.00 spent
    // 365.00 + 1 300.00 = 1 665.00, of which 715.00 were spent; the bonuses that nobody has earned were never issued
    // and the passer-by gave 50.00 back
    assert_eq!(total(&town, ENDS), [171_500, 71_500, 100_000, 228_500]);
    is_over(&town, "2027-01", 2);
}

fn gers_counts_adults_and_children_and_gives_a_bonus_on_what_is_sustainable(world: World) {
    let town = town(world, "gers", 200_000);
    let farm = town.new_seller(0, "farm");
    let (three, alone) = (card(&town, 2, 1), card(&town, 1, 0));
    // 2 × 40.00 + 20.00 = 100.00 and 40.00 a month, and half as much of bonus at most: 6 × 150.00, 6 × 60.00
    assert_eq!((promised(&town, &three), promised(&town, &alone)), (90_000, 36_000));
    for month in 0..6 {
        on(&town, &months_after("2026-07-12", month));
        // two thirds sustainable: half of 30.00 + 20.00 + 17.00 is 33.50
        let basket = [
            ("fruit_vegetables", &[][..], 3000),
            ("dairy", &["local"], 2000),
            ("meat", &["egalim"], 1700),
            ("meat", &[], 1000),
            ("dairy", &[], 1000),
            ("eggs", &[], 500),
            ("fish", &[], 800),
        ];
        assert_eq!(split(buy(&farm, &three, &basket)), (10_000, 0));
        assert_eq!(town.balance(&three.enrolment), 0);
        match month {
            // nothing sustainable, nothing earned
            0 => {
                // from 12 July to 11 August and from 12 December to 11 January, seven days of grace, 31 for the bonus
                let passer_by = passer_by(&town);
                windows(
                    &passer_by,
                    "main",
                    ["2026-07-11T22:00:00Z", "2026-08-18T22:00:00Z"],
                    ["2026-12-11T23:00:00Z", "2027-01-18T23:00:00Z"],
                );
                windows(
                    &passer_by,
                    "bonus",
                    ["2026-07-11T22:00:00Z", "2026-09-11T22:00:00Z"],
                    ["2026-12-11T23:00:00Z", "2027-02-11T23:00:00Z"],
                );
                pays_everywhere(&town, &alone);
                assert_eq!(split(buy(&farm, &alone, &[("other_food", &[], 4000)])), (4000, 0));
            }
            // half of 25.00 of organic pulses
            1 => assert_eq!(split(buy(&farm, &alone, &[("pulses", &["organic"], 2500)])), (2500, 0)),
            _ => {}
        }
        on(&town, &months_after("2026-07-20", month));
        assert_eq!(town.balance(&three.enrolment), 3350);
        assert_eq!(split(buy(&farm, &three, &[("pulses", &[], 3350)])), (3350, 0));
        if month == 2 {
            // August's 12.50 end before September's 40.00, and go first
            assert_eq!(town.balance(&alone.enrolment), 1250 + 4000);
            assert_eq!(split(buy(&farm, &alone, &[("cereals_bread", &[], 1000)])), (1000, 0));
            town.world.advance_to("2026-10-01T22:00:00Z");
            assert_eq!(town.balance(&alone.enrolment), 4000 + 4000);
        }
    }
    on(&town, "2027-02-01");
    farm.redeem(&three.token, 100).refused(409, "voucher_expired");
    // three: 6 × (100.00 + 33.50) = 801.00 issued and spent; alone: 240.00 + 12.50 issued, 40.00 + 25.00 + 10.00 = 75.00 spent
    // and the passer-by gave 40.00 back
    assert_eq!(total(&town, ENDS), [109_350, 87_600, 21_750, 112_400]);
    is_over(&town, "2027-01", 2);
}
