//! The tables of programmes, promises, purchases and the ledger.

diesel::table! {
    use crate::db::schema::types::*;

    programmes (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        name -> Text,
        state -> Text,
        time_zone -> Text,
        starts_on -> ty::Day,
        ends_on -> ty::Day,
        funding_rule -> Text,
        legal_basis -> Nullable<Text>,
        legal_reference -> Nullable<Text>,
        created_at -> ty::Instant,
        opened_at -> Nullable<ty::Instant>,
        closed_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    rule_versions (programme_id, version) {
        programme_id -> ty::Id,
        version -> Integer,
        rules -> Text,
        created_at -> ty::Instant,
        created_by -> Nullable<ty::Id>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    programme_communes (programme_id, code) {
        programme_id -> ty::Id,
        code -> Text,
        name -> Text,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    programme_members (programme_id, organisation_id) {
        programme_id -> ty::Id,
        organisation_id -> ty::Id,
        since -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    agreements (id) {
        id -> ty::Id,
        programme_id -> ty::Id,
        funder_id -> ty::Id,
        reference -> Text,
        position -> Integer,
        share_weight -> Integer,
        granted_cents -> BigInt,
        starts_on -> ty::Day,
        ends_on -> ty::Day,
        grace_days -> Integer,
        signed_at -> ty::Instant,
        kind -> Text,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    funding_sets (id) {
        id -> ty::Id,
        programme_id -> ty::Id,
        members -> Text,
        cumulated_cents -> BigInt,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    accounts (id) {
        id -> ty::Id,
        agreement_id -> ty::Id,
        kind -> Text,
        producer_id -> Nullable<ty::Id>,
        balance_cents -> BigInt,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    transfers (id) {
        id -> ty::Id,
        debit_account -> ty::Id,
        credit_account -> ty::Id,
        agreement_id -> ty::Id,
        amount_cents -> BigInt,
        code -> Text,
        reference -> ty::Id,
        reverses -> Nullable<ty::Id>,
        occurred_at -> ty::Instant,
        recorded_at -> ty::Instant,
        digest -> Binary,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    enrolments (id) {
        id -> ty::Id,
        household_id -> ty::Id,
        programme_id -> ty::Id,
        organisation_id -> ty::Id,
        adults -> Integer,
        children -> Integer,
        commune_code -> Text,
        state -> Text,
        starts_on -> ty::Day,
        promised_cents -> BigInt,
        closes_at -> Nullable<ty::Instant>,
        waiting_since -> Nullable<ty::Instant>,
        activated_at -> Nullable<ty::Instant>,
        left_at -> Nullable<ty::Instant>,
        created_at -> ty::Instant,
        rules_version -> Integer,
        band -> Nullable<Text>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    allowances (id) {
        id -> ty::Id,
        enrolment_id -> ty::Id,
        period -> Integer,
        starts_on -> ty::Day,
        ends_on -> ty::Day,
        opens_at -> ty::Instant,
        closes_at -> ty::Instant,
        amount_cents -> BigInt,
        state -> Text,
        funding_set_id -> Nullable<ty::Id>,
        issued_at -> Nullable<ty::Instant>,
        purse -> Text,
        waits -> Bool,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    allowance_parts (id) {
        id -> ty::Id,
        allowance_id -> ty::Id,
        agreement_id -> ty::Id,
        position -> Integer,
        amount_cents -> BigInt,
        spendable_until -> ty::Instant,
        open -> Bool,
        issued_cents -> BigInt,
        released_cents -> BigInt,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    contributions (id) {
        id -> ty::Id,
        enrolment_id -> ty::Id,
        period -> Integer,
        agreement_id -> ty::Id,
        amount_cents -> BigInt,
        allowance_id -> Nullable<ty::Id>,
        person_id -> ty::Id,
        recorded_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    vouchers (id) {
        id -> ty::Id,
        enrolment_id -> ty::Id,
        organisation_id -> ty::Id,
        state -> Text,
        code_digest -> Binary,
        code_try -> Integer,
        valid_from -> ty::Day,
        valid_to -> ty::Day,
        replaces -> Nullable<ty::Id>,
        created_at -> ty::Instant,
        denomination_cents -> Nullable<BigInt>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    holds (id) {
        id -> ty::Id,
        voucher_id -> ty::Id,
        enrolment_id -> ty::Id,
        stall_id -> Nullable<ty::Id>,
        person_id -> ty::Id,
        basket_cents -> Nullable<BigInt>,
        covered_cents -> BigInt,
        surplus_cents -> BigInt,
        band -> Nullable<Text>,
        state -> Text,
        expires_at -> ty::Instant,
        created_at -> ty::Instant,
        settled_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    hold_parts (id) {
        id -> ty::Id,
        hold_id -> ty::Id,
        part_id -> ty::Id,
        amount_cents -> BigInt,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    hold_lines (hold_id, position) {
        hold_id -> ty::Id,
        position -> Integer,
        category -> Text,
        labels -> Text,
        amount_cents -> BigInt,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    redemptions (id) {
        id -> ty::Id,
        voucher_id -> ty::Id,
        enrolment_id -> ty::Id,
        producer_id -> ty::Id,
        stall_id -> ty::Id,
        person_id -> ty::Id,
        siret -> Text,
        basket_cents -> BigInt,
        covered_cents -> BigInt,
        void_until -> ty::Instant,
        occurred_at -> ty::Instant,
        recorded_at -> ty::Instant,
        surplus_cents -> BigInt,
        hold_id -> Nullable<ty::Id>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    redemption_lines (redemption_id, position) {
        redemption_id -> ty::Id,
        position -> Integer,
        category -> Text,
        amount_cents -> BigInt,
        labels -> Text,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    voids (redemption_id) {
        redemption_id -> ty::Id,
        person_id -> ty::Id,
        reason -> Nullable<Text>,
        recorded_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    bonuses (redemption_id) {
        redemption_id -> ty::Id,
        allowance_id -> ty::Id,
        amount_cents -> BigInt,
        matures_at -> ty::Instant,
        state -> Text,
        settled_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    surpluses (redemption_id) {
        redemption_id -> ty::Id,
        agreement_id -> ty::Id,
        amount_cents -> BigInt,
        matures_at -> ty::Instant,
        state -> Text,
        settled_at -> Nullable<ty::Instant>,
    }
}
