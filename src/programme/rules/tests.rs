use super::*;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, FieldError, Fields};
use crate::programme::FundingRule;

pub const CHEQUE: &str = "{}";

/// 60 € a month for six months, changed in some fields.
pub fn rules(changes: &str) -> Rules {
    let mut rules: serde_json::Value = serde_json::from_str(
        r#"{"amount": {"per_household": "60.00", "per_adult": "0.00", "per_child": "0.00"},
            "period": {"unit": "month", "length": 1, "count": 6}, "start": "calendar_month", "carry_over": "none",
            "expiry_days": 0, "void_window_minutes": 60, "void_grace_days": 7, "show_balance": false}"#,
    )
    .unwrap();
    let changes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(changes).unwrap();
    rules.as_object_mut().unwrap().extend(changes);
    serde_json::from_value(rules).unwrap()
}

/// What is wrong, by path.
fn wrong(changes: &str, funding_rule: FundingRule) -> Vec<(String, Complaint)> {
    let mut fields = Fields::default();
    rules(changes).check(funding_rule, &mut fields);
    let Err(Error::Invalid(found)) = fields.settle() else { return Vec::new() };
    found.into_iter().map(|FieldError { field, complaint }| (field, complaint)).collect()
}

#[test]
fn rules_read_back_as_they_were_written_and_those_of_before_stand_for_a_plain_cheque() {
    let all = r#"{"taper": [75, 50], "ends_with_year": true, "days_between_purchases": 14, "hold_hours": 48,
        "denominations": ["5.00"], "coverage": {"percent": 80, "per_day": "20.00"},
        "eligible": {"categories": ["eggs"], "producer_classes": ["farm"]},
        "contribution": {"minimum": "1.00", "maximum": "180.00", "required": true, "goes_to": "pot"},
        "bonus": {"percent": 50, "labels": ["organic"], "cap_percent": 50, "spendable_days": 31}}"#;
    for changes in [CHEQUE, all] {
        let rules = rules(changes);
        assert_eq!(Rules::from_json(&rules.to_json()), Ok(rules));
    }
    assert_eq!(rules(CHEQUE).coverage, Coverage::default());
    assert_eq!(wrong(CHEQUE, FundingRule::FixedShares), []);
    assert_eq!(wrong(all, FundingRule::Priority), []);
}

