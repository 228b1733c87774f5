//! The tables as the queries know them; a test compares them with both databases.

mod money;
mod parties;

pub use money::*;
pub use parties::*;

/// The SQL types of the columns, for the macro.
mod types {
    pub use crate::kit::sql::ty;
    pub use diesel::sql_types::*;
}

diesel::joinable!(people -> organisations (organisation_id));
diesel::joinable!(sessions -> people (person_id));
diesel::joinable!(spent_refresh_tokens -> sessions (session_id));
diesel::joinable!(agreements -> programmes (programme_id));
diesel::joinable!(accounts -> agreements (agreement_id));
diesel::joinable!(allowance_parts -> allowances (allowance_id));
diesel::joinable!(allowances -> enrolments (enrolment_id));
diesel::joinable!(enrolments -> programmes (programme_id));
diesel::joinable!(enrolments -> households (household_id));
diesel::joinable!(vouchers -> enrolments (enrolment_id));
diesel::joinable!(redemptions -> vouchers (voucher_id));
diesel::joinable!(redemption_lines -> redemptions (redemption_id));
diesel::joinable!(voids -> redemptions (redemption_id));
diesel::joinable!(applications -> programmes (programme_id));
diesel::joinable!(applications -> producers (producer_id));
diesel::joinable!(programme_members -> programmes (programme_id));
diesel::joinable!(programme_members -> organisations (organisation_id));
diesel::joinable!(sealed_identities -> households (household_id));
diesel::joinable!(agreements -> organisations (funder_id));
diesel::joinable!(producers -> organisations (id));
diesel::joinable!(programme_communes -> programmes (programme_id));
diesel::joinable!(rule_versions -> programmes (programme_id));
diesel::joinable!(holds -> vouchers (voucher_id));
diesel::joinable!(hold_parts -> holds (hold_id));
diesel::joinable!(hold_parts -> allowance_parts (part_id));
diesel::joinable!(hold_lines -> holds (hold_id));
diesel::joinable!(bonuses -> redemptions (redemption_id));
diesel::joinable!(bonuses -> allowances (allowance_id));
diesel::joinable!(surpluses -> redemptions (redemption_id));
diesel::joinable!(contributions -> enrolments (enrolment_id));

diesel::allow_tables_to_appear_in_same_query!(
    organisations,
    people,
    sessions,
    recovery_codes,
    spent_refresh_tokens,
    attempts,
    signing_keys,
    audit_entries,
    idempotency_keys,
    programmes,
    rule_versions,
    programme_communes,
    programme_members,
    agreements,
    funding_sets,
    accounts,
    transfers,
    producers,
    stalls,
    applications,
    households,
    sealed_identities,
    household_fingerprints,
    household_duplicates,
    enrolments,
    allowances,
    allowance_parts,
    contributions,
    vouchers,
    holds,
    hold_parts,
    hold_lines,
    redemptions,
    redemption_lines,
    voids,
    bonuses,
    surpluses,
    clock,
);

diesel::allow_columns_to_appear_in_same_group_by_clause!(
    transfers::reference,
    transfers::code,
    redemptions::covered_cents,
);
