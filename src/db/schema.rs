//! The tables as the queries know them; a test compares them with both databases.

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    organisations (id) {
        id -> ty::Id,
        kind -> Text,
        name -> Text,
        created_by -> Nullable<ty::Id>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    people (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        email -> Text,
        name -> Text,
        lead -> Bool,
        password_hash -> Nullable<Text>,
        invitation_digest -> Nullable<Binary>,
        invitation_expires_at -> Nullable<ty::Instant>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    sessions (id) {
        id -> ty::Id,
        person_id -> ty::Id,
        refresh_digest -> Binary,
        created_at -> ty::Instant,
        expires_at -> ty::Instant,
        ended_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    signing_keys (key_id) {
        key_id -> Text,
        purpose -> Text,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    idempotency_keys (organisation_id, key) {
        organisation_id -> ty::Id,
        key -> Text,
        request_digest -> Binary,
        answer -> Nullable<Text>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    programmes (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        name -> Text,
        state -> Text,
        time_zone -> Text,
        starts_on -> ty::Day,
        ends_on -> ty::Day,
        funding_rule -> Text,
        rules -> Text,
        legal_basis -> Nullable<Text>,
        legal_reference -> Nullable<Text>,
        created_at -> ty::Instant,
        opened_at -> Nullable<ty::Instant>,
        closed_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    programme_communes (programme_id, code) {
        programme_id -> ty::Id,
        code -> Text,
        name -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    programme_members (programme_id, organisation_id) {
        programme_id -> ty::Id,
        organisation_id -> ty::Id,
        since -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

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
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    funding_sets (id) {
        id -> ty::Id,
        programme_id -> ty::Id,
        members -> Text,
        cumulated_cents -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    accounts (id) {
        id -> ty::Id,
        agreement_id -> ty::Id,
        kind -> Text,
        producer_id -> Nullable<ty::Id>,
        balance_cents -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

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
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    producers (id) {
        id -> ty::Id,
        siret -> Text,
        iban -> Text,
        account_holder -> Text,
        updated_at -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    stalls (id) {
        id -> ty::Id,
        producer_id -> ty::Id,
        name -> Text,
        commune_code -> Text,
        commune_name -> Text,
        open -> Bool,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    applications (programme_id, producer_id) {
        programme_id -> ty::Id,
        producer_id -> ty::Id,
        state -> Text,
        applied_at -> ty::Instant,
        decided_at -> Nullable<ty::Instant>,
        decided_by -> Nullable<ty::Id>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    households (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        reference -> Text,
        adults -> Integer,
        children -> Integer,
        commune_code -> Text,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    household_identities (household_id) {
        household_id -> ty::Id,
        name -> Nullable<Text>,
        contact -> Nullable<Text>,
        updated_at -> ty::Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

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
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

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
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    allowance_parts (id) {
        id -> ty::Id,
        allowance_id -> ty::Id,
        agreement_id -> ty::Id,
        position -> Integer,
        amount_cents -> BigInt,
        spendable_until -> ty::Instant,
        open -> Bool,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

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
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

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
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    redemption_lines (redemption_id, position) {
        redemption_id -> ty::Id,
        position -> Integer,
        category -> Text,
        amount_cents -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::kit::sql::ty;

    voids (redemption_id) {
        redemption_id -> ty::Id,
        person_id -> ty::Id,
        reason -> Nullable<Text>,
        recorded_at -> ty::Instant,
    }
}

diesel::joinable!(people -> organisations (organisation_id));
diesel::joinable!(sessions -> people (person_id));
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
diesel::joinable!(household_identities -> households (household_id));
diesel::joinable!(agreements -> organisations (funder_id));
diesel::joinable!(producers -> organisations (id));
diesel::joinable!(programme_communes -> programmes (programme_id));

diesel::allow_tables_to_appear_in_same_query!(
    organisations,
    people,
    sessions,
    signing_keys,
    idempotency_keys,
    programmes,
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
    household_identities,
    enrolments,
    allowances,
    allowance_parts,
    vouchers,
    redemptions,
    redemption_lines,
    voids,
);