#[test]
fn each_rule_that_does_not_hold_is_told_by_its_path() {
    let between = |least, most| Complaint::NotBetween { least, most };
    let tariffs = |default: &str, low: i32, high: i32| {
        format!(
            r#"{{"bands": {{"chosen_by": "household", "default": "{default}", "tariffs": [
                {{"code": "a", "price_percent": {low}}}, {{"code": "b", "price_percent": {high}}}]}}}}"#
        )
    };
    let cases = [
        (r#"{"taper": [75, 0]}"#.to_owned(), "rules.taper[1]", between(1, 100)),
        (r#"{"taper": [9, 8, 7, 6, 5, 4, 3]}"#.to_owned(), "rules.taper", Complaint::Items { least: 0, most: 6 }),
        (
            r#"{"amount": {"per_household": "0.00", "per_adult": "0.00", "per_child": "9.00"}}"#.to_owned(),
            "rules.amount",
            Complaint::GivesNothing,
        ),
        (
            r#"{"amount": {"per_household": "60.00", "per_adult": "0.00", "per_child": "0.00", "floor": "50.00",
                "ceiling": "49.99"}}"#
                .to_owned(),
            "rules.amount.floor",
            Complaint::AboveOther { other: "ceiling".to_owned() },
        ),
        // 20 adults and 20 children, each within its own bound
        (
            r#"{"amount": {"per_household": "0.00", "per_adult": "300.00", "per_child": "200.01"}}"#.to_owned(),
            "rules.amount",
            Complaint::Above { most: Cents(1_000_000) },
        ),
        (
            r#"{"ends_with_year": true, "carry_over": "to_end", "start": "programme_day", "period": {"unit": "month", "length": 2, "count": 7}}"#
                .to_owned(),
            "rules.carry_over",
            Complaint::YearEndsFirst,
        ),
        (r#"{"coverage": {"percent": 0}}"#.to_owned(), "rules.coverage.percent", between(1, 100)),
        (
            r#"{"coverage": {"per_redemption": "30.00", "per_period": "20.00"}}"#.to_owned(),
            "rules.coverage.per_redemption",
            Complaint::AboveOther { other: "per_period".to_owned() },
        ),
        (tariffs("c", 65, 100), "rules.bands.default", Complaint::NoSuchTariff),
        (tariffs("a", 100, 100), "rules.bands.tariffs", Complaint::CoversNothing),
        (tariffs("a", 65, -1), "rules.bands.tariffs[1].price_percent", between(0, 200)),
        (
            r#"{"sub_purses": [{"code": "main", "percent": 20, "categories": ["eggs"]}]}"#.to_owned(),
            "rules.sub_purses[0].code",
            Complaint::NotACode,
        ),
        (
            r#"{"sub_purses": [{"code": "a", "percent": 60, "categories": ["eggs"]},
                               {"code": "b", "percent": 60, "categories": ["dairy"]}]}"#
                .to_owned(),
            "rules.sub_purses",
            Complaint::AboveWhole,
        ),
        (
            r#"{"sub_purses": [{"code": "a", "percent": 20, "categories": ["eggs"]},
                               {"code": "b", "percent": 20, "categories": ["dairy", "eggs"]}]}"#
                .to_owned(),
            "rules.sub_purses[1].categories",
            Complaint::InAnother,
        ),
        (
            r#"{"eligible": {"categories": ["dairy"]},
                "sub_purses": [{"code": "a", "percent": 20, "categories": ["eggs"]}]}"#
                .to_owned(),
            "rules.sub_purses[0].categories",
            Complaint::NotEligible,
        ),
        (r#"{"eligible": {"categories": []}}"#.to_owned(), "rules.eligible.categories", Complaint::Items { least: 1, most: 20 }),
        (
            r#"{"bonus": {"percent": 50, "cap_percent": 50, "spendable_days": 31}}"#.to_owned(),
            "rules.bonus",
            Complaint::ForNothing,
        ),
        (
            r#"{"void_window_minutes": 2880, "bonus": {"percent": 50, "labels": ["local"], "cap_percent": 50, "spendable_days": 2}}"#
                .to_owned(),
            "rules.bonus.spendable_days",
            Complaint::NotPastVoids { days: 2 },
        ),
        (
            r#"{"contribution": {"minimum": "1.00", "maximum": "9.00", "required": false, "goes_to": "pot"}}"#.to_owned(),
            "rules.contribution",
            Complaint::NeedsPriority,
        ),
        (tariffs("a", 50, 101), "rules.bands.tariffs[1].price_percent", Complaint::NeedsPriority),
        (
            r#"{"eligible": {"categories": ["dairy"]},
                "bonus": {"percent": 50, "categories": ["eggs"], "cap_percent": 50, "spendable_days": 31}}"#
                .to_owned(),
            "rules.bonus.categories",
            Complaint::NotEligible,
        ),
        (
            r#"{"sub_purses": [{"code": "a", "percent": 100, "categories": ["eggs"]}], "denominations": ["5.00"]}"#
                .to_owned(),
            "rules.denominations",
            Complaint::NoMainPurse,
        ),
        // no household gets more than 60.00 a period
        (
            r#"{"denominations": ["60.01"]}"#.to_owned(),
            "rules.denominations[0]",
            Complaint::Above { most: Cents(6000) },
        ),
        (r#"{"denominations": ["5.00", "5.00"]}"#.to_owned(), "rules.denominations[1]", Complaint::NamedTwice),
        (r#"{"start": "calendar_month", "period": {"unit": "fortnight", "length": 1, "count": 6}}"#.to_owned(),
            "rules.start", Complaint::NotMonthly),
    ];
    for (changes, path, complaint) in cases {
        assert_eq!(wrong(&changes, FundingRule::FixedShares), [(path.to_owned(), complaint)], "{changes}");
    }
    let beyond = [("rules.bands.tariffs[1].price_percent".to_owned(), between(0, 200))];
    assert_eq!(wrong(&tariffs("a", 65, 201), FundingRule::Priority), beyond);
    assert_eq!(wrong(&tariffs("a", 65, 200), FundingRule::Priority), []);
    // half a year of weeks is within the year
    let weeks = r#"{"ends_with_year": true, "carry_over": "to_end", "start": "enrolment_day", "period": {"unit": "day", "length": 7, "count": 26}}"#;
    assert_eq!(wrong(weeks, FundingRule::FixedShares), []);
}
